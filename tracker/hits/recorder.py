"""From the event loop to the disk: facts gather while the last batch commits, one thread writes, answers wait briefly.

While the store is away the batch waits in memory, in order, and is tried again; what memory cannot hold is counted as
lost, never silently dropped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tracker.errors import StoreError
from tracker.hits.classify import classify
from tracker.model import Fact, Hit
from tracker.store.base import Store

log = structlog.get_logger()

Waiting = tuple[Fact, "asyncio.Future[None] | None"]


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


@dataclass(frozen=True, slots=True)
class Limits:
    """``patience``: seconds an answer waits for the disk; ``waiting``: facts kept in memory at most (relay records may
    take twice that); ``batch``: facts a commit; ``backoff``: first and longest pause after a failure, in seconds;
    ``flush``: seconds that stopping waits for the store."""

    patience: float = 0.05
    waiting: int = 100_000
    batch: int = 1000
    backoff: tuple[float, float] = (0.1, 5.0)
    flush: float = 10.0


class Recorder:
    """Takes facts from one event loop and folds them into ``store`` in one thread of its own."""

    def __init__(self, store: Store, registry: CollectorRegistry | None = None, limits: Limits | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self._store = store
        self._limits = limits or Limits()
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._failing = False
        self._deadline: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.metrics.waiting.set_function(lambda: float(len(self._queue)))

    async def start(self) -> None:
        """Start the writer; a store that is away now is no hindrance."""
        self._loop = asyncio.get_running_loop()
        self._stopping, self._deadline = False, None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, for ``limits.flush`` seconds at most, and end the writer. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        while thread.is_alive():
            # Short joins: the loop must stay free to answer the hits that the last batch frees.
            await asyncio.to_thread(thread.join, 0.05)

    def record(self, *facts: Fact) -> None:
        """Keep facts for the store; never blocks, never raises."""
        self._put([(fact, None) for fact in facts])

    async def hit(self, hit: Hit) -> None:
        """Keep a hit; returns once it is on disk, after ``limits.patience`` at most, at once while the store is away.
        Never raises."""
        self.metrics.hits.labels(hit.event, (hit.verdict or classify(hit)).cls.value).inc()
        await self.keep(hit)

    async def keep(self, fact: Fact) -> None:
        """Keep one fact for the store; returns when ``hit`` would. Never raises."""
        if self._failing or self._loop is None:
            self.metrics.hits_late.inc()
            self._put([(fact, None)])
            return
        done = self._loop.create_future()
        self._put([(fact, done)])
        timer = self._loop.call_later(self._limits.patience, self._give_up_waiting, done)
        try:
            await done
        finally:
            timer.cancel()

    def _give_up_waiting(self, done: asyncio.Future[None]) -> None:
        if not done.done():
            self.metrics.hits_late.inc()
            done.set_result(None)

    def _put(self, entries: Sequence[Waiting]) -> None:
        lost: list[Waiting] = []
        with self._changed:
            for entry in entries:
                room = self._limits.waiting * (1 if isinstance(entry[0], Hit) else 2)
                if len(self._queue) < room:
                    self._queue.append(entry)
                else:
                    lost.append(entry)
            self._changed.notify()
        self._lose(lost)

    def _lose(self, entries: Sequence[Waiting]) -> None:
        for fact, done in entries:
            (self.metrics.hits_lost if isinstance(fact, Hit) else self.metrics.facts_lost).inc()
            if done is not None:
                self._resolve([done])

    # -- the writer's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self._limits.backoff[0]
        while batch := self._next():
            try:
                self._store.apply([fact for fact, _ in batch])
            except StoreError as error:
                if not self._wait_out(error, pause):
                    return
                pause = min(pause * 2, self._limits.backoff[1])
                continue
            except Exception:
                log.exception("a fact cannot be stored; trying the batch one by one")
                self.metrics.store_errors.inc()
                if not self._one_by_one(batch):
                    return
            pause = self._limits.backoff[0]
            self._failing = False
            self._done(batch)

    def _next(self) -> list[Waiting]:
        """The oldest facts, still in the queue; empty when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            return [self._queue[index] for index in range(min(len(self._queue), self._limits.batch))]

    def _done(self, batch: Sequence[Waiting]) -> None:
        with self._changed:
            for _ in batch:
                self._queue.popleft()
        self.metrics.batch.observe(len(batch))
        futures = [done for _, done in batch if done is not None]
        if futures and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._resolve, futures)
            except RuntimeError:  # the loop has closed: nobody waits any more
                return

    def _resolve(self, futures: Sequence[asyncio.Future[None]]) -> None:
        for done in futures:
            if not done.done():
                done.set_result(None)

    def _wait_out(self, error: StoreError, pause: float) -> bool:
        """Pause before another try; False when stopping and out of time, what waits is lost then."""
        self.metrics.store_errors.inc()
        if not self._failing:
            log.warning("the store is away; hits wait in memory", error=str(error), cause=repr(error.__cause__))
        self._failing = True
        with self._changed:
            if not self._stopping:
                self._changed.wait_for(lambda: self._stopping, timeout=pause)
                return True
        return self._out_of_time(pause)

    def _out_of_time(self, pause: float) -> bool:
        now = time.monotonic()
        self._deadline = self._deadline or now + self._limits.flush
        if now < self._deadline:
            time.sleep(min(pause, self._deadline - now))
            return True
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
        log.error("the store did not come back in time; facts are lost", facts=len(left))
        self._lose([(fact, None) for fact, _ in left])
        return False

    def _one_by_one(self, batch: Sequence[Waiting]) -> bool:
        """Store what can be stored of a batch that holds a faulty fact. The store is idempotent, so trying again is
        safe. False when stopping and out of time."""
        for entry in batch:
            pause = self._limits.backoff[0]
            while True:
                try:
                    self._store.apply([entry[0]])
                except StoreError as error:
                    if not self._wait_out(error, pause):
                        return False
                    pause = min(pause * 2, self._limits.backoff[1])
                    continue
                except Exception as error:
                    log.error("a fact is given up", kind=type(entry[0]).__name__, error=type(error).__name__)
                    self._lose([(entry[0], None)])
                break
        return True
