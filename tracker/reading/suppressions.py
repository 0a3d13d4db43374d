"""The suppression list in the API (contract, section 6)."""

from __future__ import annotations

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.model import SuppressionKind
from tracker.reading import entries, params
from tracker.reading.answers import (
    LIST,
    Missing,
    as_csv,
    asked_of,
    body_of,
    guarded,
    json_answer,
    listed,
    read_page,
    whole_list,
    writing,
)
from tracker.reading.auth import Gate
from tracker.reading.params import BadRequest
from tracker.store.base import Lists, SuppressionFilter

_PATH = "/api/v1/suppressions"


class SuppressionApi:
    """The suppression list of one store."""

    def __init__(self, store: Lists, gate: Gate) -> None:
        self.gate = gate
        self._store = store

    def routes(self) -> list[Route]:
        """All that is done to the list."""
        return [
            Route(_PATH, self.list, methods=["GET"]),
            Route(_PATH, self.add, methods=["POST"]),
            Route(_PATH, self.remove, methods=["DELETE"]),
        ]

    @guarded
    async def list(self, request: Request) -> Response:
        """The entries, the newest first; as CSV all of them, unless a limit is given."""
        asked = asked_of(request, "address", "sender", "kind", "q", *LIST)
        select = partial(self._store.suppressions, wanted(asked))
        if as_csv(asked) and "limit" not in asked and "cursor" not in asked:
            return await whole_list(select, entries.COLUMNS, "suppressions")
        page = await read_page(select, params.limit(asked), params.cursor(asked))
        return listed(asked, page, entries.COLUMNS, "suppressions")

    @writing
    async def add(self, request: Request) -> Response:
        """Add an entry, or a list of them, or a CSV file: all, or where one is wrong, none."""
        asked_of(request)
        body = await body_of(request)
        is_csv = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/csv"
        found = await run_in_threadpool(entries.from_csv if is_csv else entries.from_json, body)
        added = await run_in_threadpool(self._store.suppress, found)
        return json_answer({"added": added, "unchanged": len(found) - added})

    @writing
    async def remove(self, request: Request) -> Response:
        """Remove the entries of an address: all, or those of one sender or kind."""
        asked = asked_of(request, "address", "sender", "kind")
        if "address" not in asked:
            raise BadRequest("Say whose entries to remove by 'address'.")
        which = wanted(asked)
        removed = await run_in_threadpool(
            self._store.unsuppress, entries.address(asked["address"], "address"), which.sender, which.kind
        )
        if not removed:
            raise Missing("No such entry is on the list; see what there is with GET on the same address.")
        return json_answer({"removed": removed})


def wanted(asked: dict[str, str]) -> SuppressionFilter:
    """The entries that are asked for; ``*`` as sender: those for every sender. Raises BadRequest."""
    kind = params.choice(asked, "kind", [each.value for each in SuppressionKind])
    sender = asked.get("sender")
    return SuppressionFilter(
        asked.get("address"),
        "" if sender == entries.EVERY_SENDER else sender,
        SuppressionKind(kind) if kind else None,
        asked.get("q"),
    )
