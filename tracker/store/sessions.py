"""Sessions of the dashboard that were ended before their time."""

from __future__ import annotations

import sqlite3


def end(db: sqlite3.Connection, id: str, until: float, now: float) -> None:
    """Remember one until a time, and forget those whose time is over, all in seconds since the epoch; the caller holds
    the transaction."""
    db.execute("DELETE FROM ended_sessions WHERE until < ?", [now])
    db.execute("INSERT OR IGNORE INTO ended_sessions VALUES (?, ?)", [id, until])


def ended(db: sqlite3.Connection, id: str) -> bool:
    """Whether one was ended."""
    return db.execute("SELECT 1 FROM ended_sessions WHERE id = ?", [id]).fetchone() is not None
