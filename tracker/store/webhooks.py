"""Webhook deliveries in the SQLite store; what is promised of them stands in ``tracker.webhooks.deliveries``.

Keys begin with the endpoint: all that one delivery needs lies together. No row holds an address or a URL; what is told
is made from the event each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tracker.store import queries
from tracker.store.base import Row
from tracker.webhooks.deliveries import FAILING, HOLD, Settled, Standing, State

T = TypeVar("T")
Run = Callable[[Callable[[sqlite3.Connection], Any]], Any]
"""Runs a function on a connection, for reading or in a transaction."""

_MOST_ADDRESSES = 1000
_ABOUT = (
    "e.message, e.id, e.recorded, e.at, e.type, e.position, e.url, e.class, e.kind, e.reason, e.address, e.agent,"
    " e.reply, e.counts, m.message_id, m.sender, m.subject, m.tag, m.mailing, m.metadata, r.address AS recipient,"
    " l.label"
)
_JOINED = (
    " LEFT JOIN messages m ON m.id = e.message LEFT JOIN recipients r ON r.message = e.message"
    " AND r.ordinal = e.recipient LEFT JOIN links l ON l.message = e.message AND l.position = e.position"
)
_WAITING = "SELECT recorded, message, event, name, tries, next_at FROM webhook_deliveries"


def create(db: sqlite3.Connection) -> None:
    """Make the tables."""
    db.execute(
        "CREATE TABLE webhook_endpoints (endpoint TEXT PRIMARY KEY, mark TEXT NOT NULL, cursor INTEGER NOT NULL,"
        " owner TEXT, expires_at REAL NOT NULL DEFAULT 0, stopped_at REAL, failures INTEGER NOT NULL DEFAULT 0,"
        " delivered INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, given_up INTEGER NOT NULL DEFAULT 0,"
        " last_success_at REAL, last_error_at REAL, last_error TEXT) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE webhook_deliveries (endpoint TEXT, recorded INTEGER, message TEXT NOT NULL, event TEXT NOT NULL,"
        " name TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, first_at REAL NOT NULL,"
        " last_at REAL NOT NULL, next_at REAL, status INTEGER, problem TEXT, PRIMARY KEY (endpoint, recorded))"
        " WITHOUT ROWID"
    )
    for columns in ("next_at", "message"):
        db.execute(
            f"CREATE INDEX webhook_deliveries_{columns} ON webhook_deliveries (endpoint, {columns})"
            " WHERE state = 'waiting'"
        )


class SqliteDeliveries:
    """The deliveries in a store, which ``read`` and ``write`` reach."""

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    def enrol(self, marks: Mapping[str, str], owner: str, now: float) -> None:
        """Know these endpoints and no other."""
        self._write(lambda db: _enrol(db, marks, owner, now))

    def lease(self, key: str, owner: str, now: float, until: float) -> Standing | None:
        """Deliver to an endpoint until then, unless another node does."""
        standing: Standing | None = self._write(lambda db: _lease(db, key, owner, now, until))
        return standing

    def release(self, key: str, owner: str) -> None:
        """Let another node deliver."""
        sql = "UPDATE webhook_endpoints SET owner = NULL, expires_at = 0 WHERE endpoint = ? AND owner = ?"
        self._write(lambda db: db.execute(sql, [key, owner]))

    def newest(self) -> int:
        """The place of the last event in the log."""
        place: int = self._read(_newest)
        return place

    def upcoming(self, key: str, after: int, until: int, limit: int) -> Sequence[Row]:
        """The next events of the log that are not settled."""
        sql = (
            f"SELECT {_ABOUT} FROM events e{_JOINED} LEFT JOIN webhook_deliveries d"  # noqa: S608
            " ON d.endpoint = ? AND d.recorded = e.recorded WHERE e.recorded > ? AND e.recorded <= ?"
            " AND d.recorded IS NULL ORDER BY e.recorded LIMIT ?"
        )
        found: Sequence[Row] = self._read(lambda db: _addressed(db, queries.rows(db, sql, [key, after, until, limit])))
        return found

    def due(self, key: str, now: float, limit: int) -> Sequence[Row]:
        """What waits and may be tried."""
        sql = f"{_WAITING} WHERE endpoint = ? AND state = 'waiting' AND next_at <= ? ORDER BY next_at, recorded LIMIT ?"
        found: Sequence[Row] = self._read(lambda db: _with_events(db, queries.rows(db, sql, [key, now, limit])))
        return found

    def oldest(self, key: str) -> Row | None:
        """What has waited the longest."""
        sql = f"{_WAITING} WHERE endpoint = ? AND state = 'waiting' ORDER BY recorded LIMIT 1"
        found: Sequence[Row] = self._read(lambda db: _with_events(db, queries.rows(db, sql, [key])))
        return found[0] if found else None

    def waiting(self, key: str) -> dict[str, int]:
        """How many events of each message wait."""
        sql = (
            "SELECT message, count(*) FROM webhook_deliveries WHERE endpoint = ? AND state = 'waiting' GROUP BY message"
        )
        return dict(self._read(lambda db: db.execute(sql, [key]).fetchall()))

    def settle(
        self, key: str, owner: str, settled: Sequence[Settled], standing: Standing, now: float, until: float
    ) -> Standing | None:
        """Keep what became of events, and the lease; None where it was lost."""
        kept: Standing | None = self._write(lambda db: _settle(db, key, owner, settled, standing, now, until))
        return kept

    def trim(self, key: str, rows: int, before: float) -> None:
        """Drop what was settled long ago."""
        self._write(lambda db: _trim(db, key, rows, before))

    def endpoints(self) -> Mapping[str, Row]:
        """All that is known of each endpoint, by key; ``waiting`` events, ``behind`` seconds in the log."""
        return {row["endpoint"]: row for row in self._read(_endpoints)}

    def recent(self, key: str, limit: int) -> Sequence[Row]:
        """The last deliveries, what waits first."""
        sql = (
            "SELECT recorded, message, name, state, tries, first_at, last_at, next_at, status, problem"
            " FROM webhook_deliveries WHERE endpoint = ? ORDER BY state = 'waiting' DESC, last_at DESC LIMIT ?"
        )
        found: Sequence[Row] = self._read(lambda db: queries.rows(db, sql, [key, limit]))
        return found

    def one(self, key: str, recorded: int) -> Row | None:
        """One delivery and its event."""
        sql = "SELECT * FROM webhook_deliveries WHERE endpoint = ? AND recorded = ?"
        found: Sequence[Row] = self._read(lambda db: _with_events(db, queries.rows(db, sql, [key, recorded])))
        return found[0] if found else None

    def resend(self, key: str, recorded: int, now: float) -> bool:
        """Deliver once more."""
        sql = (
            "UPDATE webhook_deliveries SET state = 'waiting', tries = min(tries, 1), next_at = ?"
            " WHERE endpoint = ? AND recorded = ?"
        )
        changed: int = self._write(lambda db: db.execute(sql, [now, key, recorded]).rowcount)
        return changed > 0

    def resume(self, key: str) -> None:
        """Go on with an endpoint that is stopped."""
        sql = "UPDATE webhook_endpoints SET stopped_at = NULL, failures = 0 WHERE endpoint = ?"
        self._write(lambda db: db.execute(sql, [key]))


def _newest(db: sqlite3.Connection) -> int:
    place: int = db.execute("SELECT coalesce(max(recorded), 0) FROM events").fetchone()[0]
    return place


def _enrol(db: sqlite3.Connection, marks: Mapping[str, str], owner: str, now: float) -> None:
    known = db.execute("SELECT endpoint, owner, expires_at FROM webhook_endpoints").fetchall()
    for key, of, expires_at in known:
        if key not in marks and (of == owner or expires_at < now):
            db.execute("DELETE FROM webhook_endpoints WHERE endpoint = ?", [key])
            db.execute("DELETE FROM webhook_deliveries WHERE endpoint = ?", [key])
    newest = _newest(db)
    for key, mark in marks.items():
        db.execute(
            "INSERT INTO webhook_endpoints (endpoint, mark, cursor) VALUES (?1, ?2, ?3) ON CONFLICT (endpoint)"
            " DO UPDATE SET stopped_at = CASE WHEN mark = ?2 THEN stopped_at END, mark = ?2",
            [key, mark, newest],
        )


def _lease(db: sqlite3.Connection, key: str, owner: str, now: float, until: float) -> Standing | None:
    found = db.execute(
        "UPDATE webhook_endpoints SET owner = ?1, expires_at = ?2 WHERE endpoint = ?3"
        " AND (owner IS NULL OR owner = ?1 OR expires_at < ?4) RETURNING cursor, failures, stopped_at",
        [owner, until, key, now],
    ).fetchall()
    return Standing(*found[0]) if found else None


def _settle(
    db: sqlite3.Connection,
    key: str,
    owner: str,
    settled: Sequence[Settled],
    standing: Standing,
    now: float,
    until: float,
) -> Standing | None:
    before = db.execute("SELECT owner, failures FROM webhook_endpoints WHERE endpoint = ?", [key]).fetchone()
    if before is None or before[0] != owner:
        return None
    for each in settled:
        _keep(db, key, each)
    good = [each for each in settled if each.state is State.DELIVERED]
    tried = [each for each in settled if each.status is not None or each.problem is not None]
    bad = [each for each in tried if each.state in (State.WAITING, State.FAILED)]
    error = (bad[-1].problem or f"status {bad[-1].status}") if bad else None
    (found,) = db.execute(
        "UPDATE webhook_endpoints SET cursor = max(cursor, ?), expires_at = ?, failures = ?,"
        " stopped_at = coalesce(?, stopped_at), delivered = delivered + ?, failed = failed + ?,"
        " given_up = given_up + ?, last_success_at = coalesce(?, last_success_at),"
        " last_error_at = coalesce(?, last_error_at), last_error = coalesce(?, last_error) WHERE endpoint = ?"
        " RETURNING cursor, failures, stopped_at",
        [
            *(standing.cursor, until, standing.failures, standing.stopped_at, len(good), len(bad)),
            sum(each.state is State.FAILED for each in settled),
            *(now if good else None, now if bad else None, error, key),
        ],
    ).fetchall()
    if before[1] >= FAILING and standing.failures == 0:
        waiting = "endpoint = ?2 AND state = 'waiting' AND next_at > ?1"
        db.execute(f"UPDATE webhook_deliveries SET next_at = ?1 WHERE {waiting}", [now, key])  # noqa: S608
    return Standing(*found)


def _keep(db: sqlite3.Connection, key: str, settled: Settled) -> None:
    if settled.state is None:
        db.execute("DELETE FROM webhook_deliveries WHERE endpoint = ? AND recorded = ?", [key, settled.recorded])
    else:
        db.execute(
            "INSERT INTO webhook_deliveries (endpoint, recorded, message, event, name, state, tries, first_at, last_at,"
            " next_at, status, problem) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (endpoint, recorded) DO UPDATE SET"
            " name = excluded.name, state = excluded.state, tries = excluded.tries, last_at = excluded.last_at,"
            " next_at = excluded.next_at, status = excluded.status, problem = excluded.problem",
            (
                *(key, settled.recorded, settled.message, settled.event, settled.name, settled.state.value),
                *(settled.tries, settled.at, settled.at, settled.next_at, settled.status, settled.problem),
            ),
        )
    if settled.state is State.WAITING and not settled.tries:
        return
    # Those of its message that only waited behind it: they follow now, or with its next try.
    until = settled.at if settled.next_at is None else min(settled.next_at, settled.at + HOLD)
    behind = "endpoint = ? AND message = ? AND state = 'waiting' AND tries = 0 AND recorded > ?"
    db.execute(
        f"UPDATE webhook_deliveries SET next_at = ? WHERE {behind}",  # noqa: S608
        [until, key, settled.message, settled.recorded],
    )


def _trim(db: sqlite3.Connection, key: str, rows: int, before: float) -> None:
    for states in ("('delivered', 'dropped')", "('failed')"):
        of = f"FROM webhook_deliveries WHERE endpoint = ?1 AND state IN {states}"
        # Beyond the cursor a row also tells that its event is settled.
        db.execute(
            f"DELETE {of} AND recorded <= (SELECT cursor FROM webhook_endpoints WHERE endpoint = ?1)"  # noqa: S608
            f" AND (last_at < ?2 OR recorded <= (SELECT recorded {of} ORDER BY recorded DESC LIMIT 1 OFFSET ?3))",
            [key, before, rows],
        )


def _endpoints(db: sqlite3.Connection) -> list[dict[str, Any]]:
    found = queries.rows(db, "SELECT * FROM webhook_endpoints", [])
    for row in found:
        sql = "SELECT count(*), min(recorded) FROM webhook_deliveries WHERE endpoint = ? AND state = 'waiting'"
        row["waiting"], _ = db.execute(sql, [row["endpoint"]]).fetchone()
        sql = "SELECT min(recorded) FROM events WHERE recorded > ?"
        row["ahead"] = db.execute(sql, [row["cursor"]]).fetchone()[0]
    return found


def _with_events(db: sqlite3.Connection, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with its event or None as ``about``."""
    sql = f"SELECT {_ABOUT} FROM events e{_JOINED} WHERE e.message = ? AND e.id = ?"  # noqa: S608
    for row in found:
        events = _addressed(db, queries.rows(db, sql, [row["message"], row["event"]]))
        row["about"] = events[0] if events else None
    return found


def _addressed(db: sqlite3.Connection, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the ``addresses`` that its event is about: of a mail that was accepted, all of them."""
    sql = "SELECT address FROM recipients WHERE message = ? AND address IS NOT NULL ORDER BY ordinal LIMIT ?"
    for row in found:
        who = [(row["recipient"],)] if row["recipient"] else []
        if row["type"] == "accepted":
            who = db.execute(sql, [row["message"], _MOST_ADDRESSES]).fetchall()
        row["addresses"] = [address for (address,) in who]
    return found
