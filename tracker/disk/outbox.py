"""The table of facts that wait in a file for the store, in order. Each function takes the connection of an open
transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

TABLE = "CREATE TABLE IF NOT EXISTS facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, fact BLOB NOT NULL)"

_MOST_OCTETS = 8 * 1024 * 1024


def add(db: sqlite3.Connection, facts: Iterable[bytes]) -> None:
    """Keep facts for the store."""
    db.executemany("INSERT INTO facts (fact) VALUES (?)", [(fact,) for fact in facts])


def oldest(db: sqlite3.Connection, limit: int) -> list[tuple[int, bytes]]:
    """The oldest facts that the store has not taken, each with its number; fewer where they are large."""
    found: list[tuple[int, bytes]] = []
    room = _MOST_OCTETS
    for seq, fact in db.execute("SELECT seq, fact FROM facts ORDER BY seq LIMIT ?", [limit]):
        found.append((seq, fact))
        room -= len(fact)
        if room <= 0:
            break
    return found


def forget(db: sqlite3.Connection, last: int) -> None:
    """The store has taken all facts up to this number."""
    db.execute("DELETE FROM facts WHERE seq <= ?", [last])


def rewrite(db: sqlite3.Connection, change: Callable[[bytes], bytes | None]) -> None:
    """Put what ``change`` makes of a fact in its place; None: it goes."""
    for (seq,) in db.execute("SELECT seq FROM facts ORDER BY seq").fetchall():
        (fact,) = db.execute("SELECT fact FROM facts WHERE seq = ?", [seq]).fetchone()
        found = change(fact)
        if found is None:
            db.execute("DELETE FROM facts WHERE seq = ?", [seq])
        elif found != fact:
            db.execute("UPDATE facts SET fact = ? WHERE seq = ?", [found, seq])


def count(db: sqlite3.Connection) -> int:
    """How many there are; they are taken in order, so there are no gaps to count."""
    found: int = db.execute("SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM facts").fetchone()[0]
    return found
