"""The dashboard's page of the suppression list: see, search, add, remove, CSV both ways."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import entries, params
from tracker.reading.answers import MOST_OCTETS, read_page, whole_list
from tracker.reading.frame import ROWS, Frame, Visit, posted, see_other, signed_in
from tracker.reading.params import BadRequest
from tracker.store.base import Lists, SuppressionFilter

_BLANK = {"address": "", "sender": "", "kind": "mail", "reason": ""}


class SuppressionPages:
    """The list of one store."""

    def __init__(self, frame: Frame, store: Lists) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The page, and what its forms do."""
        return [
            Route("/suppressions", self.list, methods=["GET"]),
            Route("/suppressions", self.add, methods=["POST"]),
            Route("/suppressions/remove", self.remove, methods=["POST"]),
            Route("/suppressions/import", self.take_in, methods=["POST"]),
            Route("/suppressions.csv", self.download, methods=["GET"]),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The entries, the newest first."""
        asked = visit.asked("q", "cursor", "done", "count")
        return await self._shown(visit, asked)

    @posted()
    async def add(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Add what the form says."""
        given = {name: fields.get(name, "") for name in _BLANK}
        try:
            found = entries.entry({name: value for name, value in given.items() if value.strip()})
        except BadRequest as error:
            return await self._shown(visit, {}, given, str(error), 400)
        return _done("added", await run_in_threadpool(self._store.suppress, [found]))

    @posted()
    async def remove(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Remove one entry."""
        found = entries.entry({name: fields.get(name, "") for name in ("address", "sender", "kind")})
        which = (found.address, found.sender or "", found.kind)
        return _done("removed", await run_in_threadpool(self._store.unsuppress, *which))

    @posted(MOST_OCTETS)
    async def take_in(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Add what a CSV file says: all of it, or where a row is wrong, nothing."""
        try:
            found = await run_in_threadpool(entries.from_csv, fields.get("file", "").encode())
        except BadRequest as error:
            return await self._shown(visit, {}, None, str(error), 400)
        return _done("added", await run_in_threadpool(self._store.suppress, found))

    @signed_in
    async def download(self, visit: Visit) -> Response:
        """The whole list as CSV."""
        select = partial(self._store.suppressions, SuppressionFilter())
        return await whole_list(select, entries.COLUMNS, "suppressions")

    async def _shown(
        self,
        visit: Visit,
        asked: Mapping[str, str],
        given: Mapping[str, str] | None = None,
        error: str | None = None,
        status: int = 200,
    ) -> Response:
        query, cursor = asked.get("q", "").strip(), params.cursor(asked)
        wanted = SuppressionFilter(q=query or None)
        page = await read_page(partial(self._store.suppressions, wanted), ROWS, cursor)
        return visit.page(
            *("suppressions.html", status),
            entries=page.rows,
            query=query,
            older=params.seal_cursor(page.next),
            later=cursor is not None,
            given=given or _BLANK,
            error=error,
            done=asked.get("done"),
            count=asked.get("count", "0"),
        )


def _done(what: str, count: int) -> Response:
    return see_other("/suppressions?" + urlencode({"done": what, "count": count}))
