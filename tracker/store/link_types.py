"""Link types saved for a URL or a glob, for later mail, in the SQLite store. One that was removed stays as a tombstone
without a type, so that whoever follows the changes hears of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from tracker.model import LinkType
from tracker.store import queries, suppressions
from tracker.store.base import Changes, LinkTypeChange, Page, Row

SavedTypes = tuple[tuple[str, str], ...]
"""URL or glob, and type; the first that is equal to a URL or a glob of it holds."""


def save(db: sqlite3.Connection, sender: str | None, url: str, type: LinkType | None, now: float) -> None:
    """Save a type for a URL or glob, for one sender or with None for all; None as type takes it back."""
    name = ((sender or "").lower(), url)
    if type is None and db.execute("SELECT 1 FROM link_types WHERE sender = ? AND url = ?", name).fetchone() is None:
        return
    db.execute(
        "INSERT OR REPLACE INTO link_types (sender, url, type, since, changed) VALUES (?,?,?,?,?)",
        (*name, type, now, suppressions.next_stamp(db, "link_types", now)),
    )


def listed(db: sqlite3.Connection) -> list[Row]:
    """All that is saved, by URL and sender; as many as people typed in."""
    columns = "url, nullif(sender, '') AS sender, type, since"
    sql = f"SELECT {columns} FROM link_types WHERE type IS NOT NULL ORDER BY url, link_types.sender"  # noqa: S608
    return list(queries.rows(db, sql, []))


def changes(db: sqlite3.Connection, after: int, limit: int) -> Changes[LinkTypeChange]:
    """What changed after a stamp, in order."""
    sql = "SELECT changed, sender, url, type FROM link_types WHERE changed > ? ORDER BY changed LIMIT ?"
    found = db.execute(sql, [after, limit]).fetchall()
    rows = [LinkTypeChange(sender or None, url, LinkType(type) if type else None) for _, sender, url, type in found]
    last = found[-1][0] if found else after
    return Changes(suppressions.key_of(db), rows, last, suppressions.newest(db, "link_types"))


def noted(db: sqlite3.Connection, page: Page, sender: str | None) -> Page:
    """Rows of URLs with the type that is saved for each, as ``saved_type``: of ``sender`` and of all."""
    saved = [LinkTypeChange(row["sender"], row["url"], LinkType(row["type"])) for row in listed(db)]
    kept = of_sender(saved, sender)
    return Page([{**row, "saved_type": saved_for(row["url"], kept)} for row in page.rows], page.next)


def in_file(path: Path, sender: str) -> SavedTypes:
    """What holds for a sender's links in the store at ``path``, which is not written to; nothing where it cannot be
    read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return of_sender(changes(db, 0, -1).rows, sender)
    except sqlite3.Error:
        return ()


def of_sender(saved: Iterable[LinkTypeChange], sender: str | None) -> SavedTypes:
    """What holds for a sender's links: its own before everybody's, what says more before what says less."""
    name = sender.lower() if sender else None
    mine = [each for each in saved if each.type is not None and each.sender in (None, name)]
    mine.sort(key=lambda each: (each.sender is None, each.url.count("*") - len(each.url), each.url))
    return tuple((each.url, str(each.type)) for each in mine)


def saved_for(url: str, saved: SavedTypes) -> str | None:
    """The type saved for a URL: the first that is equal to it or a glob of it, with or without its query."""
    bare = url.partition("#")[0].partition("?")[0]
    for pattern, type in saved:
        if pattern in (url, bare) or fnmatchcase(url, pattern) or fnmatchcase(bare, pattern):
            return type
    return None
