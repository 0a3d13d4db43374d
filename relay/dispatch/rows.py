"""The spool's tables, and what one transaction does to them. Each function takes the connection of an open one.

A mail in hand (being delivered by whoever holds the file) has no ``next_at``; opening the file makes it due again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relay.dispatch.mail import Mail, Parameters, Rcpt, Said, State
from tracker.disk import outbox

_TABLES = (
    "CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, route TEXT NOT NULL,"
    " reverse_path TEXT NOT NULL, options TEXT NOT NULL, profile TEXT NOT NULL, trace BLOB NOT NULL,"
    " size INTEGER NOT NULL, accepted_at REAL NOT NULL, recorded INTEGER NOT NULL, next_at REAL)",
    "CREATE INDEX IF NOT EXISTS messages_due ON messages (route, next_at)",
    "CREATE INDEX IF NOT EXISTS messages_age ON messages (accepted_at)",
    "CREATE INDEX IF NOT EXISTS messages_unrecorded ON messages (seq) WHERE NOT recorded",
    "CREATE TABLE IF NOT EXISTS contents (seq INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS recipients (seq INTEGER, ordinal INTEGER, address TEXT NOT NULL, options TEXT NOT NULL,"
    " state TEXT NOT NULL, attempts INTEGER NOT NULL, next_at REAL NOT NULL, said TEXT, warned INTEGER NOT NULL,"
    " PRIMARY KEY (seq, ordinal)) WITHOUT ROWID",
    outbox.TABLE,
    "CREATE TABLE IF NOT EXISTS hosts (route TEXT PRIMARY KEY, since REAL NOT NULL, next_at REAL NOT NULL,"
    " reason TEXT NOT NULL) WITHOUT ROWID",
)
_MAIL = "seq, id, route, reverse_path, options, profile, trace, accepted_at, recorded"


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a recipient stands after a try; ``state`` None: done with, and nobody is to be told."""

    ordinal: int
    state: State | None
    said: Said
    attempts: int = 0
    next_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """A mail as it lies here: all of it but the content, which is None where it is in a file of its own."""

    mail: Mail
    content: bytes | None


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing."""
    db.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        db.execute(table)
    db.execute("COMMIT")


def release_all(db: sqlite3.Connection, but: Iterable[UUID] = ()) -> None:
    """Make due what is in nobody's hand any more: all that the file says is in hand, but these."""
    held = json.dumps([str(id) for id in but])
    sql = (
        "UPDATE messages SET next_at = accepted_at WHERE next_at IS NULL AND id NOT IN (SELECT value FROM json_each(?))"
    )
    db.execute(sql, [held])


def reroute(db: sqlite3.Connection, routes: Collection[str]) -> None:
    """Mail whose route is none of these goes the usual way; what was noted of hosts is no longer so."""
    db.execute(f"UPDATE messages SET route = '' WHERE route NOT IN ({_marks(routes)})", list(routes))  # noqa: S608
    db.execute("DELETE FROM hosts")


def insert(db: sqlite3.Connection, mail: Mail, inline: bool, next_at: float | None) -> None:
    """Keep a mail; ``next_at`` None: it is in hand. A mail that is here already changes nothing."""
    about = (str(mail.id), mail.route, mail.reverse_path, _dump(mail.options), mail.profile, mail.trace)
    size = len(mail.trace) + len(mail.content)  # as spool.size_of has it
    found = db.execute(
        "INSERT OR IGNORE INTO messages (id, route, reverse_path, options, profile, trace, size, accepted_at, recorded,"
        " next_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (*about, size, mail.accepted_at, mail.recorded, next_at),
    )
    if not found.rowcount:
        return
    seq = found.lastrowid
    if inline:
        db.execute("INSERT INTO contents VALUES (?, ?)", (seq, mail.content))
    db.executemany(
        "INSERT INTO recipients VALUES (?,?,?,?,?,?,?,?,?)",
        [
            (
                seq,
                each.ordinal,
                each.address,
                _dump(each.options),
                each.state.value,
                each.attempts,
                each.next_at,
                _dump_said(each.said),
                each.warned,
            )
            for each in mail.recipients
        ],
    )


