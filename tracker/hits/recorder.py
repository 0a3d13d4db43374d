"""From the event loop to the disk: facts gather while the last batch commits, one thread writes, answers wait briefly.

What the store does not take, or not soon enough, goes to the journal, and from there to the store once it is back; only
then do facts go straight to the store again. A fact may so reach the store twice, which changes nothing. Where neither
takes them they wait in memory; what memory cannot hold is counted as lost, never silently dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tracker.disk.journal import Journal
from tracker.errors import SpoolError, StoreError
from tracker.hits.classify import classify
from tracker.model import Fact, Hit
from tracker.store.base import Store
from tracker.store.recording import fold, readable

log = structlog.get_logger()


class Metrics:
    """What a recorder tells Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.hits = Counter("hits", "Requests on tracked links and pixels", ["event", "class"], registry=registry)
        self.hits_lost = Counter("hits_lost", "Hits that were given up and will never be counted", registry=registry)
        self.facts_lost = Counter(
            "relay_facts_lost", "Relay records and opt-outs that were given up", registry=registry
        )
        self.hits_late = Counter("hits_late", "Hits answered before they were on disk", registry=registry)
        self.store_errors = Counter("store_errors", "Batches that the store did not take", registry=registry)
        self.batch = Histogram(
            "store_batch_facts", "Facts a commit", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000), registry=registry
        )
        self.waiting = Gauge("store_waiting_facts", "Facts not on disk yet", registry=registry)
        self.journal = Gauge("journal_facts", "Facts in the journal that the store has not taken", registry=registry)


@dataclass(frozen=True, slots=True)
class Limits:
    """``patience``: seconds an answer waits for the disk; ``haste``: seconds after which the journal takes what the
    store has not taken yet; ``waiting``: facts kept in memory at most (relay records may take twice that); ``batch``:
    facts a commit; ``backoff``: first and longest pause after a failure, in seconds; ``flush``: seconds that stopping
    waits for a disk."""

    patience: float = 0.05
    haste: float = 0.025
    waiting: int = 100_000
    batch: int = 1000
    backoff: tuple[float, float] = (0.1, 5.0)
    flush: float = 10.0


@dataclass(slots=True, eq=False)
class _Entry:
    """A fact that is not in the store: whose answer waits for it, since when, whether the journal has it."""

    fact: Fact
    done: asyncio.Future[None] | None = None
    since: float = 0.0
    kept: bool = False


