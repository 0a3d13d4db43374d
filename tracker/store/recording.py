"""From files on this machine to the store: facts wait in a file until the store has taken them.

The store may be away for as long as it likes: mail and links go on, nothing is lost, and what waits is told once it is
back, in order, after a restart too. A fact told twice changes nothing (``Store.apply`` is idempotent).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import structlog

from tracker.errors import SpoolError, StoreError
from tracker.facts import decode
from tracker.model import Fact
from tracker.store.base import Store

log = structlog.get_logger()

_BATCH = 100
"""Facts a transaction of the store: few, since hits wait while it lasts."""
_POLL_SECONDS = 1.0
_LONGEST_PAUSE = 5.0


class Source(Protocol):
    """A file in which facts wait. Both raise SpoolError where the disk does not go along."""

    path: Path

    async def facts(self, limit: int) -> list[tuple[int, bytes]]:
        """The oldest facts that the store has not taken, each with its number."""

    async def forget_facts(self, last: int) -> None:
        """The store has taken all facts up to this number."""


class Recording:
    """Tells one store what the files have to tell."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sources: list[Source] = []
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self, sources: Sequence[Source] = ()) -> None:
        """Begin to tell."""
        self._sources = list(sources)
        self._task = asyncio.create_task(self._run(), name="recording")

    async def stop(self) -> None:
        """Tell what there is, unless the store is away; the rest keeps."""
        self._stopping = True
        self._stirred.set()
        if self._task is not None:
            await self._task

    def stir(self) -> None:
        """There is something new."""
        self._stirred.set()

    def adopt(self, source: Source) -> None:
        """Tell what is in another file too."""
        self._sources.append(source)
        self.stir()

    def drop(self, source: Source) -> None:
        """Look into a file no more."""
        self._sources.remove(source)

    async def _run(self) -> None:
        pause = 0.0
        while True:
            last_round = self._stopping
            self._stirred.clear()
            trouble = [await self._trouble_with(source) for source in list(self._sources)]
            found = next((each for each in trouble if each is not None), None)
            if found is None:
                pause = 0.0
            else:
                if not pause:
                    log.warning("records wait", error=str(found), cause=repr(found.__cause__))
                pause = min(_LONGEST_PAUSE, pause * 2 or 0.2)
            if last_round:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause or _POLL_SECONDS):
                    await (asyncio.sleep(pause) if pause and not self._stopping else self._stirred.wait())

    async def _trouble_with(self, source: Source) -> Exception | None:
        """Tell all that is in one file; what went wrong, which is no other file's trouble."""
        try:
            await self._empty(source)
        except (StoreError, SpoolError) as error:
            return error
        except Exception as error:
            log.exception("records cannot be told", file=source.path.name)
            return error
        return None

    async def _empty(self, source: Source) -> None:
        while found := await source.facts(_BATCH):
            await asyncio.to_thread(fold, self._store, readable([octets for _, octets in found]))
            await source.forget_facts(found[-1][0])


def fold(store: Store, facts: Sequence[Fact]) -> list[Fact]:
    """Have the store take facts; those that it will never take do not hold up the others, and are given back. Blocks.
    Raises StoreError where the store is away; part of the facts may have been taken then."""
    try:
        store.apply(facts)
    except StoreError:
        raise
    except Exception:
        log.exception("a fact cannot be stored; trying them one by one")
        return [fact for fact in facts if not _taken(store, fact)]
    return []


def _taken(store: Store, fact: Fact) -> bool:
    try:
        store.apply([fact])
    except StoreError:
        raise
    except Exception as error:
        log.error("a fact is given up", kind=type(fact).__name__, error=type(error).__name__)
        return False
    return True


def readable(records: Sequence[bytes]) -> list[Fact]:
    """The facts of these octets, less those that cannot be read."""
    facts = []
    for octets in records:
        try:
            facts.append(decode(octets))
        except ValueError:
            log.error("a fact cannot be read and is given up")
    return facts
