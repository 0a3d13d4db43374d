"""Forgetting one person in the SQLite store: whatever names the address goes, counts and keyed hashes stay.

What was said of the person before and comes in later (from a journal, a spool, another node) is met by the hash, and
comes in without the address.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tracker.model import Accepted, Fact, NoMailbox, OptedIn, OptedOut, Unwanted
from tracker.redaction import EXACT, REDACTED, Redactor, addresses_in
from tracker.store import rolling, suppressions, timeline

_IDS = ("message", "id", "counts", "alone")
"""Columns that name nobody."""
SUMS = ("counts", "mailings", "mailing_links")
"""Tables of sums: where two rows become one, it holds both."""
_JOINED = {
    "first_accepted_at": "min(first_accepted_at, excluded.first_accepted_at)",
    "last_accepted_at": "max(last_accepted_at, excluded.last_accepted_at)",
}
_Said = OptedOut | OptedIn | NoMailbox | Unwanted
_CANDIDATE = "{0} GLOB '*[@%&\\]*'"


class Change(NamedTuple):
    """One row to be rewritten: its table, the columns and values of its key, the columns that change."""

    table: str
    key: dict[str, Any]
    values: dict[str, Any]


def note(db: sqlite3.Connection, address: str, now: float) -> None:
    """Know from now on that the address is forgotten; the caller holds the transaction, here and below."""
    mark = suppressions.mark_of(suppressions.key_of(db), address)
    db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", [mark, now])


def spellings(db: sqlite3.Connection, address: str) -> set[str]:
    """How the address is written in what its person got: other letters may be large."""
    if address.isascii():
        found = db.execute("SELECT DISTINCT CAST(address AS BLOB) FROM recipients WHERE address = ?", [address])
        return {octets.decode() for (octets,) in found}
    is_it = Redactor(address).is_it  # SQLite knows the case of ASCII alone
    everybody = db.execute("SELECT DISTINCT CAST(address AS BLOB) FROM recipients WHERE address GLOB '*[^ -~]*'")
    return {found for (octets,) in everybody if is_it(found := octets.decode())}


def erase(db: sqlite3.Connection, redactor: Redactor, limit: int) -> int:
    """Take the person out of some of the messages that it got; how many those were."""
    names = sorted(redactor.spellings)
    marks = ", ".join("?" * len(names))
    sql = f"SELECT message, ordinal FROM recipients WHERE address IN ({marks}) LIMIT ?"  # noqa: S608
    found = db.execute(sql, [*names, limit]).fetchall()
    for message, ordinal in found:
        key = [message, ordinal]
        db.execute(
            "UPDATE recipients SET address = NULL, reply = NULL, nameless = 1 WHERE message = ? AND ordinal = ?", key
        )
        db.execute(
            "UPDATE events SET url = NULL, address = NULL, agent = NULL, signals = NULL, reply = NULL"
            " WHERE message = ? AND recipient = ?",
            key,
        )
        if db.execute("SELECT count(*) FROM recipients WHERE message = ?", [message]).fetchone() == (1,):
            # What was written to one person alone tells of that person.
            forgotten = "subject = '', metadata = '{}', reverse_path = NULL"  # an app may write the recipient into it
            db.execute(f"UPDATE messages SET {forgotten} WHERE id = ?", [message])  # noqa: S608
            with rolling.refiling(db, None, [message]):
                db.execute("UPDATE links SET url = page WHERE message = ?", [message])
            db.execute("DELETE FROM pages WHERE message = ?", [message])
    return len(found)


def mentions(db: sqlite3.Connection, redactor: Redactor) -> list[Change]:
    """Every other row that names the address, in whatever table, and what it is to be without it. Reads all rows."""
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
    found = _all_mentions(db, [table for (table,) in tables], redactor)
    for message, content in db.execute("SELECT message, content FROM pages"):
        if (changed := redactor.page(content)) != content:
            found.append(Change("pages", {"message": message}, {"content": changed}))
    return found


def mentions_in_sums(db: sqlite3.Connection, redactor: Redactor) -> list[Change]:
    """The same of counters alone, which go on being made while the rest is rewritten."""
    return _all_mentions(db, SUMS, redactor)


def rewrite(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Write rows without the address. What was counted by a row that changes is counted by what it says then."""
    rolling.flush(db)
    for change in changes:
        if change.table in SUMS:
            _join(db, change)
            continue
        if change.table == "links":
            with rolling.refiling(db, None, [change.key["message"]]):
                _rewrite(db, change)
            continue
        _rewrite(db, change)


def _rewrite(db: sqlite3.Connection, change: Change) -> None:
    sets = ", ".join(f"{column} = ?" for column in change.values)
    where = " AND ".join(f"{column} IS ?" for column in change.key)
    sql = f"UPDATE OR REPLACE {change.table} SET {sets} WHERE {where}"  # noqa: S608
    db.execute(sql, [*change.values.values(), *change.key.values()])


