"""The dashboard's list of messages."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import params, shapes
from tracker.reading.answers import read_page
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, Frame, Visit, see_other, signed_in
from tracker.store.base import MessageFilter, Store


class MessageList:
    """The messages of one store. ``sample`` is a command that sends a sample mail, shown while there is none."""

    def __init__(self, frame: Frame, store: Store, sample: str | None) -> None:
        self.frame = frame
        self._store = store
        self._sample = sample

    def routes(self) -> list[Route]:
        """The list."""
        return [Route("/", self.first), Route("/messages", self.list)]

    @signed_in
    async def first(self, visit: Visit) -> Response:
        """What is shown first."""
        return see_other("/messages")

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The messages, newest first, with their counts."""
        asked = visit.asked("q", "cursor", *CSV)
        query = asked.get("q", "").strip()
        select = partial(self._store.messages, MessageFilter(q=query or None))
        file = await file_of(asked, {"messages": Table(shapes.MESSAGE, select)})
        if file is not None:
            return file
        page = await read_page(select, ROWS, params.cursor(asked))
        return visit.page(
            "messages.html",
            messages=page.rows,
            query=query,
            older=params.seal_cursor(page.next),
            later="cursor" in asked,
            sample=self._sample,
        )
