"""Complaints in the SQLite store; and where a mail came from, for what comes back."""

from __future__ import annotations

import sqlite3
from typing import Any

from tracker.model import Complained
from tracker.store import queries, timeline
from tracker.store.ledger import Ledger


def complain(fact: Complained, ledger: Ledger) -> None:
    """Log a complaint; one a copy counts."""
    message = str(fact.message)
    event = timeline.event_id("complaint", message, fact.recipient)
    about = (message, event, fact.at, "complaint", fact.recipient, fact.kind, None, fact.reply)
    ledger.log(*about, counts={"complaints": 1})


def origin(db: sqlite3.Connection, message: str, recipient: int) -> dict[str, Any] | None:
    """Who sent a message, whom a host is to tell of it, and the address of one recipient, as far as they are known
    still; None where the message itself is not."""
    sql = (
        "SELECT m.sender, m.reverse_path, r.address FROM messages m LEFT JOIN recipients r"
        " ON r.message = m.id AND r.ordinal = ? WHERE m.id = ? AND m.known"
    )
    found = queries.rows(db, sql, [recipient, message])
    return found[0] if found else None
