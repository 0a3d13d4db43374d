"""From the spool to the store: what the relay has to tell waits in the spool file until the store has taken it.

The store may be away for as long as it likes: mail goes on, nothing is lost, and what waits is told once it is back,
in order, after a restart too. A fact told twice changes nothing (``Store.apply`` is idempotent).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from relay.dispatch.spool import Spool
from tracker.errors import SpoolError, StoreError
from tracker.facts import decode
from tracker.model import Fact
from tracker.store.base import Store

log = structlog.get_logger()

_BATCH = 100
"""Facts a transaction of the store: few, since hits wait while it lasts."""
_POLL_SECONDS = 1.0
_LONGEST_PAUSE = 5.0


class Recording:
    """Tells one store what the spools have to tell."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spools: list[Spool] = []
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self, spools: Sequence[Spool]) -> None:
        """Begin to tell."""
        self._spools = list(spools)
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

    def adopt(self, spool: Spool) -> None:
        """Tell what is in another file too."""
        self._spools.append(spool)
        self.stir()

    def drop(self, spool: Spool) -> None:
        """Look into a file no more."""
        self._spools.remove(spool)

    async def _run(self) -> None:
        pause = 0.0
        while True:
            last_round = self._stopping
            self._stirred.clear()
            trouble = [await self._trouble_with(spool) for spool in list(self._spools)]
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

    async def _trouble_with(self, spool: Spool) -> Exception | None:
        """Tell all that is in one file; what went wrong, which is no other file's trouble."""
        try:
            await self._empty(spool)
        except (StoreError, SpoolError) as error:
            return error
        except Exception as error:
            log.exception("records cannot be told", file=spool.path.name)
            return error
        return None

    async def _empty(self, spool: Spool) -> None:
        while found := await spool.facts(_BATCH):
            await asyncio.to_thread(self._tell, [octets for _, octets in found])
            await spool.forget_facts(found[-1][0])

    def _tell(self, octets: Sequence[bytes]) -> None:
        facts = [fact for fact in map(readable, octets) if fact is not None]
        try:
            self._store.apply(facts)
        except StoreError:
            raise
        except Exception:
            log.exception("a record cannot be stored; trying one by one")
            self._one_by_one(facts)

    def _one_by_one(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            try:
                self._store.apply([fact])
            except StoreError:
                raise
            except Exception as error:
                log.error("a record is given up", kind=type(fact).__name__, error=type(error).__name__)


def readable(octets: bytes) -> Fact | None:
    """The fact of these octets, None for what cannot be read."""
    try:
        return decode(octets)
    except ValueError:
        log.error("a record cannot be read and is given up")
        return None
