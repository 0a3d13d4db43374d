"""The suppression list in the API (contract, section 6)."""

from __future__ import annotations

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tracker.model import Suppression, SuppressionKind
from tracker.reading import entries, models, params
from tracker.reading.answers import Missing, body_of, json_answer, listing, media_type_of, reads, writes
from tracker.reading.auth import Gate
from tracker.reading.operations import CSV, JSON, one, rows
from tracker.reading.parameters import LIST, Asked, choice, text
from tracker.store.base import Lists, SuppressionFilter

_PATH = "/api/v1/suppressions"
_SENDER = text("sender", "Of this sender alone; * for the entries that hold for every sender.")
_KIND = choice("kind", list(SuppressionKind), "Of this kind alone.")
_Q = text("q", "With this text in address or sender.")
_TABLE = {"type": "string", "description": "A header that names an 'address' or 'email' column, and a line an entry."}


class SuppressionApi:
    """The suppression list of one store."""

    def __init__(self, store: Lists, gate: Gate) -> None:
        self.gate = gate
        self._store = store

    @reads(_PATH, text("address", "Of this address alone."), _SENDER, _KIND, _Q, *LIST, gives=rows(models.Suppression))
    async def suppressions(self, request: Request, asked: Asked) -> Response:
        """The suppression list, the newest entries first."""
        select = partial(self._store.suppressions, wanted(asked))
        return await listing(asked, select, models.Suppression, "suppressions")

    @writes("POST", _PATH, takes={JSON: models.SuppressionsToAdd, CSV: _TABLE}, gives=one(models.SuppressionsAdded))
    async def suppress(self, request: Request, asked: Asked) -> Response:
        """Add an entry, or a list of them, or a CSV file: all, or where one is wrong, none."""
        read = entries.from_csv if media_type_of(request) == CSV else entries.from_json
        found: list[Suppression] = await run_in_threadpool(read, await body_of(request))
        added = await run_in_threadpool(self._store.suppress, found)
        return json_answer({"added": added, "unchanged": len(found) - added})

    @writes(
        *("DELETE", _PATH),
        *(text("address", "Whose entries.", required=True), _SENDER, _KIND),
        gives=one(models.SuppressionsRemoved),
        refusals=(404,),
    )
    async def unsuppress(self, request: Request, asked: Asked) -> Response:
        """Remove the entries of an address: all, or those of one sender or kind."""
        which = wanted(asked)
        address = entries.address(asked["address"], "address")
        removed = await run_in_threadpool(self._store.unsuppress, address, which.sender, which.kind)
        if not removed:
            raise Missing("No such entry is on the list; see what there is with GET on the same address.")
        return json_answer({"removed": removed})


def wanted(asked: Asked) -> SuppressionFilter:
    """The entries that are asked for; ``*`` as sender: those for every sender. Raises BadRequest."""
    kind = params.choice(asked, "kind", [each.value for each in SuppressionKind])
    sender = asked.get("sender")
    return SuppressionFilter(
        asked.get("address"),
        "" if sender == entries.EVERY_SENDER else sender,
        SuppressionKind(kind) if kind else None,
        asked.get("q"),
    )