def set_recorded(db: sqlite3.Connection, id: UUID) -> None:
    """The store will be told of this mail."""
    db.execute("UPDATE messages SET recorded = 1 WHERE id = ?", [str(id)])


def forget_recorded(db: sqlite3.Connection) -> None:
    """The store may know of no mail here."""
    db.execute("UPDATE messages SET recorded = 0 WHERE profile != ''")


def lease(db: sqlite3.Connection, routes: Sequence[str], now: float, limit: int) -> list[Row]:
    """Take the mails that are due longest in hand."""
    where = f"route IN ({_marks(routes)}) AND next_at <= ? ORDER BY next_at LIMIT ?"
    return _take(db, where, [*routes, now, limit])


def lease_older(
    db: sqlite3.Connection, routes: Sequence[str], now: float, accepted_before: float, limit: int
) -> list[Row]:
    """Take those of the due mails in hand that are here for too long."""
    # The plus keeps SQLite from the index on routes: all the mail of a host that is away is due.
    where = f"accepted_at <= ? AND +route IN ({_marks(routes)}) AND next_at <= ? ORDER BY accepted_at LIMIT ?"
    return _take(db, where, [accepted_before, *routes, now, limit])


def lease_unrecorded(db: sqlite3.Connection, routes: Sequence[str], now: float, limit: int) -> list[Row]:
    """Take those of the due mails in hand of which the store does not know."""
    where = f"NOT recorded AND +route IN ({_marks(routes)}) AND next_at <= ? ORDER BY seq LIMIT ?"
    return _take(db, where, [*routes, now, limit])


def put_off(db: sqlite3.Connection, id: UUID, next_at: float) -> None:
    """Lay a mail back until ``next_at``, whatever its recipients want."""
    db.execute("UPDATE messages SET next_at = ? WHERE id = ?", (next_at, str(id)))


def hurry(db: sqlite3.Connection, id: str, now: float) -> bool:
    """Make a mail and all its recipients due now; False where it is not here or in hand."""
    found = db.execute(
        "UPDATE messages SET next_at = ? WHERE id = ? AND next_at IS NOT NULL RETURNING seq", (now, id)
    ).fetchone()
    if found is not None:
        db.execute("UPDATE recipients SET next_at = ? WHERE seq = ?", (now, found[0]))
    return found is not None


