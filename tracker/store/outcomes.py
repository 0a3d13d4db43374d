"""What became of a recipient's copy, into rows: the latest word wins, in whatever order they come in."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from tracker.model import BounceKind, Outcome, Returned, Status
from tracker.store import timeline
from tracker.store.contributions import Counts, bounce_of, of_copy, of_outcomes
from tracker.store.ledger import Entry, Ledger

FIRSTS = {
    Status.SENT: "sent_at",
    Status.BOUNCED: "bounced_at",
    Status.ERROR: "error_at",
    Status.SUPPRESSED: "suppressed_at",
}
"""Where it is kept when a recipient first came to a status: that event bears what the status counts."""

_RANKS = (Status.PENDING, Status.SUPPRESSED, Status.ERROR, Status.SENT, Status.BOUNCED)
"""Of words that were said at one time, which is the last."""

_COLUMNS = ("status", "status_at", "was_sent", "reply", *FIRSTS.values(), "returned")

_NO_BOUNCE = {BounceKind.DELAYED: ("late", "deferred"), BounceKind.UNKNOWN: ("returned", "returned")}
"""What is no bounce yet is worth a line of the timeline: what its id is made of, and its type."""


@dataclass(slots=True)
class _Standing:
    """One recipient's row."""

    status: str | None = None
    status_at: float | None = None
    was_sent: int = 0
    reply: str | None = None
    sent_at: float | None = None
    bounced_at: float | None = None
    error_at: float | None = None
    suppressed_at: float | None = None
    returned: str | None = None

    def hear(self, fact: Outcome) -> None:
        """Take a word into account. What came back was sent before, whatever the clocks say."""
        rank = _RANKS.index(fact.status)
        last = (
            (self.status_at, _RANKS.index(Status(self.status))) if self.status and self.status_at is not None else None
        )
        if self.returned is None and (last is None or (fact.at, rank) >= last):
            self.status, self.status_at, self.reply = fact.status.value, fact.at, fact.reply
        self.was_sent = int(self.was_sent or fact.status is Status.SENT)
        if name := FIRSTS.get(fact.status):
            first = getattr(self, name)
            setattr(self, name, fact.at if first is None else min(first, fact.at))

    def come_back(self, fact: Returned) -> None:
        """It came back."""
        self.status, self.status_at, self.reply = Status.BOUNCED.value, fact.at, fact.reply
        self.returned = fact.kind.value
        self.bounced_at = fact.at if self.bounced_at is None else min(self.bounced_at, fact.at)

    def bearing(self, tracked: Counts) -> dict[tuple[str, float], Counts]:
        """What counts now, by the status and time of the event that bears it."""
        found = {}
        for status, counts in of_outcomes(self.status, bool(self.was_sent), tracked).items():
            at = getattr(self, FIRSTS[Status(status)])
            if at is not None:
                found[status, at] = counts
        return found


def conclude(db: sqlite3.Connection, fact: Outcome, ledger: Ledger) -> None:
    """Fold one outcome in; the caller holds the transaction."""
    message = str(fact.message)
    event = _event(message, fact.recipient, fact.at, fact.status)
    if db.execute("SELECT 1 FROM events WHERE message = ? AND id = ?", [message, event]).fetchone():
        return
    kind, code = bounce_of(fact.reply) if fact.status is Status.BOUNCED else (None, None)
    about = (fact.recipient, kind, code, fact.reply)
    ledger.log(message, event, fact.at, "deferred" if fact.status is Status.PENDING else fact.status.value, *about)
    standing, tracked = _load(db, message, fact.recipient), _tracked(db, message)
    before, pending = standing.bearing(tracked), standing.status == Status.PENDING
    standing.hear(fact)
    _keep(db, message, fact.recipient, standing)
    ledger.pend(message, (standing.status == Status.PENDING) - pending)
    _move(db, message, fact.recipient, before, standing.bearing(tracked), ledger)


