"""The suppression list in the SQLite store: who wants no mail, or no tracking, from whom.

An entry is kept by a keyed hash of its address in lower case, so that the address itself can be forgotten and the entry
still holds. The latest decision on an entry wins, in whatever order decisions come in; an entry that was removed stays
as a tombstone, so that whoever follows the changes hears of it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from tracker.model import DOES_NOT_EXIST, NoMailbox, OptedIn, OptedOut, Suppression, SuppressionKind, Unwanted
from tracker.store import queries
from tracker.store.base import Changes, Page, SuppressionChange, SuppressionFilter
from tracker.store.ledger import Ledger

EVERYONE = ""
"""The sender of an entry that holds for every sender, as it is kept."""

_MARK_BYTES = 16
_ENTRY = "sender = ? AND mark = ? AND kind = ?"


def mark_of(key: bytes, address: str) -> bytes:
    """The keyed hash by which an address is known; its first 64 bits are enough to tell addresses apart."""
    octets = address.lower().encode("utf-8", "surrogatepass")
    return hashlib.blake2b(octets, key=key, digest_size=_MARK_BYTES).digest()


def key_of(db: sqlite3.Connection) -> bytes:
    """The key of this store's marks."""
    key: bytes = db.execute("SELECT value FROM meta WHERE name = 'address_key'").fetchone()[0]
    return key


Said = OptedOut | OptedIn | NoMailbox | Unwanted
"""What is said of an address."""


def apply(db: sqlite3.Connection, facts: Iterable[Said], ledger: Ledger, now: float) -> None:
    """Fold in what readers and receiving hosts said; the caller holds the transaction. Raises sqlite3.Error."""
    key = key_of(db)
    for fact in facts:
        if isinstance(fact, NoMailbox):
            entry = Suppression(fact.address, None, SuppressionKind.MAIL, DOES_NOT_EXIST)
            _decide(db, key, entry, fact.at, True, now)
            continue
        if isinstance(fact, Unwanted):
            entry = Suppression(fact.address, fact.sender, SuppressionKind.MAIL, fact.reason)
            _decide(db, key, entry, fact.at, True, now)
            continue
        out, message = isinstance(fact, OptedOut), str(fact.message)
        type = "opt_out" if out else "opt_in"
        about = (message, str(fact.id), fact.at, type, fact.recipient, fact.kind.value, fact.reason)
        if ledger.log(*about):
            _decide(db, key, Suppression(fact.address, fact.sender, fact.kind, fact.reason), fact.at, out, now)
            _count(db, key, fact, out, ledger)


def add(db: sqlite3.Connection, entries: Iterable[Suppression], now: float) -> int:
    """Put entries on the list, whatever was decided before; how many were not on it."""
    key = key_of(db)
    return sum(_decide(db, key, entry, None, True, now) for entry in entries)