def _join(db: sqlite3.Connection, change: Change) -> None:
    """Write a row of sums; where there is one of its new key already, the two become one that holds both sums."""
    where = " AND ".join(f"{column} IS ?" for column in change.key)
    cursor = db.execute(f"SELECT * FROM {change.table} WHERE {where}", list(change.key.values()))  # noqa: S608
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():  # none where it has become another meanwhile
        db.execute(f"DELETE FROM {change.table} WHERE {where}", list(change.key.values()))  # noqa: S608
        values = {**dict(zip(names, row, strict=True)), **change.values}
        joined = ", ".join(
            f"{name} = {_JOINED.get(name, '{0} + excluded.{0}').format(name)}"
            for name in names
            if name not in change.key and not isinstance(values[name], str | None)
        )
        db.execute(
            f"INSERT INTO {change.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
            f" ON CONFLICT ({', '.join(change.key)}) DO UPDATE SET {joined}",
            list(values.values()),
        )


def veiled(db: sqlite3.Connection, facts: Sequence[Fact]) -> list[Fact]:
    """The facts, those from before their person was forgotten without it. What the person itself said stays as it is;
    ``veil`` is for that."""
    if db.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None:
        return list(facts)
    return [fact if isinstance(fact, _Said) else _veiled(db, fact) for fact in facts]


def veil(db: sqlite3.Connection, facts: Sequence[Fact]) -> None:
    """Once facts are folded in: what a person said before it was forgotten is heeded by its hash alone."""
    for fact in facts:
        if isinstance(fact, _Said) and _is_forgotten(db, fact.address, timeline.made_at(fact.message)):
            mark = suppressions.mark_of(suppressions.key_of(db), fact.address)
            db.execute("UPDATE suppressions SET address = NULL WHERE mark = ?", [mark])


def without(fact: Fact, redactor: Redactor) -> Fact:
    """A fact without the person."""
    found = redactor.fact(fact)
    alone = isinstance(found, Accepted) and [each.address for each in found.recipients] == [""]
    if found is fact or not isinstance(found, Accepted) or not alone:
        return found
    links = tuple(replace(link, url=link.url.partition("#")[0].partition("?")[0]) for link in found.links)
    return replace(found, subject="", metadata={}, links=links, reverse_path=None)


def _veiled(db: sqlite3.Connection, fact: Fact) -> Fact:
    message = fact.id if isinstance(fact, Accepted) else fact.message
    for address in addresses_in(fact):
        if _is_forgotten(db, address, timeline.made_at(message)):
            fact = without(fact, Redactor(address))
    return fact


def _is_forgotten(db: sqlite3.Connection, address: str, made_at: float) -> bool:
    """Whether an address was forgotten after that time."""
    mark = suppressions.mark_of(suppressions.key_of(db), address)
    return db.execute("SELECT 1 FROM forgotten WHERE mark = ? AND at >= ?", [mark, made_at]).fetchone() is not None


def _all_mentions(db: sqlite3.Connection, tables: Iterable[str], redactor: Redactor) -> list[Change]:
    db.create_function("names_it", 1, lambda text: isinstance(text, str) and redactor.found_in(text))
    return [change for table in tables for change in _mentions_in(db, table, redactor)]


def _mentions_in(db: sqlite3.Connection, table: str, redactor: Redactor) -> list[Change]:
    columns = db.execute(f"PRAGMA table_info({table})").fetchall()
    keys = [name for _, name, _, _, _, place in columns if place]
    texts = [name for _, name, kind, _, _, _ in columns if kind == "TEXT" and name not in _IDS]
    if not texts or not keys:
        return []
    runs = "".join(f" OR instr({{0}}, '{needle}')" for needle in redactor.runs)
    named = " OR ".join(f"(({_CANDIDATE}{runs}) AND names_it({{0}}))".format(column) for column in texts)
    sql = f"SELECT {', '.join(keys)}, {', '.join(texts)} FROM {table} WHERE {named}"  # noqa: S608
    found = []
    for row in db.execute(sql):
        key = dict(zip(keys, row, strict=False))
        old = dict(zip(texts, row[len(keys) :], strict=True))
        new = {name: _without(name, text, redactor, name in keys) for name, text in old.items()}
        if changed := {name: text for name, text in new.items() if text != old[name]}:
            found.append(Change(table, key, changed))
    return found


def _without(column: str, text: str | None, redactor: Redactor, in_key: bool) -> str | None:
    if text is None:
        return None
    if column in EXACT:
        gone = None if column in ("address", "reverse_path") and not in_key else REDACTED
        return gone if redactor.is_it(text) else text
    return redactor.text(text)
