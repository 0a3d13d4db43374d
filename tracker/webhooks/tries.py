"""One try of one request, and what becomes of its events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracker.webhooks.deliveries import Settled, State
from tracker.webhooks.notice import Notice, notice_of, wanted
from tracker.webhooks.schedule import next_try

GONE, NOT_ACCEPTABLE = 410, 406


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """An event to be told; ``notice`` None: there is nothing to tell of it any more. ``tries`` so far; ``next_at`` is
    None for one that comes straight from the log; a ``probe`` is tried ahead of its time, which does not count."""

    recorded: int
    message: str
    event: str
    name: str
    notice: Notice | None
    tries: int = 0
    next_at: float | None = None
    probe: bool = False

    def settled(
        self,
        state: State | None,
        at: float,
        tries: int,
        next_at: float | None = None,
        status: int | None = None,
        problem: str | None = None,
    ) -> Settled:
        """What is to be kept of it."""
        about = (self.recorded, self.message, self.event, self.name)
        return Settled(*about, state, tries, at, next_at, status, problem)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one request: a status, or a ``problem``."""

    items: tuple[Item, ...]
    at: float
    status: int | None = None
    problem: str | None = None
    retry_after: float | None = None

    def taken(self, format: str) -> State | None:
        """The state of events that are done with; None where they are not. Mailgun's receivers say by 406 that they do
        not want an event."""
        if self.status is not None and 200 <= self.status < 300:
            return State.DELIVERED
        return State.DROPPED if self.status == NOT_ACCEPTABLE and format == "mailgun" else None

    @property
    def why(self) -> str:
        """Why it failed, in a few words."""
        return self.problem or f"status {self.status}"


def item_of(row: Mapping[str, Any], key: str, names: Mapping[str, str], machine: bool, probe: bool = False) -> Item:
    """The item of what waits, for the endpoint of this key."""
    about = row["about"]
    told = about is not None and wanted(about, names, machine)
    notice = notice_of(about, key, names) if told else None
    place = (row["recorded"], row["message"], row["event"], row["name"])
    return Item(*place, notice, row["tries"], row["next_at"], probe)


def after(item: Item, result: Result, format: str, chance: float) -> Settled:
    """What becomes of an event after a request; ``chance`` is in [0, 1)."""
    taken = result.taken(format)
    tries = item.tries + 1
    next_at: float | None = None
    if result.status == GONE:
        next_at = result.at
    elif item.probe and taken is None:
        tries, next_at = item.tries, item.next_at
    elif taken is None:
        next_at = next_try(format, tries, result.at, chance, result.retry_after)
    state = taken or (State.FAILED if next_at is None else State.WAITING)
    return item.settled(state, result.at, tries, next_at, result.status, result.problem)
