"""The table of facts that wait in a file for the store, in order. Each function takes the connection of an open
transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

TABLE = "CREATE TABLE IF NOT EXISTS facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, fact BLOB NOT NULL)"


def add(db: sqlite3.Connection, facts: Iterable[bytes]) -> None:
    """Keep facts for the store."""
    db.executemany("INSERT INTO facts (fact) VALUES (?)", [(fact,) for fact in facts])


def oldest(db: sqlite3.Connection, limit: int) -> list[tuple[int, bytes]]:
    """The oldest facts that the store has not taken, each with its number."""
    return db.execute("SELECT seq, fact FROM facts ORDER BY seq LIMIT ?", [limit]).fetchall()


def forget(db: sqlite3.Connection, last: int) -> None:
    """The store has taken all facts up to this number."""
    db.execute("DELETE FROM facts WHERE seq <= ?", [last])


def rewrite(db: sqlite3.Connection, change: Callable[[bytes], bytes]) -> None:
    """Put others in the place of those facts that ``change`` changes."""
    found = [(change(fact), seq, fact) for seq, fact in db.execute("SELECT seq, fact FROM facts").fetchall()]
    changed = [(fact, seq) for fact, seq, before in found if fact != before]
    db.executemany("UPDATE facts SET fact = ? WHERE seq = ?", changed)


def count(db: sqlite3.Connection) -> int:
    """How many there are; they are taken in order, so there are no gaps to count."""
    found: int = db.execute("SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM facts").fetchone()[0]
    return found