class Recorder:
    """Takes facts from one event loop and folds them into ``store`` in one thread of its own. Without a ``journal``
    facts wait in memory alone. Whoever calls opens and closes both."""

    def __init__(
        self,
        store: Store,
        registry: CollectorRegistry | None = None,
        limits: Limits | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.journal = journal
        self._store = store
        self._limits = limits or Limits()
        self._queue: deque[_Entry] = deque()
        self._taken: list[_Entry] = []
        self._stirred, self._urgent, self._ending = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._behind = self._appending = self._disk_fails = False
        self._pause = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: ThreadPoolExecutor | None = None
        self.metrics.waiting.set_function(lambda: float(sum(1 for _ in self._unsafe())))

    async def start(self) -> None:
        """Start the writers; a store that is away now is no hindrance."""
        self._loop = asyncio.get_running_loop()
        self._stirred, self._urgent, self._ending = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._behind = self._disk_fails = False
        self._pause = 0.0
        self._thread = ThreadPoolExecutor(1, "recorder")
        self._tasks = [
            asyncio.create_task(self._write_forever(), name="recorder"),
            asyncio.create_task(self._append_forever(), name="journal"),
        ]

    async def stop(self) -> None:
        """Write what waits, into the journal where the store is away, for ``limits.flush`` seconds at most, and end the
        writers. Safe to call twice."""
        if self._thread is None:
            return
        self._ending.set()
        self._stirred.set()
        await asyncio.wait(self._tasks[:1], timeout=self._limits.flush)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if self._timer is not None:
            self._timer.cancel()
        if left := list(self._unsafe()):
            log.error("no disk took what waited in time; facts are lost", facts=len(left))
            self._lose(left)
        self._taken, self._timer = [], None
        self._queue.clear()
        self._thread.shutdown(wait=False)
        self._thread = None

    def record(self, *facts: Fact) -> None:
        """Keep facts for the store; never blocks, never raises."""
        self._put([_Entry(fact) for fact in facts])

    async def hit(self, hit: Hit) -> None:
        """Keep a hit; returns once it is on disk, after ``limits.patience`` at most, at once while no disk takes it.
        Never raises."""
        self.metrics.hits.labels(hit.event, (hit.verdict or classify(hit)).cls.value).inc()
        await self.keep(hit)

    async def keep(self, fact: Fact) -> None:
        """Keep one fact; returns when ``hit`` would. Never raises."""
        if self._loop is None or (self._pause and self._disk_fails):
            self.metrics.hits_late.inc()
            self._put([_Entry(fact)])
            return
        done = self._loop.create_future()
        self._put([_Entry(fact, done)])
        timer = self._loop.call_later(self._limits.patience, self._give_up_waiting, done)
        try:
            await done
        finally:
            timer.cancel()

    def _give_up_waiting(self, done: asyncio.Future[None]) -> None:
        if not done.done():
            self.metrics.hits_late.inc()
            done.set_result(None)

    def _unsafe(self) -> Iterator[_Entry]:
        """The facts that are neither in the store nor in the journal, oldest first."""
        return (entry for entry in chain(self._taken, self._queue) if not entry.kept)

    def _put(self, entries: Sequence[_Entry]) -> None:
        now, lost = self._loop.time() if self._loop else 0.0, []
        for entry in entries:
            entry.since = now
            room = self._limits.waiting * (1 if isinstance(entry.fact, Hit) else 2)
            if len(self._queue) + len(self._taken) < room:
                self._queue.append(entry)
            else:
                lost.append(entry)
        self._lose(lost)
        (self._urgent if self._behind else self._stirred).set()
        if self._timer is None and self._loop is not None and self.journal is not None:
            self._timer = self._loop.call_later(self._limits.haste, self._hurry)

    def _lose(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            (self.metrics.hits_lost if isinstance(entry.fact, Hit) else self.metrics.facts_lost).inc()
        self._resolve(entries)

    def _resolve(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            if entry.done is not None and not entry.done.done():
                entry.done.set_result(None)

    # -- the store ---------------------------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        """Tell the store what is in the journal, then what waits in memory; ends once told to and nothing waits."""
        while True:
            self._stirred.clear()
            try:
                busy = await self._replay() or await self._write()
                self._pause = 0.0
            except StoreError as error:
                self._note(error)
                busy = False
            if self._ending.is_set() and not busy and next(self._unsafe(), None) is None:
                return
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for something to do, after a failure for a while."""
        first, longest = self._limits.backoff
        if self._pause and self._ending.is_set():
            await asyncio.sleep(first)
            return
        left = longest if self.journal and self.journal.waiting else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause or left):
                await (self._ending if self._pause else self._stirred).wait()

    def _note(self, error: StoreError) -> None:
        """The store is away: the journal takes what waits and what comes."""
        self.metrics.store_errors.inc()
        if not self._pause:
            log.warning("the store is away; hits wait in the journal", error=str(error), cause=repr(error.__cause__))
        first, longest = self._limits.backoff
        self._pause = min(longest, self._pause * 2 or first)
        self._behind = True
        self._urgent.set()

    async def _write(self) -> bool:
        """Have the store take the oldest facts in memory; False where there are none that may go now."""
        if self._appending or not self._queue or (self.journal and self.journal.waiting and not self._disk_fails):
            return False
        self._taken = [self._queue.popleft() for _ in range(min(len(self._queue), self._limits.batch))]
        try:
            await self._fold([entry.fact for entry in self._taken])
            self._behind = False
            self.metrics.batch.observe(len(self._taken))
            self._resolve(self._taken)
            self._taken = []
        finally:
            self._queue.extendleft(entry for entry in reversed(self._taken) if not entry.kept)
            self._taken = []
        return True

    async def _fold(self, facts: Sequence[Fact]) -> None:
        assert self._loop is not None
        given_up = await self._loop.run_in_executor(self._thread, fold, self._store, facts)
        if given_up:
            self.metrics.store_errors.inc()
            self._lose([_Entry(fact) for fact in given_up])

    # -- the journal -------------------------------------------------------------------------------------------------

    async def _replay(self) -> bool:
        """Have the store take the oldest facts of the journal; False where there are none, or none can be read."""
        if self.journal is None or not self.journal.waiting:
            return False
        try:
            found = await self.journal.facts(self._limits.batch)
            if not found:
                self.journal.waiting = 0
                return False
            if len(found) < self._limits.batch:
                self._behind = False  # nearly there: what comes now may wait for the store
            await self._fold(readable([octets for _, octets in found]))
            await self.journal.forget_facts(found[-1][0])
        except SpoolError as error:
            self._trouble(error)
            return False
        self._disk_fails = False
        self.metrics.batch.observe(len(found))
        return True

    async def _append_forever(self) -> None:
        """Have the journal take what is in memory whenever it must."""
        while True:
            await self._urgent.wait()
            self._urgent.clear()
            entries = list(islice(self._unsafe(), self._limits.batch))
            if not entries or not self._behind:
                continue
            self._appending = True
            try:
                if self.journal is None:
                    raise SpoolError("there is no journal")
                await self.journal.append([entry.fact for entry in entries])
            except Exception as error:
                self._trouble(error)
            else:
                self._disk_fails = False
                self._safe(entries)
                self._urgent.set()
            self._appending = False
            self._stirred.set()
            if self._disk_fails:
                await asyncio.sleep(self._limits.backoff[0])

    def _safe(self, entries: Sequence[_Entry]) -> None:
        """The journal has these, the oldest there were."""
        for entry in entries:
            entry.kept = True
        while self._queue and self._queue[0].kept:
            self._queue.popleft()
        self._resolve(entries)

    def _trouble(self, error: Exception) -> None:
        """The journal's disk fails: answers wait for nothing, facts wait in memory."""
        if not self._disk_fails and self.journal is not None:
            log.error("the journal is out of order; hits wait in memory", error=str(error), cause=repr(error.__cause__))
        self._disk_fails = True

    def _hurry(self) -> None:
        """Have the journal take what the store did not take in time."""
        self._timer = None
        oldest = next(self._unsafe(), None)
        if oldest is None or self._loop is None:
            return
        left = oldest.since + self._limits.haste - self._loop.time()
        if left <= 0:
            self._behind = True
            self._urgent.set()
        self._timer = self._loop.call_later(left if left > 0 else self._limits.haste, self._hurry)
