"""The journal: what a tracker process has to tell the store and the store cannot take now, on stable storage.

One SQLite file a process in ``data_dir/journal``, held by a lock; a file whose holder is gone, or that was carried here
from another machine, is adopted and told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tracker import facts as codec
from tracker.disk import held, outbox
from tracker.disk.commits import Commits, free_octets
from tracker.disk.held import Held
from tracker.errors import SpoolError
from tracker.model import Fact

FOLDER = "journal"


class Journal:
    """One file of the journal, open and locked. ``waiting``: how many facts are in it. Its methods are for one event
    loop; all raise SpoolError where the disk does not go along."""

    def __init__(self, found: Held) -> None:
        self.path = found.path
        self.waiting = 0
        self._held = found
        self._commits = Commits(found.path, prepare, "journal")

    async def open(self) -> None:
        """Look what a former holder has left."""
        self._commits.open()
        self.waiting = await self._commits.ask(outbox.count)

    async def close(self) -> None:
        """Finish what is being written, and let go of the file. Safe to call twice."""
        await self._commits.close()
        self._held.lock.close()

    async def append(self, facts: Sequence[Fact]) -> None:
        """Keep facts; they are on stable storage when this returns."""
        records = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> None:
            held.require_room(self.path.parent, sum(map(len, records)), free_octets(db))
            outbox.add(db, records)

        await self._commits.ask(work)
        self.waiting += len(records)

    async def facts(self, limit: int) -> list[tuple[int, bytes]]:
        """The oldest facts, each with its number."""
        return await self._commits.ask(lambda db: outbox.oldest(db, limit))

    async def forget_facts(self, last: int) -> None:
        """The store has taken all facts up to this number."""

        def work(db: sqlite3.Connection) -> int:
            outbox.forget(db, last)
            return outbox.count(db)

        self.waiting = await self._commits.ask(work)

    async def remove(self) -> None:
        """Close the file and delete it; it must be empty."""
        await self._commits.close()
        held.remove(self._held)


def prepare(db: sqlite3.Connection) -> None:
    """Make the table where it is missing."""
    db.execute(outbox.TABLE)


def claim(data_dir: Path, fresh: bool) -> Journal | None:
    """A file that nobody holds, locked: the first there is; where there is none, a new one if ``fresh``, else None.
    Raises SpoolError."""
    folder = data_dir / FOLDER
    try:
        found = held.claim(folder, fresh)
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}") from error
    return None if found is None else Journal(found)