def _take(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[Row]:
    found = db.execute(f"SELECT {_MAIL} FROM messages WHERE {where}", values).fetchall()  # noqa: S608
    db.executemany("UPDATE messages SET next_at = NULL WHERE seq = ?", [(row[0],) for row in found])
    return [_row(db, row) for row in found]


def row_of(db: sqlite3.Connection, id: str) -> Row | None:
    """One mail by id."""
    found = db.execute(f"SELECT {_MAIL} FROM messages WHERE id = ?", [id]).fetchone()  # noqa: S608
    return _row(db, found) if found else None


def mail_of(db: sqlite3.Connection, id: str) -> Mail | None:
    """One mail by id, less its content, which is not even read."""
    found = db.execute(f"SELECT {_MAIL} FROM messages WHERE id = ?", [id]).fetchone()  # noqa: S608
    return _mail(db, found) if found else None


def _row(db: sqlite3.Connection, found: Sequence[Any]) -> Row:
    content = db.execute("SELECT content FROM contents WHERE seq = ?", [found[0]]).fetchone()
    return Row(_mail(db, found), content[0] if content else None)


def _mail(db: sqlite3.Connection, found: Sequence[Any]) -> Mail:
    seq, id, route, reverse_path, options, profile, trace, accepted_at, recorded = found
    people = tuple(recipients(db, seq))
    parameters = json.loads(options)
    return Mail(UUID(id), route, reverse_path, parameters, people, profile, trace, b"", accepted_at, bool(recorded))


def recipients(db: sqlite3.Connection, seq: int) -> list[Rcpt]:
    """A mail's recipients that are not done with, in order."""
    columns = "ordinal, address, options, state, attempts, next_at, said, warned"
    return [
        Rcpt(ordinal, address, json.loads(options), State(state), attempts, next_at, _load_said(said), bool(warned))
        for ordinal, address, options, state, attempts, next_at, said, warned in db.execute(
            f"SELECT {columns} FROM recipients WHERE seq = ? ORDER BY ordinal",  # noqa: S608
            [seq],
        )
    ]


def settle(db: sqlite3.Connection, id: UUID, settled: Iterable[Settled]) -> None:
    """Note where recipients stand after a try."""
    seq = _seq(db, id)
    for each in settled:
        if each.state is None:
            db.execute("DELETE FROM recipients WHERE seq = ? AND ordinal = ?", (seq, each.ordinal))
        else:
            db.execute(
                "UPDATE recipients SET state = ?, attempts = ?, next_at = ?, said = ? WHERE seq = ? AND ordinal = ?",
                (each.state.value, each.attempts, each.next_at, _dump_said(each.said), seq, each.ordinal),
            )


def tell(db: sqlite3.Connection, id: UUID, told: Iterable[int], warned: Iterable[int]) -> bool:
    """The sender is told: of those in ``told`` for good, which ends them, of those in ``warned`` that they wait. False
    where that is done already."""
    seq = _seq(db, id)
    sql = "DELETE FROM recipients WHERE seq = ? AND ordinal = ?"
    ended = db.executemany(sql, [(seq, ordinal) for ordinal in told]).rowcount
    sql = "UPDATE recipients SET warned = 1 WHERE seq = ? AND ordinal = ? AND NOT warned"
    return db.executemany(sql, [(seq, ordinal) for ordinal in warned]).rowcount > 0 or ended > 0


def release(db: sqlite3.Connection, id: UUID) -> int | None:
    """Lay a mail back until its next recipient is due; where none is left, forget it and give its size."""
    seq = _seq(db, id)
    (next_at,) = db.execute("SELECT min(next_at) FROM recipients WHERE seq = ?", [seq]).fetchone()
    if next_at is not None:
        db.execute("UPDATE messages SET next_at = ? WHERE seq = ?", [next_at, seq])
        return None
    return forget(db, seq)


def forget_refused(db: sqlite3.Connection, ids: Iterable[UUID]) -> None:
    """Take out mails whose clients were told to keep them."""
    for id in ids:
        forget(db, _seq(db, id))


def forget(db: sqlite3.Connection, seq: int) -> int | None:
    """Take a mail out of the spool; its size, None where it was not there."""
    gone = db.execute("DELETE FROM messages WHERE seq = ? RETURNING size", [seq]).fetchone()
    db.execute("DELETE FROM contents WHERE seq = ?", [seq])
    db.execute("DELETE FROM recipients WHERE seq = ?", [seq])
    return gone[0] if gone else None


def ids(db: sqlite3.Connection) -> set[str]:
    """The ids of all mail here."""
    return {id for (id,) in db.execute("SELECT id FROM messages")}


def in_files(db: sqlite3.Connection) -> set[str]:
    """The ids of mails whose content is in a file of its own."""
    return {id for (id,) in db.execute("SELECT id FROM messages WHERE seq NOT IN (SELECT seq FROM contents)")}


def octets(db: sqlite3.Connection) -> int:
    """The size of all mail here."""
    found: int = db.execute("SELECT coalesce(sum(size), 0) FROM messages").fetchone()[0]
    return found


def set_host(db: sqlite3.Connection, route: str, since: float, next_at: float, reason: str) -> None:
    """Note that a smarthost is left alone until ``next_at``, and why."""
    db.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?, ?)", (route, since, next_at, reason))


def clear_host(db: sqlite3.Connection, route: str) -> None:
    """The smarthost is well again."""
    db.execute("DELETE FROM hosts WHERE route = ?", [route])


def _seq(db: sqlite3.Connection, id: UUID) -> int:
    found = db.execute("SELECT seq FROM messages WHERE id = ?", [str(id)]).fetchone()
    return found[0] if found else -1


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _dump(options: Parameters) -> str:
    return json.dumps(dict(options), separators=(",", ":"))


def _dump_said(said: Said | None) -> str | None:
    return None if said is None else json.dumps([said.code, said.enhanced, said.text, said.remote, said.at])


def _load_said(text: str | None) -> Said | None:
    return None if text is None else Said(*json.loads(text))
