"""The tables of the SQLite store, step by step; safe to run any number of times and by several processes at once.

Every primary key begins with the message's id, a UUIDv7 made by whoever accepted the message, or with the sender: no
sequences. Counters live beside what they count and change in the transaction of the event.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlite_utils import Database

from tracker.store import webhooks
from tracker.store.base import COLUMNS

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


def _numbers(db: Database) -> None:
    """Counters by time, by mailing and by what is counted. ``events.counts`` holds what an event contributes to them
    now, ``events.alone`` the verdict on a hit by itself where its neighbours changed it, ``events.client`` who asked as
    counters are filed by it. ``moves`` hold differences that are not in the counters yet. Messages from before wait to
    be counted with ``counted`` 0."""
    zeros = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COLUMNS)
    links = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in ("clicks", "unique_clicks", "machine_clicks"))
    added = {
        "events": ("counts TEXT", "alone TEXT", "client TEXT"),
        "messages": (
            *("mailing_key TEXT", "links INTEGER", "tracked_links INTEGER", "counted INTEGER NOT NULL DEFAULT 0"),
            *(f"{name} INTEGER NOT NULL DEFAULT 0" for name in ("targeted", "open_tracked", "click_tracked", "both")),
        ),
        "recipients": (
            *("domain TEXT", "hit_at REAL", "click_at REAL"),
            *("sent_at REAL", "bounced_at REAL", "error_at REAL", "suppressed_at REAL"),
        ),
        "touches": ("first_at REAL",),
        "opt_outs": ("event TEXT",),
    }
    for table, columns in added.items():
        for column in columns:
            db.conn.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    db.conn.execute("CREATE TABLE moves (id TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
    db.conn.execute(
        "CREATE TABLE counts (sender TEXT, tag TEXT, cohort INTEGER, dimension TEXT, span TEXT, start INTEGER,"
        f" value TEXT, {zeros}, PRIMARY KEY (sender, tag, cohort, dimension, span, start, value)) WITHOUT ROWID"
    )
    db.conn.execute(
        "CREATE TABLE mailings (sender TEXT, id TEXT, mailing TEXT, tag TEXT, first_accepted_at REAL NOT NULL,"
        " last_accepted_at REAL NOT NULL, instrumented INTEGER NOT NULL DEFAULT 0,"
        f" attributed INTEGER NOT NULL DEFAULT 0, {zeros}, PRIMARY KEY (sender, id)) WITHOUT ROWID"
    )
    db.conn.execute(
        f"CREATE TABLE mailing_links (sender TEXT, mailing TEXT, position INTEGER, {links},"
        " PRIMARY KEY (sender, mailing, position)) WITHOUT ROWID"
    )
    for name, what in (
        ("events_at", "events (at) WHERE counts IS NOT NULL"),
        ("messages_mailing_key", "messages (mailing_key, id) WHERE mailing_key IS NOT NULL"),
        ("messages_uncounted", "messages (id) WHERE NOT counted"),
        ("counts_quarters", "counts (start) WHERE span = 'q' AND dimension NOT IN ('', 'mailing')"),
        ("mailings_id", "mailings (id)"),
        ("mailings_first", "mailings (first_accepted_at, id)"),
    ):
        db.conn.execute(f"CREATE INDEX {name} ON {what}")


def _ended_sessions(db: Database) -> None:
    """Sessions of the dashboard that were ended before their time."""
    db.conn.execute("CREATE TABLE ended_sessions (id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")


def _webhooks(db: Database) -> None:
    """How far webhooks have got in the order of recording, and what became of each event there."""
    webhooks.create(db.conn)


def _returns(db: Database) -> None:
    """Where a mail came from, for what comes back, and what came back: hard or soft."""
    db.conn.execute("ALTER TABLE messages ADD COLUMN reverse_path TEXT")
    db.conn.execute("ALTER TABLE recipients ADD COLUMN returned TEXT")


STEPS: tuple[Callable[[Database], None], ...] = (
    _first,
    _second,
    _pages,
    _personal,
    _numbers,
    _ended_sessions,
    _webhooks,
    _returns,
)
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
