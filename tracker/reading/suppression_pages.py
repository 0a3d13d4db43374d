"""The dashboard's page of the suppression list: see, search, add, remove, CSV both ways."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from starlette.responses import Response
from starlette.routing import Route

from tracker.model import Suppression
from tracker.reading import entries, params
from tracker.reading.answers import MOST_OCTETS, read_page
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.editor import Editor, Slip
from tracker.reading.frame import ROWS, Frame, Visit, posted, signed_in
from tracker.store.base import Lists, SuppressionFilter

_BLANK = {"address": "", "sender": "", "kind": "mail", "reason": ""}


class SuppressionPages:
    """The list of one store."""

    def __init__(self, frame: Frame, store: Lists) -> None:
        self.frame = frame
        self._store = store
        self._editor = Editor("/suppressions", self._shown)

    def routes(self) -> list[Route]:
        """The page, and what its forms do."""
        return [
            Route("/suppressions", self.list, methods=["GET"]),
            Route("/suppressions", self.add, methods=["POST"]),
            Route("/suppressions/remove", self.remove, methods=["POST"]),
            Route("/suppressions/import", self.take_in, methods=["POST"]),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The entries, the newest first."""
        asked = visit.asked("q", "cursor", "done", "count", *CSV)
        select = partial(self._store.suppressions, _wanted(asked))
        file = await file_of(asked, {"suppressions": Table(entries.COLUMNS, select)})
        return file or await self._shown(visit, asked, Slip())

    @posted()
    async def add(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Add what the form says."""
        return await self._editor.do(visit, fields, _added, self._store.suppress, "added")

    @posted()
    async def remove(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Remove one entry."""
        return await self._editor.do(visit, fields, _named, self._remove, "removed")

    @posted(MOST_OCTETS)
    async def take_in(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Add what a CSV file says: all of it, or where a row is wrong, nothing."""
        file = {"file": fields.get("file", "")}
        return await self._editor.do(visit, file, _filed, self._store.suppress, "added")

    def _remove(self, found: Suppression) -> int:
        return self._store.unsuppress(found.address, found.sender or "", found.kind)

    async def _shown(self, visit: Visit, asked: Mapping[str, str], slip: Slip) -> Response:
        page = await read_page(partial(self._store.suppressions, _wanted(asked)), ROWS, params.cursor(asked))
        return visit.page(
            *("suppressions.html", slip.status),
            entries=page.rows,
            query=asked.get("q", "").strip(),
            older=params.seal_cursor(page.next),
            later="cursor" in asked,
            given={**_BLANK, **slip.given},
            error=slip.error,
            done=asked.get("done"),
            count=asked.get("count", "0"),
        )


def _wanted(asked: Mapping[str, str]) -> SuppressionFilter:
    return SuppressionFilter(q=asked.get("q", "").strip() or None)


def _added(fields: Mapping[str, str]) -> list[Suppression]:
    return [entries.entry({name: fields[name] for name in _BLANK if fields.get(name, "").strip()})]


def _named(fields: Mapping[str, str]) -> Suppression:
    return entries.entry({name: fields.get(name, "") for name in ("address", "sender", "kind")})


def _filed(fields: Mapping[str, str]) -> list[Suppression]:
    return entries.from_csv(fields["file"].encode())
