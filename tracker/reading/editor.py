"""What pages with an editor have in common: a form is read, what it says is done, and the page comes back with what was
typed and what was wrong, or with what was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tracker.reading.addresses import Address, local
from tracker.reading.frame import Visit, see_other
from tracker.reading.params import BadRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slip:
    """What a page's form holds: as it was typed, and what is wrong with it."""

    given: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def status(self) -> int:
        """The status of the page that shows it."""
        return 400 if self.error else 200


Show = Callable[[Visit, Mapping[str, str], Slip], Awaitable[Response]]
"""Shows the page: what is asked for by its address, what its form holds."""


@dataclass(frozen=True, slots=True)
class Editor:
    """The forms of one page at ``path``, which ``show`` shows."""

    path: str
    show: Show

    async def do(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        read: Callable[[Mapping[str, str]], T],
        act: Callable[[T], int],
        done: str,
    ) -> Response:
        """Read what a form says and do it; back to the page that its field ``back`` names, which is told what was
        ``done`` and how often. Where ``read`` raises BadRequest nothing is done, and the page says why."""
        try:
            found = await run_in_threadpool(read, fields)
        except BadRequest as error:
            return await self.show(visit, {}, Slip(fields, str(error)))
        count = await run_in_threadpool(act, found)
        back, _, place = local(fields.get("back") or self.path).partition("#")
        path, _, query = back.partition("?")
        address = Address(path, parse_qsl(query))
        return see_other(address.but(done=done, count=count) + (f"#{place}" if place else ""))