def remove(db: sqlite3.Connection, address: str, sender: str | None, kind: SuppressionKind | None, now: float) -> int:
    """Take an address off the list: all its entries, or those for ``sender`` (``EVERYONE``: the one for every sender)
    and of ``kind`` alone; how many there were."""
    mark, where, values = mark_of(key_of(db), address), "", list[Any]()
    for column, value in (("sender", _folded(sender)), ("kind", kind)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(value)
    sql = f"SELECT sender, kind FROM suppressions WHERE mark = ? AND standing{where}"  # noqa: S608
    found = db.execute(sql, [mark, *values]).fetchall()
    for of, what in found:
        _bury(db, (of, mark, what), now, now)
    return len(found)


def listed(db: sqlite3.Connection, wanted: SuppressionFilter, limit: int, after: str | None) -> Page:
    """The entries, the newest first."""
    where, values = ["standing"], list[Any]()
    if wanted.address is not None:
        where.append("mark = ?")
        values.append(mark_of(key_of(db), wanted.address))
    for column, value in (("sender", _folded(wanted.sender)), ("kind", wanted.kind)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.q:
        where.append("(address LIKE ? ESCAPE '\\' OR sender LIKE ? ESCAPE '\\')")
        values += [queries.like(wanted.q)] * 2
    if after is not None:
        since, sender, mark, kind = queries.key_after(after, float, str, str, str)
        where.append("(since, sender, mark, kind) < (?, ?, ?, ?)")
        values += [since, sender, bytes.fromhex(mark), kind]
    columns = "address, nullif(sender, '') AS sender, kind, reason, since, sender AS of, hex(mark) AS mark"
    order = "ORDER BY since DESC, suppressions.sender DESC, suppressions.mark DESC, kind DESC LIMIT ?"
    sql = f"SELECT {columns} FROM suppressions WHERE {' AND '.join(where)} {order}"  # noqa: S608
    return queries.page(queries.rows(db, sql, [*values, limit + 1]), limit, "since", "of", "mark", "kind")


def changes(db: sqlite3.Connection, after: int, limit: int) -> Changes[SuppressionChange]:
    """What changed after a stamp, in order."""
    sql = "SELECT changed, mark, sender, kind, standing, reason FROM suppressions WHERE changed > ? ORDER BY changed"
    found = db.execute(f"{sql} LIMIT ?", [after, limit]).fetchall()
    rows = [
        SuppressionChange(mark, sender or None, SuppressionKind(kind), bool(standing), reason == DOES_NOT_EXIST)
        for _, mark, sender, kind, standing, reason in found
    ]
    return Changes(key_of(db), rows, found[-1][0] if found else after, newest(db, "suppressions"))


def newest(db: sqlite3.Connection, table: str) -> int:
    """The last stamp of a table whose changes are followed, 0 where it is empty."""
    stamp: int = db.execute(f"SELECT coalesce(max(changed), 0) FROM {table}").fetchone()[0]  # noqa: S608
    return stamp


def next_stamp(db: sqlite3.Connection, table: str, now: float) -> int:
    """A stamp after all that were given out: microseconds, or one more than the last where the clock went back."""
    return max(newest(db, table) + 1, int(now * 1e6))


def _folded(sender: str | None) -> str | None:
    return None if sender is None else sender.lower()


def _decide(db: sqlite3.Connection, key: bytes, entry: Suppression, at: float | None, out: bool, now: float) -> bool:
    """Put an entry on the list or take it off, unless something later was decided; ``at`` None: by hand, which always
    holds. True where it newly is on the list."""
    name = (_folded(entry.sender) or EVERYONE, mark_of(key, entry.address), entry.kind.value)
    sql = f"SELECT reason, since, decided_at, standing FROM suppressions WHERE {_ENTRY}"  # noqa: S608
    reason, since, decided_at, standing = db.execute(sql, name).fetchone() or ("", 0.0, None, False)
    if at is None:
        at = now if decided_at is None else max(now, decided_at)
    elif decided_at is not None and (at < decided_at or (at == decided_at and (standing or not out))):
        return False
    if not out:
        _bury(db, name, at, now)
        return False
    if not standing:
        since = at if entry.since is None else entry.since
    if not standing or reason != DOES_NOT_EXIST:
        reason = entry.reason
    db.execute(
        "INSERT OR REPLACE INTO suppressions (sender, mark, kind, address, reason, since, decided_at, standing,"
        " changed) VALUES (?,?,?,?,?,?,?,1,?)",
        (*name, entry.address, reason, since, at, next_stamp(db, "suppressions", now)),
    )
    return not standing


def _bury(db: sqlite3.Connection, name: Sequence[Any], at: float, now: float) -> None:
    """Leave a tombstone, which needs to know neither address nor reason."""
    db.execute(
        "INSERT OR REPLACE INTO suppressions (sender, mark, kind, address, reason, since, decided_at, standing,"
        " changed) VALUES (?,?,?,NULL,'',?,?,0,?)",
        (*name, at, at, next_stamp(db, "suppressions", now)),
    )


def _count(db: sqlite3.Connection, key: bytes, fact: OptedOut | OptedIn, out: bool, ledger: Ledger) -> None:
    """Count a reader once in the message's ``opt_outs``, by the last that was said there, which bears it. The row holds
    no address and no ordinal, and its hash is the message's own, so that it tells nothing where there is no
    attribution."""
    message, event = str(fact.message), str(fact.id)
    ledger.know(message)
    if fact.recipient is None:
        ledger.close()  # the message is there now
        db.execute("UPDATE messages SET attributed = 0 WHERE id = ? AND NOT known", [message])
    who = mark_of(key, f"{message} {fact.address}")
    sql = "SELECT at, standing, event FROM opt_outs WHERE message = ? AND who = ?"
    at, before, bearer = db.execute(sql, [message, who]).fetchone() or (None, 0, None)
    # Of what was said at one time, no outlives yes, and among equals the id decides.
    if fact.kind is not SuppressionKind.MAIL or (at is not None and (fact.at, out, event) < (at, before, bearer or "")):
        return
    counts = {"opt_outs": 1}
    if before and at is not None and bearer is not None:
        row = db.execute("SELECT recipient FROM events WHERE message = ? AND id = ?", [message, bearer]).fetchone()
        entry = ledger.entry(message, at, "opt_out", row[0] if row else fact.recipient)
        ledger.change(entry, bearer, counts, {})
    db.execute(
        "INSERT OR REPLACE INTO opt_outs (message, who, at, standing, event) VALUES (?,?,?,?,?)",
        [message, who, fact.at, out, event],
    )
    if out:
        ledger.change(ledger.entry(message, fact.at, "opt_out", fact.recipient), event, {}, counts)
