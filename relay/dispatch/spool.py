"""The durable queue: what was accepted is on stable storage until each of its recipients is done with.

One SQLite file a worker in ``data_dir/spool``, held by a lock, so that no two write the same one; a file whose holder
is gone, or that was carried here from another machine, is adopted. The original is kept once, whatever the number of
recipients; large ones in files beside it. What the store is to be told waits here too, in the transaction of what it
tells of, so that neither can be lost without the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO
from uuid import UUID

import structlog

from relay.dispatch import rows
from relay.dispatch.commits import Commits
from relay.dispatch.mail import Mail
from relay.dispatch.rows import Settled
from tracker import facts as codec
from tracker.errors import SpoolError, SpoolFull
from tracker.model import Fact, new_id

log = structlog.get_logger()

FOLDER = "spool"
LARGEST_INLINE = 256 * 1024
"""Octets of a content that is kept in the database itself."""
SPARE = 64 * 1024 * 1024
"""Octets of the disk, or a quarter of a small one, that no mail is taken into: what was sent must be noted, so a spool
that had filled its disk to the end could never empty."""
_UNREADABLE_SECONDS = 300.0


class Spool:
    """One file of the spool, open and locked. Its methods are for one event loop; all raise SpoolError where the disk
    does not go along."""

    def __init__(self, path: Path, lock: IO[bytes], routes: Sequence[str]) -> None:
        self.path = path
        self.octets = 0
        self._lock = lock
        self._routes = ("", *routes)
        self._contents = contents_of(path)
        self._commits = Commits(path, rows.prepare)
        self._version = 0

    async def open(self) -> None:
        """Make due what a former holder had in hand. Raises SpoolError."""
        self._commits.open()

        def begin(db: sqlite3.Connection) -> tuple[int, set[str]]:
            rows.release_all(db)
            rows.reroute(db, self._routes)
            return rows.octets(db), rows.in_files(db)

        self.octets, known = await self._commits.ask(begin)
        await asyncio.to_thread(remove_orphans, self._contents, known)

    async def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        await self._commits.close()
        self._lock.close()

    async def accept(self, mail: Mail, in_hand: bool, facts: Sequence[Fact] = ()) -> None:
        """Keep a mail; it is on stable storage when this returns. ``in_hand``: the caller goes on with it. Raises
        SpoolFull where the disk has no room for it."""
        inline = len(mail.content) <= LARGEST_INLINE
        if not inline:
            await asyncio.to_thread(self._keep_content, mail)
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> None:
            if inline:
                require_room(self.path.parent, len(mail.content), rows.free_octets(db))
            rows.insert(db, mail, inline, None if in_hand else mail.accepted_at)
            rows.add_facts(db, octets)

        try:
            await self._commits.ask(work)
        except SpoolError:
            if not inline:
                with suppress(OSError):
                    self._content_of(mail.id).unlink()
            raise
        self.octets += len(mail.trace) + len(mail.content)

    async def record(self, facts: Sequence[Fact], mail: UUID | None = None) -> None:
        """Keep facts for the store; ``mail``: they tell of its acceptance, which is so done."""
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> None:
            rows.add_facts(db, octets)
            if mail is not None:
                rows.set_recorded(db, mail)

        await self._commits.ask(work)

    async def tell_again(self) -> None:
        """Have the store told of every mail here once more: the file may come from where another store is."""
        await self._commits.ask(rows.forget_recorded)

    async def settle(
        self, mail: UUID, settled: Sequence[Settled], facts: Sequence[Fact] = (), release: bool = False
    ) -> None:
        """Note the outcome of a try, and what the store is to know of it; ``release``: the mail is laid back."""
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> int | None:
            rows.settle(db, mail, settled)
            rows.add_facts(db, octets)
            return rows.release(db, mail) if release else None

        self._gone(mail, await self._commits.ask(work))

    async def release(
        self, mail: UUID, told: Sequence[int] = (), warned: Sequence[int] = (), notice: Mail | None = None
    ) -> None:
        """Lay a mail back until it is due again, or forget it where nobody is left; with it, in one transaction, a
        ``notice`` to its sender about the recipients ``told`` and ``warned`` of."""

        def work(db: sqlite3.Connection) -> int | None:
            rows.tell(db, mail, told, warned)
            if notice is not None:
                rows.insert(db, notice, True, notice.accepted_at)
            return rows.release(db, mail)

        self._gone(mail, await self._commits.ask(work))
        if notice is not None:
            self.octets += len(notice.trace) + len(notice.content)

    async def reroute(self, routes: Sequence[str]) -> None:
        """Mail whose route is none of these goes the usual way."""
        await self._commits.ask(lambda db: rows.reroute(db, routes))

    async def put_off(self, mail: UUID, next_at: float) -> None:
        """Lay a mail back until ``next_at``, whatever its recipients want."""
        await self._commits.ask(lambda db: rows.put_off(db, mail, next_at))

    async def lease(self, routes: Sequence[str], now: float, limit: int) -> list[Mail]:
        """Take the mails that are due longest in hand."""
        return await self._read(await self._commits.ask(lambda db: rows.lease(db, routes, now, limit)), now)

    async def lease_older(self, accepted_before: float, now: float, limit: int) -> list[Mail]:
        """Take mails in hand that are here for too long."""
        return await self._read(await self._commits.ask(lambda db: rows.lease_older(db, accepted_before, limit)), now)

    async def lease_unrecorded(self, now: float, limit: int) -> list[Mail]:
        """Take mails in hand of which the store does not know."""
        return await self._read(await self._commits.ask(lambda db: rows.lease_unrecorded(db, limit)), now)

    async def next_due(self, routes: Sequence[str]) -> float | None:
        """When the next mail of these routes is due, None where none waits."""

        def work(db: sqlite3.Connection) -> list[float]:
            found = (rows.next_due(db, route) for route in routes)
            return [at for at in found if at is not None]

        return min(await self._commits.ask(work), default=None)

    async def facts(self, limit: int) -> list[tuple[int, bytes]]:
        """The oldest facts that the store has not taken, each with its number."""
        return await self._commits.ask(lambda db: rows.facts(db, limit))

    async def forget_facts(self, last: int) -> None:
        """The store has taken all facts up to this number."""
        await self._commits.ask(lambda db: rows.forget_facts(db, last))

    async def set_host(self, route: str, since: float, next_at: float, reason: str) -> None:
        """Note, for those who look, that a smarthost is left alone and why."""
        await self._commits.ask(lambda db: rows.set_host(db, route, since, next_at, reason))

    async def clear_host(self, route: str) -> None:
        """The smarthost is well again."""
        await self._commits.ask(lambda db: rows.clear_host(db, route))

    async def touched(self) -> bool:
        """Whether another program (``tracepost queue``) wrote into the file since this was last asked."""

        def work(db: sqlite3.Connection) -> int:
            found: int = db.execute("PRAGMA data_version").fetchone()[0]
            return found

        before, self._version = self._version, await self._commits.ask(work)
        return before not in (0, self._version)

    async def empty(self) -> bool:
        """Whether nothing is left in the file, neither mail nor facts."""
        sql = "SELECT NOT EXISTS (SELECT 1 FROM messages) AND NOT EXISTS (SELECT 1 FROM facts)"
        return bool(await self._commits.ask(lambda db: db.execute(sql).fetchone()[0]))

    async def remove(self) -> None:
        """Close the file and delete it; it must be empty."""
        await self._commits.close()
        for path in (*files_of(self.path), lock_of(self.path)):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self._contents.rmdir()
        self._lock.close()

    async def _read(self, found: Iterable[rows.Row], now: float) -> list[Mail]:
        """The mails with their contents; one whose content cannot be read now is laid back, whatever the others do."""
        mails = []
        for row in found:
            try:
                content = row.content
                if content is None:
                    content = await asyncio.to_thread(self._content_of(row.mail.id).read_bytes)
                mails.append(replace(row.mail, content=content))
            except OSError as error:
                log.error("a content cannot be read; trying again later", id=str(row.mail.id), error=error.strerror)
                await self.put_off(row.mail.id, now + _UNREADABLE_SECONDS)
        return mails

    def _keep_content(self, mail: Mail) -> None:
        path = self._content_of(mail.id)
        try:
            require_room(self.path.parent, len(mail.content))
            if not self._contents.is_dir():
                self._contents.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self._contents.parent)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(mail.content)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._contents)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise SpoolError("the spool cannot be written now; trying again later may help") from error

    def _content_of(self, mail: UUID) -> Path:
        return self._contents / str(mail)

    def _gone(self, mail: UUID, size: int | None) -> None:
        if size is not None:
            self.octets -= size
            if size > LARGEST_INLINE:
                self._content_of(mail).unlink(missing_ok=True)


# -- the folder ------------------------------------------------------------------------------------------------------


def claim(data_dir: Path, routes: Sequence[str], fresh: bool) -> Spool | None:
    """A file that nobody holds, locked: the first there is; where there is none, a new one if ``fresh``, else None.
    Raises SpoolError."""
    folder = data_dir / FOLDER
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(data_dir)
        for path in sorted(folder.glob("*.db")):
            lock = locked(path)
            if lock is not None:
                return Spool(path, lock, routes)
        if fresh:
            path = folder / f"{new_id()}.db"
            lock = locked(path)
            if lock is not None:
                return Spool(path, lock, routes)
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}") from error
    return None


def locked(path: Path) -> IO[bytes] | None:
    """The lock of a spool file, ours until it is closed; None where another process has it."""
    lock = lock_of(path).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    # Its last holder may have removed the file, and the lock's name with it, between our opening and locking.
    if not lock_of(path).exists() or os.fstat(lock.fileno()).st_ino != lock_of(path).stat().st_ino:
        lock.close()
        return None
    return lock


def lock_of(path: Path) -> Path:
    """The lock that goes with a spool file."""
    return path.with_suffix(".lock")


def contents_of(path: Path) -> Path:
    """The folder of large contents that goes with a spool file."""
    return path.with_suffix(".contents")


def files_of(path: Path) -> list[Path]:
    """The database and what SQLite keeps beside it."""
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def remove_orphans(contents: Path, known: set[str]) -> None:
    """Remove contents whose mail was never taken, or is done with."""
    if contents.is_dir():
        for path in contents.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)


def require_room(folder: Path, size: int, reusable: int = 0) -> None:
    """Raise SpoolFull unless the disk has room for so many octets beside what is kept free, of which ``reusable`` ones
    in the database may be up to a half; OSError where it cannot be asked."""
    disk = os.statvfs(folder)
    free, spare = disk.f_bavail * disk.f_frsize, min(SPARE, disk.f_blocks * disk.f_frsize // 4)
    if free + reusable < size + spare or free < spare // 2:
        raise SpoolFull("the disk has no room for more mail; trying again later may help")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
