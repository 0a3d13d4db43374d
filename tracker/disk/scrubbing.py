"""No octet of what was erased stays in a SQLite file, nor in its write-ahead log. All of it blocks."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tracker.disk.commits import free_octets
from tracker.redaction import LONGEST_NEEDLE, Redactor

_CHUNK = 4 * 1024 * 1024
_PATIENCE = 15.0
_ALL_IN_MEMORY = 256 * 1024 * 1024


def scrub(db: sqlite3.Connection, path: Path, redactor: Redactor, always: bool = False) -> None:
    """Empty the log into the file at ``path`` and write the file anew where it still holds the address, or ``always``.
    ``db`` has no open transaction. Raises sqlite3.Error, also where others do not let go of the file in time,
    OSError."""
    _checkpoint(db)
    if always or file_holds(path, redactor):
        live = path.stat().st_size - free_octets(db)
        db.execute(f"PRAGMA temp_store = {'MEMORY' if live < _ALL_IN_MEMORY else 'FILE'}")
        db.execute("VACUUM")
        _checkpoint(db)


def file_holds(path: Path, redactor: Redactor) -> bool:
    """Whether a file holds the address, in whatever form. Raises OSError."""
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if redactor.held_by(before + chunk):
                return True
            before = chunk[-LONGEST_NEEDLE:]
    return False


def _checkpoint(db: sqlite3.Connection) -> None:
    """Move the log into the file, and make it empty; readers may keep it busy for a while."""
    deadline = time.monotonic() + _PATIENCE
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("the write-ahead log is in use")
        time.sleep(0.05)
