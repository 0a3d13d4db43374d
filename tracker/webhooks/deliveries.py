"""What is kept of deliveries: how far each endpoint has got in the log of events, and what became of each event.

The log is the table of events, in the order of recording; nothing is written when an event comes. All of it blocks, and
every method raises StoreError where the store cannot be reached now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tracker.store.base import Row

FAILING = 5
"""Failures in a row from which on an endpoint counts as failing."""

HOLD = 900.0
"""Seconds that an event waits at most behind one of its message that failed."""


class State(StrEnum):
    """What became of one event at one endpoint; ``DROPPED``: it said that it does not want it; ``FAILED``: given up."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Settled:
    """What is known of an event now. ``recorded`` is its place in the log; ``state`` None: there is nothing to tell of
    it any more. ``next_at`` counts while it is waiting, ``status`` is of the last answer, ``problem`` says in a few
    words why there was none."""

    recorded: int
    message: str
    event: str
    name: str
    state: State | None
    tries: int
    at: float
    next_at: float | None = None
    status: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an endpoint stands: its ``cursor`` in the log, its ``failures`` in a row, when it said that it is gone."""

    cursor: int
    failures: int
    stopped_at: float | None


class Deliveries(Protocol):
    """The deliveries to endpoints, which are known by their keys. ``owner`` names the node that delivers: only one does
    at a time, for as long as it has the lease. Times are in seconds since the epoch."""

    def enrol(self, marks: Mapping[str, str], owner: str, now: float) -> None:
        """Know these endpoints, each with its mark, and no other: one that is new begins now, one whose mark changed is
        no longer stopped, what is known of one that another node does not deliver to either is dropped."""

    def lease(self, key: str, owner: str, now: float, until: float) -> Standing | None:
        """Deliver to an endpoint until then; None where another node does."""

    def release(self, key: str, owner: str) -> None:
        """Let another node deliver."""

    def newest(self) -> int:
        """The place of the last event in the log."""

    def upcoming(self, key: str, after: int, until: int, limit: int) -> Sequence[Row]:
        """The next events of the log, less those that are settled."""

    def due(self, key: str, now: float, limit: int) -> Sequence[Row]:
        """What waits and may be tried, the longest due first: ``recorded, message, event, name, tries, next_at`` and
        the event itself, or None, as ``about``."""

    def oldest(self, key: str) -> Row | None:
        """What has waited the longest, due or not, as ``due`` gives it."""

    def waiting(self, key: str) -> dict[str, int]:
        """How many events of each message wait."""

    def settle(
        self, key: str, owner: str, settled: Sequence[Settled], standing: Standing, now: float, until: float
    ) -> Standing | None:
        """Keep what became of events, where the endpoint stands now, and the lease; where it stands then, since people
        can let a stopped one go on, or None, and nothing is kept, where the lease was lost. An endpoint that failed and
        does no longer gets at once what waits for it. Events that never were tried and wait behind an earlier one of
        their message go on once that one is settled, and wait for its next try, for ``HOLD`` seconds at most."""

    def trim(self, key: str, rows: int, before: float) -> None:
        """Drop what is settled, but the last so many of each state, and all that was settled before a time."""

    def endpoints(self) -> Mapping[str, Row]:
        """All that is known of each endpoint, by key."""

    def recent(self, key: str, limit: int) -> Sequence[Row]:
        """The last deliveries, what waits first."""

    def one(self, key: str, recorded: int) -> Row | None:
        """One delivery, with the event itself as ``about``."""

    def resend(self, key: str, recorded: int, now: float) -> bool:
        """Deliver once more what is settled or waits; False where nothing is known of it."""

    def resume(self, key: str) -> None:
        """Go on with an endpoint that is stopped."""