def come_back(db: sqlite3.Connection, fact: Returned, ledger: Ledger) -> None:
    """Fold in that a copy came back, or is late; the caller holds the transaction. A copy comes back once: what is said
    of it again changes nothing."""
    message = str(fact.message)
    about = (fact.recipient, fact.kind.value, fact.status or None, fact.reply or None)
    if fact.kind in _NO_BOUNCE:
        name, type = _NO_BOUNCE[fact.kind]
        ledger.log(message, timeline.event_id(name, message, fact.recipient), fact.at, type, *about)
        return
    standing, tracked = _load(db, message, fact.recipient), _tracked(db, message)
    if standing.returned is not None:
        return
    event = _event(message, fact.recipient, fact.at, Status.BOUNCED)
    ledger.log(message, event, fact.at, Status.BOUNCED.value, *about)
    before, pending = standing.bearing(tracked), standing.status == Status.PENDING
    standing.come_back(fact)
    _keep(db, message, fact.recipient, standing)
    ledger.pend(message, -int(pending))
    _move(db, message, fact.recipient, before, standing.bearing(tracked), ledger)


def _keep(db: sqlite3.Connection, message: str, recipient: int, standing: _Standing) -> None:
    values = [getattr(standing, name) for name in _COLUMNS]
    db.execute(
        f"INSERT INTO recipients (message, ordinal, {', '.join(_COLUMNS)}) VALUES (?,?{',?' * len(_COLUMNS)})"  # noqa: S608
        f" ON CONFLICT (message, ordinal) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}",
        [message, recipient, *values],
    )


def recount(db: sqlite3.Connection, message: str, ledger: Ledger) -> None:
    """What a message is has become known: count its copies that were sent before as such."""
    tracked = _tracked(db, message)
    for (ordinal,) in db.execute("SELECT ordinal FROM recipients WHERE message = ? AND was_sent", [message]).fetchall():
        standing = _load(db, message, ordinal)
        _move(db, message, ordinal, standing.bearing({}), standing.bearing(tracked), ledger)


def contributions(db: sqlite3.Connection, message: str) -> list[tuple[str, Counts]]:
    """What the outcomes of a message contribute: by the event that bears it."""
    found, tracked = [], _tracked(db, message)
    for (ordinal,) in db.execute("SELECT ordinal FROM recipients WHERE message = ?", [message]).fetchall():
        for (status, at), counts in _load(db, message, ordinal).bearing(tracked).items():
            found.append((_event(message, ordinal, at, status), counts))
    return found


def _load(db: sqlite3.Connection, message: str, ordinal: int) -> _Standing:
    sql = f"SELECT {', '.join(_COLUMNS)} FROM recipients WHERE message = ? AND ordinal = ?"  # noqa: S608
    return _Standing(*(db.execute(sql, [message, ordinal]).fetchone() or ()))


def _tracked(db: sqlite3.Connection, message: str) -> Counts:
    """What a delivered copy of a message adds; nothing while the message is not known."""
    sql = "SELECT pixel, tracked_links, attributed FROM messages WHERE id = ? AND known"
    pixel, links, attributed = db.execute(sql, [message]).fetchone() or (0, 0, 0)
    return of_copy(bool(pixel), links or 0, bool(attributed))


def _move(
    db: sqlite3.Connection,
    message: str,
    recipient: int,
    before: dict[tuple[str, float], Counts],
    after: dict[tuple[str, float], Counts],
    ledger: Ledger,
) -> None:
    for status, at in sorted({*before, *after}):
        old, new = before.get((status, at), {}), after.get((status, at), {})
        if old != new:
            event = _event(message, recipient, at, Status(status))
            ledger.change(_entry(db, ledger, message, event, recipient, status, at), event, old, new)


def _entry(
    db: sqlite3.Connection, ledger: Ledger, message: str, event: str, recipient: int, status: str, at: float
) -> Entry:
    kind, code = None, None
    if status == Status.BOUNCED:
        sql = "SELECT kind, reason FROM events WHERE message = ? AND id = ?"
        kind, code = db.execute(sql, [message, event]).fetchone() or (None, None)
    return ledger.entry(message, at, status, recipient, kind, code)


def _event(message: str, recipient: int, at: float, status: Any) -> str:
    return timeline.event_id("outcome", message, recipient, repr(float(at)), Status(status))
