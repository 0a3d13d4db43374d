"""Erasing a person's data, by the API (contract, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import TracepostError
from tracker.reading import entries, shapes
from tracker.reading.answers import asked_of, problem, writing
from tracker.reading.auth import Gate


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


class PeopleApi:
    """The people that mail went to."""

    def __init__(self, gate: Gate, forget: Forget) -> None:
        self.gate = gate
        self._forget = forget

    def routes(self) -> list[Route]:
        """All that is done to them."""
        return [Route("/api/v1/recipients/{address:path}", self.erase, methods=["DELETE"])]

    @writing
    async def erase(self, request: Request) -> Response:
        """Erase one; 202 where mail that is still queued goes first, after which the service goes on by itself."""
        asked_of(request)
        address = entries.address(request.path_params["address"], "address")
        try:
            found = await run_in_threadpool(self._forget, address)
        except (TracepostError, OSError):
            detail = "Not all of it can be reached now; ask again in a few seconds."
            return problem(503, "Service Unavailable", detail, {"Retry-After": "5"})
        body = {"forgotten": found.done, "messages": found.messages, "queued": found.queued}
        return Response(shapes.to_json(body), 200 if found.done else 202, media_type="application/json")
