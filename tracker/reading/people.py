"""Erasing a person's data, by the API (contract, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tracker.errors import TracepostError
from tracker.reading import entries
from tracker.reading.answers import away, json_answer, writes
from tracker.reading.auth import Gate
from tracker.reading.models import PersonForgotten
from tracker.reading.operations import one
from tracker.reading.parameters import Asked, in_path


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What came of it: how many messages the person had got, and how many mails in the queue still name it."""

    messages: int
    queued: int = 0

    @property
    def done(self) -> bool:
        """Nothing is left of it."""
        return self.queued == 0


Forget = Callable[[str], Forgotten]
"""Erases what is kept of an address. Blocks; raises TracepostError or OSError where that cannot be done now."""


_ADDRESS = in_path("address", "A mail address, such as ann@example.net.")


class PeopleApi:
    """The people that mail went to."""

    def __init__(self, gate: Gate, forget: Forget) -> None:
        self.gate = gate
        self._forget = forget

    @writes(
        *("DELETE", "/api/v1/recipients/{address:path}", _ADDRESS),
        gives=one(PersonForgotten) | one(PersonForgotten, 202, "Mail that is still queued goes first."),
    )
    async def forget(self, request: Request, asked: Asked) -> Response:
        """Erase a person's data and keep the counts.

        202 where mail that is still queued goes first, after which the service goes on by itself."""
        try:
            found = await run_in_threadpool(self._forget, entries.address(asked["address"], "address"))
        except (TracepostError, OSError):
            return away("Not all of it can be reached now; ask again in a few seconds.")
        body = {"forgotten": found.done, "messages": found.messages, "queued": found.queued}
        return json_answer(body, 200 if found.done else 202)
