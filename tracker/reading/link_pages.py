"""The dashboard's page of links: every URL seen, and the editor of the types that are saved for later mail."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.model import LinkType
from tracker.reading import entries, params
from tracker.reading.answers import read_page
from tracker.reading.frame import ROWS, Frame, Visit, posted, see_other, signed_in
from tracker.reading.params import BadRequest
from tracker.store.base import Store

_BLANK = {"url": "", "sender": "", "type": "never"}


class LinkPages:
    """The links of one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The page, and what its forms do."""
        return [
            Route("/links", self.list, methods=["GET"]),
            Route("/links", self.save, methods=["POST"]),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """Saved types, and the links of one sender or of all."""
        asked = visit.asked("sender", "cursor", "done")
        return await self._shown(visit, asked)

    @posted()
    async def save(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Save a type, or with an empty one take it back."""
        given = {name: fields.get(name, "").strip() for name in _BLANK}
        try:
            saved = entries.link_type({**given, "type": given["type"] or None})
        except BadRequest as error:
            return await self._shown(visit, {}, given, str(error), 400)
        url, sender, kind = saved
        await run_in_threadpool(self._store.save_link_type, sender, url, kind)
        shown = fields.get("shown", "").strip()
        return see_other("/links?" + urlencode({**({"sender": shown} if shown else {}), "done": "saved"}))

    async def _shown(
        self,
        visit: Visit,
        asked: Mapping[str, str],
        given: Mapping[str, str] | None = None,
        error: str | None = None,
        status: int = 200,
    ) -> Response:
        sender, cursor = asked.get("sender", "").strip().lower(), params.cursor(asked)
        saved = await run_in_threadpool(self._store.link_types)
        page = await read_page(partial(self._store.urls, sender or None), ROWS, cursor)
        return visit.page(
            *("links.html", status),
            saved=saved,
            types=list(LinkType),
            links=page.rows,
            sender=sender,
            older=params.seal_cursor(page.next),
            later=cursor is not None,
            given=given or _BLANK,
            error=error,
            done=asked.get("done"),
        )
