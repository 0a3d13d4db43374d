"""What was kept long enough leaves the SQLite store, a little at a time; counts stay. Each function takes the
connection of an open transaction."""

from __future__ import annotations

import sqlite3

from tracker.redaction import without_addresses

_MAY_HOLD = "({0} LIKE '%@%' OR {0} LIKE '%\\%40%' ESCAPE '\\' OR {0} LIKE '%\\%2540%' ESCAPE '\\')"


def drop_events(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Drop the oldest events that came in before a time; how many."""
    oldest = "SELECT message, id FROM events WHERE recorded < ? ORDER BY recorded LIMIT ?"
    found = db.execute(oldest, [int(before * 1e6), limit]).fetchall()
    db.executemany("DELETE FROM events WHERE message = ? AND id = ?", found)
    return len(found)


def drop_recipients(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Blank who got the oldest messages accepted before a time, and what they were about; how many messages."""
    sql = "SELECT id FROM messages WHERE accepted_at < ? AND NOT purged ORDER BY accepted_at LIMIT ?"
    found = [message for (message,) in db.execute(sql, [before, limit])]
    for message in found:
        db.execute(
            "UPDATE messages SET subject = '', metadata = '{}', reverse_path = NULL, purged = 1 WHERE id = ?", [message]
        )
        db.execute("UPDATE recipients SET address = NULL, reply = NULL, nameless = 1 WHERE message = ?", [message])
        db.execute("UPDATE events SET reply = NULL WHERE message = ? AND reply IS NOT NULL", [message])
        _without_addresses(db, "events", "id", message, ("url",))
        _without_addresses(db, "links", "position", message, ("url", "page", "label"))
    return len(found)


def _without_addresses(db: sqlite3.Connection, table: str, key: str, message: str, columns: tuple[str, ...]) -> None:
    """Take what looks like an address out of the rows of one message."""
    where = " OR ".join(_MAY_HOLD.format(column) for column in columns)
    sql = f"SELECT {key}, {', '.join(columns)} FROM {table} WHERE message = ? AND ({where})"  # noqa: S608
    for row in db.execute(sql, [message]).fetchall():
        values = [without_addresses(text) if text else text for text in row[1:]]
        sets = ", ".join(f"{column} = ?" for column in columns)
        db.execute(f"UPDATE {table} SET {sets} WHERE message = ? AND {key} = ?", [*values, message, row[0]])  # noqa: S608
