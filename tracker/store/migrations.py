"""The tables of the SQLite store, step by step; safe to run any number of times and by several processes at once.

Every primary key begins with the message's id, a UUIDv7 made by whoever accepted the message, or with the sender: no
sequences. Counters live beside what they count and change in the transaction of the event.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlite_utils import Database

COUNTERS = (
    "opens",
    "unique_opens",
    "machine_opens",
    "clicks",
    "unique_clicks",
    "machine_clicks",
    "opt_outs",
    "opt_out_clicks",
    "mirror_views",
)
"""The columns of a message that hits move."""

OUTCOMES = ("sent", "bounced", "bounced_later", "errors", "pending", "suppressed", "complaints")
"""The columns of a message that its recipients' outcomes move."""


def _first(db: Database) -> None:
    zeros = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in OUTCOMES + COUNTERS)
    db.conn.execute(
        "CREATE TABLE messages (id TEXT PRIMARY KEY, known INTEGER NOT NULL DEFAULT 0, message_id TEXT, mailing TEXT,"
        " sender TEXT, subject TEXT, tag TEXT, metadata TEXT NOT NULL DEFAULT '{}', accepted_at REAL NOT NULL,"
        " instrumented INTEGER NOT NULL DEFAULT 1, reason TEXT, pixel INTEGER NOT NULL DEFAULT 0,"
        f" attributed INTEGER NOT NULL DEFAULT 1, {zeros}) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE recipients (message TEXT, ordinal INTEGER, address TEXT COLLATE NOCASE, status TEXT,"
        " status_at REAL, was_sent INTEGER NOT NULL DEFAULT 0, reply TEXT, opens INTEGER NOT NULL DEFAULT 0,"
        " clicks INTEGER NOT NULL DEFAULT 0, machine_opens INTEGER NOT NULL DEFAULT 0,"
        " machine_clicks INTEGER NOT NULL DEFAULT 0, first_open_at REAL, last_open_at REAL, first_click_at REAL,"
        " last_click_at REAL, PRIMARY KEY (message, ordinal)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE links (message TEXT, position INTEGER, url TEXT, page TEXT, label TEXT, type TEXT, reason TEXT,"
        " tracked INTEGER NOT NULL DEFAULT 1, clicks INTEGER NOT NULL DEFAULT 0,"
        " unique_clicks INTEGER NOT NULL DEFAULT 0, machine_clicks INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (message, position)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE touches (message TEXT, recipient INTEGER, position INTEGER, human INTEGER NOT NULL DEFAULT 0,"
        " human_at REAL, machine_at REAL, PRIMARY KEY (message, recipient, position)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE events (message TEXT, id TEXT, recorded INTEGER NOT NULL, at REAL NOT NULL, type TEXT NOT NULL,"
        " recipient INTEGER, position INTEGER, url TEXT, class TEXT, kind TEXT, reason TEXT, rules INTEGER,"
        " address TEXT, agent TEXT, signals TEXT, reply TEXT, PRIMARY KEY (message, id)) WITHOUT ROWID"
    )
    for table, columns in (
        ("messages", "sender, id"),
        ("messages", "tag, id"),
        ("messages", "mailing, id"),
        ("messages", "message_id"),
        ("messages", "accepted_at"),
        ("recipients", "address, message"),
        ("events", "recorded"),
    ):
        name = f"{table}_{columns.replace(', ', '_')}"
        db.conn.execute(f"CREATE INDEX {name} ON {table} ({columns})")


def _second(db: Database) -> None:
    """The suppression list and saved link types. Marks are keyed hashes of addresses, so that an address can be
    forgotten and its opt-out still holds; what is removed stays as a tombstone, for those who follow the changes."""
    db.conn.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
    db.conn.execute("INSERT INTO meta VALUES ('address_key', ?)", [secrets.token_bytes(32)])
    db.conn.execute(
        "CREATE TABLE suppressions (sender TEXT, mark BLOB, kind TEXT, address TEXT COLLATE NOCASE,"
        " reason TEXT NOT NULL, since REAL NOT NULL, decided_at REAL NOT NULL, standing INTEGER NOT NULL,"
        " changed INTEGER NOT NULL, PRIMARY KEY (sender, mark, kind)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE opt_outs (message TEXT, who BLOB, at REAL NOT NULL, standing INTEGER NOT NULL,"
        " PRIMARY KEY (message, who)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE link_types (sender TEXT, url TEXT, type TEXT, since REAL NOT NULL, changed INTEGER NOT NULL,"
        " PRIMARY KEY (sender, url)) WITHOUT ROWID"
    )
    for table, columns in (
        ("suppressions", "changed"),
        ("suppressions", "mark"),
        ("suppressions", "since"),
        ("link_types", "changed"),
    ):
        db.conn.execute(f"CREATE INDEX {table}_{columns} ON {table} ({columns})")


def _pages(db: Database) -> None:
    """Mirror pages."""
    db.conn.execute("CREATE TABLE pages (message TEXT PRIMARY KEY, at REAL NOT NULL, content BLOB NOT NULL)")
    db.conn.execute("CREATE INDEX pages_at ON pages (at)")


def _personal(db: Database) -> None:
    """Which messages were purged of what is personal, and whose address is gone: hits of those keep no URL, which may
    hold it. Of a forgotten address there is a keyed hash, for what was said of it before and comes in later."""
    db.conn.execute("ALTER TABLE messages ADD COLUMN purged INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("ALTER TABLE recipients ADD COLUMN nameless INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("CREATE INDEX messages_personal ON messages (accepted_at) WHERE NOT purged")
    db.conn.execute("CREATE TABLE forgotten (mark BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID")


def _ended_sessions(db: Database) -> None:
    """Sessions of the dashboard that were ended before their time."""
    db.conn.execute("CREATE TABLE ended_sessions (id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")


STEPS: tuple[Callable[[Database], None], ...] = (_first, _second, _pages, _personal, _ended_sessions)
"""One function a version, in order; a step that was released is never changed."""


def migrate(db: Database) -> int:
    """Bring the tables up to date and return their version. Each step and its number commit together."""
    for number, step in enumerate(STEPS, 1):
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            if db.conn.execute("PRAGMA user_version").fetchone()[0] < number:
                step(db)
                db.conn.execute(f"PRAGMA user_version = {number}")
            db.conn.execute("COMMIT")
        except BaseException:
            db.conn.execute("ROLLBACK")
            raise
    return len(STEPS)
