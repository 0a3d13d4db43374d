"""The dashboard's page of links: every URL seen, and the editor of the types that are saved for later mail."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.model import LinkType
from tracker.reading import entries, models, params
from tracker.reading.answers import Select, read_page
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.editor import Editor, Slip
from tracker.reading.frame import ROWS, Frame, Visit, posted, signed_in
from tracker.store.base import Store

_BLANK = {"url": "", "sender": "", "type": "never"}
_SAVED = ("url", "sender", "type", "since")

Saved = tuple[str, str | None, LinkType | None]


class LinkPages:
    """The links of one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store
        self._editor = Editor("/links", self._shown)

    def routes(self) -> list[Route]:
        """The page, and what its forms do."""
        return [
            Route("/links", self.list, methods=["GET"]),
            Route("/links", self.save, methods=["POST"]),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """Saved types, and the links of one sender or of all."""
        asked = visit.asked("sender", "q", "cursor", "done", "count", *CSV)
        urls, saved = self._urls(asked), Table.of(_SAVED, self._store.link_types)
        file = await file_of(asked, {"links": Table(models.columns(models.Url), urls), "saved": saved})
        return file or await self._shown(visit, asked, Slip())

    @posted()
    async def save(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Save a type, or with an empty one take it back."""
        return await self._editor.do(visit, fields, _read, self._save, "saved")

    def _save(self, saved: Saved) -> int:
        url, sender, type = saved
        self._store.save_link_type(sender, url, type)
        return 1

    def _urls(self, asked: Mapping[str, str]) -> Select:
        sender, q = asked.get("sender", "").strip().lower(), asked.get("q", "").strip()
        return partial(self._store.urls, sender or None, q=q or None)

    async def _shown(self, visit: Visit, asked: Mapping[str, str], slip: Slip) -> Response:
        saved = await run_in_threadpool(self._store.link_types)
        page = await read_page(self._urls(asked), ROWS, params.cursor(asked))
        return visit.page(
            *("links.html", slip.status),
            saved=saved,
            types=list(LinkType),
            links=page.rows,
            sender=asked.get("sender", "").strip().lower(),
            query=asked.get("q", "").strip(),
            older=params.seal_cursor(page.next),
            later="cursor" in asked,
            given={**_BLANK, **slip.given},
            error=slip.error,
            done=asked.get("done"),
        )


def _read(fields: Mapping[str, str]) -> Saved:
    given = {name: fields.get(name, "").strip() for name in _BLANK}
    return entries.link_type({**given, "type": given["type"] or None})
