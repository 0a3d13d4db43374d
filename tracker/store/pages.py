"""Mirror pages in the SQLite store: one a message, until they are dropped."""

from __future__ import annotations

import sqlite3

from tracker.model import MirrorPage
from tracker.store.base import Row


def keep(db: sqlite3.Connection, page: MirrorPage) -> None:
    """Keep a page; one that is here already stays."""
    about = (str(page.message), page.at, page.content)
    db.execute("INSERT OR IGNORE INTO pages (message, at, content) VALUES (?, ?, ?)", about)


def page(db: sqlite3.Connection, message: str, recipient: int | None) -> Row | None:
    """The page of a message as one recipient asks for it."""
    found = db.execute(
        "SELECT p.at, p.content, m.sender, r.address FROM pages p LEFT JOIN messages m ON m.id = p.message"
        " LEFT JOIN recipients r ON r.message = p.message AND r.ordinal = ? WHERE p.message = ?",
        (recipient, message),
    ).fetchone()
    return None if found is None else dict(zip(("at", "content", "sender", "address"), found, strict=True))


def drop(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Drop the oldest pages of messages accepted before a time; how many."""
    sql = "DELETE FROM pages WHERE message IN (SELECT message FROM pages WHERE at < ? ORDER BY at LIMIT ?)"
    return db.execute(sql, (before, limit)).rowcount
