"""The dashboard's list of messages."""

from __future__ import annotations

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import charts, params, shapes, words
from tracker.reading.answers import read_page
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, SENDERS, Frame, Visit, signed_in
from tracker.store.base import MessageFilter, Store

_ASKED = ("q", "sender", "tag", "mailing_key", "status", "from", "to")


class MessageList:
    """The messages of one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The list."""
        return [Route("/messages", self.list)]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The messages, newest first, with their counts."""
        asked = visit.asked(*_ASKED, "cursor", *CSV)
        given = {name: asked.get(name, "").strip() for name in _ASKED}
        wanted = MessageFilter(
            q=given["q"] or None,
            sender=given["sender"].lower() or None,
            tag=given["tag"] or None,
            mailing_key=given["mailing_key"] or None,
            status=params.choice(asked, "status", list(words.FOUND_BY)),
            since=params.instant(asked, "from", self.frame.zone),
            until=params.end(asked, "to", self.frame.zone),
        )
        select = partial(self._store.messages, wanted)
        file = await file_of(asked, {"messages": Table(shapes.MESSAGE, select)})
        if file is not None:
            return file
        page = await read_page(select, ROWS, params.cursor(asked))
        key = given["mailing_key"]
        return visit.page(
            "messages.html",
            messages=page.rows,
            senders=await run_in_threadpool(self._store.senders, SENDERS),
            given=given,
            mailing=await run_in_threadpool(self._store.mailing, key) if key else None,
            filtered=any(given.values()),
            older=params.seal_cursor(page.next),
            later="cursor" in asked,
            share=charts.share,
        )
