"""The durable queue: what was accepted is on stable storage until each of its recipients is done with.

One SQLite file a worker in ``data_dir/spool``, held by a lock, so that no two write the same one; a file whose holder
is gone, or that was carried here from another machine, is adopted. The original is kept once, whatever the number of
recipients; large ones in files beside it. What the store is to be told waits here too, in the transaction of what it
tells of, so that neither can be lost without the other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import structlog

from relay.dispatch import rows
from relay.dispatch.contents import Contents
from relay.dispatch.mail import Mail
from relay.dispatch.rows import Settled
from tracker import facts as codec
from tracker.disk import held, outbox
from tracker.disk.commits import Commits, Work, free_octets
from tracker.disk.held import Held
from tracker.errors import SpoolError, SpoolFull
from tracker.model import Fact

log = structlog.get_logger()

T = TypeVar("T")
Weigh = Callable[[int], None]
"""Is told by how many octets of mail a spool file has grown, or shrunk."""

FOLDER = "spool"
LARGEST_INLINE = 256 * 1024
"""Octets of a content that is kept in the database itself."""
_UNREADABLE_SECONDS = 300.0


class Spool:
    """One file of the spool, open and locked. Its methods are for one event loop; all raise SpoolError where the disk
    does not go along. ``routes`` are the smarthosts that there are beside the usual one."""

    def __init__(self, found: Held, routes: Collection[str], weigh: Weigh = lambda octets: None) -> None:
        self.path = found.path
        self.octets = 0
        self._weigh = weigh
        self._file = found
        self._routes = frozenset(["", *routes])
        self._contents = Contents(contents_of(self.path))
        self._commits = Commits(self.path, rows.prepare, "spool")
        self._version = 0
        self._held: set[UUID] = set()  # arriving, or in hand
        self._refused: set[UUID] = set()
        self._doubt = False

    async def open(self) -> None:
        """Make due what a former holder had in hand. Raises SpoolError."""
        self._commits.open()

        def begin(db: sqlite3.Connection) -> tuple[int, set[str]]:
            rows.release_all(db)
            rows.reroute(db, self._routes)
            return rows.octets(db), rows.ids(db)

        octets, known = await self._ask(begin)
        self._grow(octets)
        await asyncio.to_thread(self._contents.keep_only, known)

    async def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        await self._commits.close()
        self._file.lock.close()

    async def accept(self, mail: Mail, in_hand: bool, facts: Sequence[Fact] = ()) -> None:
        """Keep a mail; it is on stable storage when this returns. ``in_hand``: the caller goes on with it. Raises
        SpoolFull where the disk has no room for it."""
        inline = len(mail.content) <= LARGEST_INLINE
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> None:
            if inline:
                held.require_room(self.path.parent, len(mail.content), free_octets(db))
            rows.insert(db, self._routed(mail), inline, None if in_hand else mail.accepted_at)
            outbox.add(db, octets)

        self._held.add(mail.id)
        try:
            if not inline:
                held.require_room(self.path.parent, len(mail.content))
                await asyncio.to_thread(self._contents.keep, mail.id, mail.content)
            await self._ask(work)
        except SpoolFull:
            self._held.discard(mail.id)
            raise
        except BaseException as error:
            self._held.discard(mail.id)
            self._refused.add(mail.id)
            self._doubt = True
            if isinstance(error, OSError):
                raise SpoolError("the spool cannot be written now; trying again later may help") from error
            raise
        if not in_hand:
            self._held.discard(mail.id)
        self._grow(size_of(mail))

    async def record(self, facts: Sequence[Fact], mail: UUID | None = None) -> None:
        """Keep facts for the store; ``mail``: they tell of its acceptance, which is so done."""
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> None:
            outbox.add(db, octets)
            if mail is not None:
                rows.set_recorded(db, mail)

        await self._ask(work)

    async def tell_again(self) -> None:
        """Have the store told of every mail here once more: the file may come from where another store is."""
        await self._ask(rows.forget_recorded)

    async def settle(
        self, mail: UUID, settled: Sequence[Settled], facts: Sequence[Fact] = (), release: bool = False
    ) -> None:
        """Note the outcome of a try, and what the store is to know of it; ``release``: the mail is laid back."""
        octets = [codec.encode(fact) for fact in facts]

        def work(db: sqlite3.Connection) -> int | None:
            rows.settle(db, mail, settled)
            outbox.add(db, octets)
            return rows.release(db, mail) if release else None

        self._gone(mail, await self._ask(work))
        if release:
            self._held.discard(mail)

    async def release(
        self, mail: UUID, told: Sequence[int] = (), warned: Sequence[int] = (), notice: Mail | None = None
    ) -> None:
        """Lay a mail back until it is due again, or forget it where nobody is left; with it, in one transaction, a
        ``notice`` to its sender about the recipients ``told`` and ``warned`` of."""

        def work(db: sqlite3.Connection) -> tuple[int | None, int]:
            # Where an earlier try has come through after all, the notice may be on its way already.
            told_now, size = rows.tell(db, mail, told, warned), 0
            if notice is not None and told_now:
                rows.insert(db, self._routed(notice), True, notice.accepted_at)
                size = size_of(notice)
            return rows.release(db, mail), size

        gone, grown = await self._ask(work)
        self._gone(mail, gone)
        self._held.discard(mail)
        self._grow(grown)

    def reroute(self, routes: Collection[str]) -> Coroutine[Any, Any, None]:
        """There are only these routes from now on; mail of any other goes the usual way."""
        self._routes = frozenset(["", *routes])
        return self._ask(lambda db: rows.reroute(db, self._routes))

    async def put_off(self, mail: UUID, next_at: float) -> None:
        """Lay a mail back until ``next_at``, whatever its recipients want."""
        await self._ask(lambda db: rows.put_off(db, mail, next_at))
        self._held.discard(mail)

    async def lease(self, routes: Sequence[str], now: float, limit: int) -> list[Mail]:
        """Take the mails that are due longest in hand."""
        return await self._read(await self._ask(lambda db: rows.lease(db, routes, now, limit)), now)

    async def lease_idle(self, routes: Sequence[str], now: float, accepted_before: float, limit: int) -> list[Mail]:
        """Take those mails in hand for which something is to be done though their smarthost is away: they are here for
        too long, or the store does not know of them."""

        def work(db: sqlite3.Connection) -> list[rows.Row]:
            older = rows.lease_older(db, routes, now, accepted_before, limit)
            return older + rows.lease_unrecorded(db, routes, now, limit - len(older))

        return await self._read(await self._ask(work), now)

    async def facts(self, limit: int) -> list[tuple[int, bytes]]:
        """The oldest facts that the store has not taken, each with its number."""
        return await self._ask(lambda db: outbox.oldest(db, limit))

    async def forget_facts(self, last: int) -> None:
        """The store has taken all facts up to this number."""
        await self._ask(lambda db: outbox.forget(db, last))

    async def set_host(self, route: str, since: float, next_at: float, reason: str) -> None:
        """Note, for those who look, that a smarthost is left alone and why."""
        await self._ask(lambda db: rows.set_host(db, route, since, next_at, reason))

    async def clear_host(self, route: str) -> None:
        """The smarthost is well again."""
        await self._ask(lambda db: rows.clear_host(db, route))

    async def tend(self) -> bool:
        """Set right what a commit of which nobody knows how it ended may have left behind; whether another program
        (``tracepost queue``) wrote into the file since this was last asked."""
        if self._doubt:
            await self._resolve()

        def work(db: sqlite3.Connection) -> tuple[int, int | None]:
            version: int = db.execute("PRAGMA data_version").fetchone()[0]
            return version, None if version == before else rows.octets(db)

        before = self._version
        self._version, octets = await self._ask(work)
        if octets is not None:
            self._grow(octets - self.octets)
        return before not in (0, self._version)

    async def _resolve(self) -> None:
        """After a commit that failed, the file may hold more than we were told, or less: mails that were refused, mails
        in hand that nobody has, contents without a mail."""
        self._doubt = False
        there = await asyncio.to_thread(self._contents.names)
        held, refused = set(self._held), set(self._refused)

        def work(db: sqlite3.Connection) -> tuple[int, set[str]]:
            rows.forget_refused(db, refused)
            rows.release_all(db, but=held)
            return rows.octets(db), rows.ids(db)

        octets, known = await self._ask(work)
        self._grow(octets - self.octets)
        self._refused -= refused
        for name in there - known - {str(id) for id in held}:
            self._contents.remove(name)

    async def empty(self) -> bool:
        """Whether nothing is left in the file, neither mail nor facts."""
        sql = "SELECT NOT EXISTS (SELECT 1 FROM messages) AND NOT EXISTS (SELECT 1 FROM facts)"
        return bool(await self._ask(lambda db: db.execute(sql).fetchone()[0]))

    async def remove(self) -> None:
        """Close the file and delete it; it must be empty. Raises OSError."""
        await self._commits.close()
        self._contents.close()
        held.remove(self._file)

    async def _read(self, found: Iterable[rows.Row], now: float) -> list[Mail]:
        """The mails with their contents; one whose content cannot be read now is laid back, whatever the others do."""
        mails = []
        for row in found:
            self._held.add(row.mail.id)
            try:
                content = row.content
                if content is None:
                    content = await asyncio.to_thread(self._contents.read, row.mail.id)
                mails.append(replace(row.mail, content=content))
            except OSError as error:
                log.error("a content cannot be read; trying again later", id=str(row.mail.id), error=error.strerror)
                self._held.discard(row.mail.id)
                with suppress(SpoolError):  # it is then found in nobody's hand
                    await self.put_off(row.mail.id, now + _UNREADABLE_SECONDS)
        return mails

    async def _ask(self, work: Work[T]) -> T:
        try:
            return await self._commits.ask(work)
        except SpoolError as error:
            self._doubt = self._doubt or not isinstance(error, SpoolFull)
            raise

    def _routed(self, mail: Mail) -> Mail:
        """The mail by a way that there is: the configuration may have been read again since it was chosen."""
        return mail if mail.route in self._routes else replace(mail, route="")

    def _grow(self, octets: int) -> None:
        self.octets += octets
        self._weigh(octets)

    def _gone(self, mail: UUID, size: int | None) -> None:
        if size is not None:
            self._grow(-size)
            if size > LARGEST_INLINE:
                self._contents.remove(str(mail))


# -- the folder ------------------------------------------------------------------------------------------------------


def claim(
    data_dir: Path,
    routes: Collection[str],
    fresh: bool,
    but: Collection[Path] = (),
    weigh: Weigh = lambda octets: None,
) -> Spool | None:
    """A file that nobody holds, locked: the first there is beside those in ``but``; where there is none, a new one if
    ``fresh``, else None. Raises SpoolError."""
    folder = data_dir / FOLDER
    try:
        found = held.claim(folder, fresh, but)
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}") from error
    return None if found is None else Spool(found, routes, weigh)


def contents_of(path: Path) -> Path:
    """The folder of large contents that goes with a spool file."""
    return path.with_suffix(".contents")


def size_of(mail: Mail) -> int:
    """Octets that a mail takes up here."""
    return len(mail.trace) + len(mail.content)
