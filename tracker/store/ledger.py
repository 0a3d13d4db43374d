"""The ledger of one transaction: what the events in it contribute, and by how much that moves each counter.

An event's row keeps what it contributes now; counters are nothing but sums of that. Those of a message and its links
move at once; those by time, by mailing and by what is counted wait as one row of ``moves``, which ``rolling`` folds in.
A move names its event's message, recipient and link, never what is written there: it is filed by the rows as they stand
when it is folded in, and who changes such a row moves what was filed (``rolling.Refiling``).
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tracker.model import new_id
from tracker.store import timeline
from tracker.store.contributions import Counts, difference, pack
from tracker.store.periods import slot_of
from tracker.store.tables import Deltas, add
from tracker.store.timeline import Stamp

MESSAGE_COLUMNS = (
    *("targeted", "suppressed", "sent", "bounced", "bounced_later", "errors", "complaints", "pending"),
    *("open_tracked", "click_tracked", "opens", "unique_opens", "machine_opens", "clicks", "unique_clicks"),
    *("machine_clicks", "both", "opt_outs", "opt_out_clicks", "mirror_views"),
)
"""The counters of a message's row; the others follow from them."""

_OF_MESSAGE = frozenset(MESSAGE_COLUMNS)


class Entry(NamedTuple):
    """Of what a contribution is: enough to file it. ``what``: the class and code of a bounce, the client of a hit;
    ``slot`` is the quarter of an hour of the event."""

    message: str
    recipient: int | None
    position: int | None
    type: str
    what: str | None
    slot: int


class Ledger:
    """Gathers what a transaction moves; ``close`` writes it. ``stamp`` orders new events."""

    def __init__(self, db: sqlite3.Connection, stamp: Stamp) -> None:
        self.db = db
        self.stamp = stamp
        self.refiled: set[str] = set()
        self._messages: Deltas = defaultdict(lambda: defaultdict(int))
        self._links: Deltas = defaultdict(lambda: defaultdict(int))
        self._moves: dict[Entry, dict[str, int]] = {}

    def log(
        self,
        message: str,
        event: str,
        at: float,
        type: str,
        recipient: int | None = None,
        kind: str | None = None,
        reason: str | None = None,
        reply: str | None = None,
        counts: Counts | None = None,
    ) -> bool:
        """Add an event that is no hit, with what it contributes; False where it is there already."""
        about = (message, event, self.stamp(at), at, type, recipient, None, None, None, kind, reason)
        row = (*about, None, None, None, None, reply, pack(counts or {}), None, None)
        if self.db.execute(timeline.INSERT, row).rowcount == 0:
            return False
        if counts:
            self.move(self.entry(message, at, type, recipient, kind, reason), counts)
        return True

    @staticmethod
    def entry(
        message: str,
        at: float,
        type: str,
        recipient: int | None = None,
        kind: str | None = None,
        reason: str | None = None,
    ) -> Entry:
        """Of what an event that is no hit is."""
        return Entry(message, recipient, None, type, what_of(type, kind, reason, None), slot_of(at))

    def change(self, entry: Entry, event: str, old: Counts, new: Counts) -> None:
        """An event contributes something else than before; its row is written here."""
        if old != new:
            values = [pack(new), entry.message, event]
            self.db.execute("UPDATE events SET counts = ? WHERE message = ? AND id = ?", values)
            self.move(entry, difference(old, new))

    def move(self, entry: Entry, by: Counts) -> None:
        """Counters move by what is new; the event's row is written by whoever calls."""
        row = self._messages[(entry.message,)]
        for name, value in by.items():
            if name in _OF_MESSAGE:
                row[name] += value
            elif name.startswith("link_"):
                self._links[(entry.message, entry.position)][name[5:]] += value
        if entry.message not in self.refiled:
            moved = self._moves.setdefault(entry, {})
            for name, value in by.items():
                moved[name] = moved.get(name, 0) + value

    def know(self, message: str) -> None:
        """There is a message, whatever it counts."""
        _ = self._messages[(message,)]

    def pend(self, message: str, by: int) -> None:
        """So many more recipients wait, which no event says."""
        self._messages[(message,)]["pending"] += by

    def close(self) -> None:
        """Write all that is not written yet; what comes afterwards is gathered anew."""
        first: dict[str, dict[Any, Any]] = {
            "accepted_at": {key: timeline.made_at(UUID(key[0])) for key in self._messages},
            "counted": dict.fromkeys(self._messages, 1),
        }
        if self._messages:
            add(self.db, "messages", ("id",), self._messages, first)
        if self._links:
            add(self.db, "links", ("message", "position"), self._links, {})
        if moves := [(entry, by) for entry, by in self._moves.items() if any(by.values())]:
            self.db.execute("INSERT INTO moves (id, content) VALUES (?, ?)", [str(new_id()), packed(moves)])
        self._messages.clear()
        self._links.clear()
        self._moves = {}


def what_of(type: str, kind: str | None, reason: str | None, client: str | None) -> str | None:
    """What an event is filed by besides message, recipient and link."""
    return f"{kind} {reason}" if type == "bounced" and kind and reason else client


def packed(moves: Sequence[tuple[Entry, Counts]]) -> bytes:
    """Moves as one row keeps them."""
    kinds: dict[str, int] = {}
    rows: dict[str, list[list[Any]]] = defaultdict(list)
    for (message, recipient, position, type, what, slot), by in moves:
        kind = json.dumps([type, what, {name: value for name, value in by.items() if value}])
        rows[message].append([recipient, position, kinds.setdefault(kind, len(kinds)), slot])
    return f"[[{','.join(kinds)}],{json.dumps(rows, separators=(',', ':'))}]".encode()


def unpacked(content: bytes) -> list[tuple[Entry, Counts]]:
    """The moves of one row."""
    kinds, rows = json.loads(content)
    return [
        (Entry(message, recipient, position, kinds[kind][0], kinds[kind][1], slot), kinds[kind][2])
        for message, found in rows.items()
        for recipient, position, kind, slot in found
    ]
