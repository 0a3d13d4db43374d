"""What waits in ``moves`` into the counters, in bites; and counters moved where rows change that they are filed by."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracker.store.base import COLUMNS
from tracker.store.contributions import LINK_COLUMNS, Counts, unpack
from tracker.store.filing import MAILING, TOTALS, Filed, expanded, filed
from tracker.store.ledger import Entry, Ledger, unpacked, what_of
from tracker.store.periods import SLOT, Calendar, slot_of

KEY = ("sender", "tag", "cohort", "dimension", "span", "start", "value")
"""The key of ``counts``."""


def waiting(db: sqlite3.Connection) -> list[tuple[Entry, Counts]]:
    """All that is not in the counters yet."""
    return [move for (content,) in db.execute("SELECT content FROM moves") for move in unpacked(content)]


def roll(db: sqlite3.Connection, octets: int) -> int:
    """Fold the oldest of what waits into the counters, about so many octets of it; how many differences those were. The
    caller holds the transaction, here and below."""
    taken: list[str] = []
    moves: dict[Entry, dict[str, int]] = {}
    for id, content in db.execute("SELECT id, content FROM moves ORDER BY id"):
        if taken and octets < len(content):
            break
        octets -= len(content)
        taken.append(id)
        for entry, counts in unpacked(content):
            mine = moves.setdefault(entry, {})
            for name, by in counts.items():
                mine[name] = mine.get(name, 0) + by
    if taken:
        write(db, filed(db, list(moves.items())))
        db.executemany("DELETE FROM moves WHERE id = ?", [(id,) for id in taken])
    return len(moves)


def flush(db: sqlite3.Connection) -> None:
    """Fold in all that waits."""
    while roll(db, 1 << 24):
        pass


def write(db: sqlite3.Connection, found: Filed) -> None:
    """Add what is filed to the counters."""
    _upsert(db, "counts", KEY, COLUMNS, rows_of(found, calendar_of(db), quarters_of(db)))
    _upsert(db, "mailing_links", ("sender", "mailing", "position"), LINK_COLUMNS, found.links)
    _write_mailings(db, found)


def rows_of(found: Filed, calendar: Calendar, quarters: int) -> dict[tuple[Any, ...], dict[str, int]]:
    """What is filed by the keys of ``counts``. What is broken down is kept by the quarter for a while only, from
    ``quarters`` on, and by the month instead; the course of a mailing by the quarter alone."""
    rows: dict[tuple[Any, ...], dict[str, int]] = {}
    for (sender, tag, cohort, dimension, slot, value), counts in expanded(found.places).items():
        spans = [("d", calendar.day(slot))] if dimension != MAILING else []
        if dimension in ALWAYS or slot >= quarters:
            spans.append(("q", slot))
        if dimension not in ALWAYS:
            spans.append(("m", calendar.month(slot)))
        for span, start in spans:
            row = rows.setdefault((sender, tag, cohort, dimension, span, start, value), {})
            for name, by in counts.items():
                row[name] = row.get(name, 0) + by
    return rows


def _upsert(
    db: sqlite3.Connection,
    table: str,
    keys: Sequence[str],
    columns: Sequence[str],
    rows: dict[tuple[Any, ...], dict[str, int]],
) -> None:
    """Add to rows, those that move the same columns together; rows in which nothing is left go."""
    groups: dict[tuple[str, ...], list[list[Any]]] = defaultdict(list)
    lessened: list[tuple[Any, ...]] = []
    for key in sorted(rows):
        counts = {name: by for name, by in rows[key].items() if by}
        if counts:
            groups[tuple(sorted(counts))].append([*key, *(counts[name] for name in sorted(counts))])
        if any(by < 0 for by in counts.values()):
            lessened.append(key)
    for names, values in groups.items():
        moves = ", ".join(f"{name} = {name} + excluded.{name}" for name in names)
        marks = ", ".join("?" * (len(keys) + len(names)))
        db.executemany(
            f"INSERT INTO {table} ({', '.join((*keys, *names))}) VALUES ({marks})"  # noqa: S608
            f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {moves}",
            values,
        )
    empty = " AND ".join(f"{name} = 0" for name in columns)
    where = " AND ".join(f"{key} = ?" for key in keys)
    db.executemany(f"DELETE FROM {table} WHERE {where} AND {empty}", lessened)  # noqa: S608


def _write_mailings(db: sqlite3.Connection, found: Filed) -> None:
    for (sender, id), each in found.mailings.items():
        counts = {**each.counts, "instrumented": each.instrumented, "attributed": each.attributed}
        moved = {name: by for name, by in counts.items() if by}
        sets = "".join(f", {name} = {name} + excluded.{name}" for name in moved)
        names = ", ".join(("sender, id, mailing, tag, first_accepted_at, last_accepted_at", *moved))
        db.execute(
            f"INSERT INTO mailings ({names}) VALUES (?,?,?,?,?,?{',?' * len(moved)}) ON CONFLICT (sender, id) DO UPDATE"  # noqa: S608
            " SET first_accepted_at = min(first_accepted_at, excluded.first_accepted_at),"
            f" last_accepted_at = max(last_accepted_at, excluded.last_accepted_at){sets}",
            [sender, id, each.mailing, each.tag, each.first, each.last, *moved.values()],
        )


# -- rows that change ------------------------------------------------------------------------------------------------


@contextmanager
def refiling(db: sqlite3.Connection, ledger: Ledger | None, messages: Collection[str]) -> Iterator[None]:
    """While rows of these messages change that their counts are filed by: what was filed by the old ones is filed by
    the new ones. Where their contributions change too, ``ledger`` must be what tells of it."""
    if ledger is not None:
        ledger.close()
        ledger.refiled.update(messages)
    flush(db)
    before = filed(db, contributed(db, messages))
    yield
    if ledger is not None:
        ledger.close()
        ledger.refiled.difference_update(messages)
    after = filed(db, contributed(db, messages))
    after.subtract(before)
    write(db, after)


_CONTRIBUTIONS = (
    "SELECT message, recipient, position, type, iif(type = 'bounced', kind, NULL), iif(type = 'bounced', reason, NULL),"
    f" client, CAST(at / {SLOT} AS INTEGER), counts"
)
_KEYS = "1, 2, 3, 4, 5, 6, 7, 8, 9"


def contributed(db: sqlite3.Connection, messages: Iterable[str]) -> list[tuple[Entry, Counts]]:
    """All that the events of some messages contribute."""
    sql = f"{_CONTRIBUTIONS}, count(*) FROM events WHERE message = ? AND counts IS NOT NULL GROUP BY {_KEYS}"
    return [_entry_of(row) for message in messages for row in db.execute(sql, [message])]


def between(db: sqlite3.Connection, since: float, until: float) -> list[tuple[Entry, Counts]]:
    """All that the events of a short time contribute."""
    sql = f"{_CONTRIBUTIONS}, 1 FROM events WHERE counts IS NOT NULL AND at >= ? AND at < ?"
    return [_entry_of(row) for row in db.execute(sql, [since, until])]


def _entry_of(row: Sequence[Any]) -> tuple[Entry, Counts]:
    """Of what the contributions of a row of events are, so many times over as the row says at its end."""
    message, recipient, position, type, kind, reason, client, slot, counts, times = row
    entry = Entry(message, recipient, position, type, what_of(type, kind, reason, client), slot * SLOT)
    return entry, {name: by * times for name, by in unpack(counts).items()}


# -- what the counters are of ----------------------------------------------------------------------------------------

ALWAYS = (TOTALS, MAILING)
"""Dimensions that are kept by the quarter for good."""

_ZONES, _QUARTERS = "zones", "quarters"
_KEPT = 3 * 86_400
"""Seconds for which what is broken down is kept by the quarter."""


def begin(db: sqlite3.Connection, zone: str, now: float) -> None:
    """Say what the counters of a new store are of: the days of a zone, the quarters of a few days."""
    about = {_ZONES: json.dumps(Calendar.of(zone).zones), _QUARTERS: json.dumps(slot_of(now) - _KEPT)}
    for name, value in about.items():
        if db.execute("SELECT 1 FROM meta WHERE name = ?", [name]).fetchone() is None:
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", [name, value])


def calendar_of(db: sqlite3.Connection) -> Calendar:
    """The days and months that are counted."""
    return Calendar(tuple((since, zone) for since, zone in _about(db, _ZONES)))


def quarters_of(db: sqlite3.Connection) -> int:
    """The first quarter of which what is broken down is kept."""
    return int(_about(db, _QUARTERS))


def go_on(db: sqlite3.Connection, zone: str, now: float) -> None:
    """Count the days of another zone, if it is another, once the last day is over of which anything is counted; let go
    of quarters whose time is over."""
    calendar, slot = calendar_of(db), slot_of(now)
    if calendar.zones[-1][1] != zone:
        where = "sender = '' AND tag = '' AND cohort = 0 AND dimension = '' AND span = 'q'"
        newest = db.execute(f"SELECT max(start) FROM counts WHERE {where}").fetchone()[0]  # noqa: S608
        _say(db, _ZONES, calendar.followed_by(zone, max(slot, newest or slot)).zones)
    if quarters_of(db) < slot - _KEPT:
        _say(db, _QUARTERS, slot - _KEPT)
        where = f"span = 'q' AND dimension NOT IN {ALWAYS} AND start < ?"
        db.execute(f"DELETE FROM counts INDEXED BY counts_quarters WHERE {where}", [slot - _KEPT])  # noqa: S608


def _about(db: sqlite3.Connection, name: str) -> Any:
    return json.loads(db.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()[0])


def _say(db: sqlite3.Connection, name: str, value: Any) -> None:
    db.execute("UPDATE meta SET value = ? WHERE name = ?", [json.dumps(value), name])
