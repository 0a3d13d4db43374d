"""One endpoint: from the log to its URL, in order, a few at a time, and again what failed.

Nothing is written when an event comes. What is done or waits is kept, several at once, before its place among the tries
is free again: a crash repeats at most what was under way, with the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from tracker.errors import StoreError
from tracker.model import Clock
from tracker.store.base import Row
from tracker.webhooks.client import WHOLE_SECONDS, Client, Unreachable
from tracker.webhooks.deliveries import FAILING, HOLD, Deliveries, Settled, Standing, State
from tracker.webhooks.endpoint import Endpoint
from tracker.webhooks.notice import notice_of, wanted
from tracker.webhooks.schedule import seconds_of
from tracker.webhooks.tries import GONE, Item, Result, after, item_of

log = structlog.get_logger()

_LARGEST_BATCH = 1000
"""Addresses that one request tells of at most, unless one event has more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``concurrency``: tries at once; ``settling``: seconds that an event is left to settle, since hits that follow may
    change what it was; ``poll``: seconds between two looks into the log; ``lease``: seconds, renewed after a third;
    ``read``: events read at once; ``fresh``: seconds after which what was read and is not told yet is read again;
    ``probe``: seconds between two tries of an endpoint that fails, beside the schedule; ``held``: events of a message
    that wait behind one that failed; ``waiting``: events that wait in all; ``rows`` and ``age`` (seconds): of what is
    settled, what is kept; ``drain``: seconds that stopping waits for tries."""

    concurrency: int = 10
    settling: float = 2.0
    poll: float = 0.5
    lease: float = 60.0
    read: int = 100
    fresh: float = 5.0
    probe: float = 60.0
    held: int = 100
    waiting: int = 100_000
    rows: int = 1000
    age: float = 7 * 86400.0
    drain: float = 5.0


class Delivering:
    """Delivers to one endpoint, for as long as ``owner`` has its lease."""

    def __init__(
        self,
        endpoint: Endpoint,
        deliveries: Deliveries,
        client: Client,
        owner: str,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._key = endpoint.key
        self._deliveries = deliveries
        self._client = client
        self._owner = owner
        self._clock = clock
        self._limits = limits or Limits()
        self._standing = Standing(0, 0, None)
        self._read_to = 0
        self._log: deque[Item] = deque()
        self._due: deque[Item] = deque()
        self._open: set[int] = set()
        self._waiting: Counter[str] = Counter()
        self._tasks: dict[asyncio.Task[Result], tuple[Item, ...]] = {}
        self._settled: list[Settled] = []
        self._heads: deque[tuple[float, int]] = deque()
        self._stopping = False
        self._gone_at: float | None = None
        self._look_at = self._renew_at = self._probe_at = self._trim_at = self._paused_until = self._ends = 0.0
        self._stale_at = 0.0

    async def run(self) -> None:
        """Deliver until the lease is lost or this is told to stop; what is under way then is given a little time. A
        store that is away later is waited for. Once only. Raises StoreError where it is away at the beginning."""
        try:
            if not await self._begin_lease():
                return
            while not self._stopping:
                if not await self._turn():
                    return
            with contextlib.suppress(StoreError):
                await self._drain()
        finally:
            await self._abandon()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True

    async def _begin_lease(self) -> bool:
        now = self._clock()
        self._ends = time.monotonic() + self._limits.lease
        lease = (self._key, self._owner, now, now + self._limits.lease)
        standing = await asyncio.to_thread(self._deliveries.lease, *lease)
        if standing is None:
            return False
        self._standing, self._read_to = standing, standing.cursor
        self._waiting = Counter(await asyncio.to_thread(self._deliveries.waiting, self._key))
        self._renew_at = time.monotonic() + self._limits.lease / 3
        return True

    async def _turn(self) -> bool:
        """Look, try, keep what came of it; False once the lease is lost."""
        try:
            if self._may_go():
                await self._look()
                self._start()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._limits.poll, return_when=asyncio.FIRST_COMPLETED)
            elif not self._settled and (time.monotonic() < self._look_at or not self._may_go()):
                await asyncio.sleep(self._limits.poll)
            self._collect()
            return await self._keep()
        except StoreError as error:
            log.warning("deliveries wait for the store", endpoint=self._endpoint.place, cause=repr(error.__cause__))
            await asyncio.sleep(self._limits.poll * 4)
            return True

    def _may_go(self) -> bool:
        """Whether a request that is begun now can end while the lease holds, to an endpoint that wants any now."""
        now = time.monotonic()
        stopped = self._standing.stopped_at is not None
        return not stopped and now >= self._paused_until and now < self._ends - WHOLE_SECONDS

    def _is_failing(self) -> bool:
        """Whether only what waits is tried, one at a time."""
        return self._standing.failures >= FAILING and bool(self._waiting)

    # -- what there is to tell ---------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Read on in the log, and what is due, where there is room for it."""
        now = time.monotonic()
        if now >= self._stale_at and (self._log or self._due):
            self._read_again()
            self._look_at = 0.0
        if now < self._look_at:
            return
        if not (self._log or self._due):
            self._stale_at = now + self._limits.fresh
        self._heads.append((now, await asyncio.to_thread(self._deliveries.newest)))
        horizon = self._horizon()
        if not self._due:
            await self._look_at_due()
        more = not self._is_failing() and await self._look_at_log(horizon)
        self._look_at = 0.0 if more else now + self._limits.poll

    async def _look_at_due(self) -> None:
        most = self._limits.concurrency * 10
        self._due.extend(self._items_of(await asyncio.to_thread(self._deliveries.due, self._key, self._clock(), most)))
        if self._is_failing() and not self._due and time.monotonic() >= self._probe_at:
            self._probe_at = time.monotonic() + self._limits.probe
            row = await asyncio.to_thread(self._deliveries.oldest, self._key)
            self._due.extend(self._items_of([] if row is None else [row], probe=True))

    def _items_of(self, rows: Iterable[Row], probe: bool = False) -> Iterator[Item]:
        """What waits, less what is under way; what has nothing to tell any more is settled."""
        passed = {each.recorded for items in self._tasks.values() for each in items}
        passed |= {each.recorded for each in self._settled}
        for row in rows:
            if row["recorded"] in passed:
                continue
            item = item_of(row, self._key, self._endpoint.names, self._endpoint.machine, probe)
            if item.notice is None:
                self._settle(item, item.settled(None, self._clock(), item.tries))
            else:
                yield item

    async def _look_at_log(self, horizon: int) -> bool:
        """Read on; whether there is more."""
        limits = self._limits
        if len(self._log) >= limits.read or self._read_to >= horizon or self._waiting.total() >= limits.waiting:
            return False
        rows, items = await asyncio.to_thread(self._read, horizon)
        is_more = len(rows) == limits.read
        self._read_to = rows[-1]["recorded"] if is_more else horizon
        # What was read before a pause may be under way already.
        items = [item for item in items if item.recorded not in self._open]
        self._open.update(item.recorded for item in items)
        self._log.extend(items)
        return is_more

    def _read(self, horizon: int) -> tuple[Sequence[Row], list[Item]]:
        names, machine = self._endpoint.names, self._endpoint.machine
        rows = self._deliveries.upcoming(self._key, self._read_to, horizon, self._limits.read)
        notices = [(row, notice_of(row, self._key, names)) for row in rows if wanted(row, names, machine)]
        return rows, [Item(row["recorded"], row["message"], row["id"], each.name, each) for row, each in notices]

    def _horizon(self) -> int:
        """The last event that has settled by now; clocks play no part in it, since those of other nodes may differ."""
        settled = time.monotonic() - self._limits.settling
        while len(self._heads) > 1 and self._heads[1][0] <= settled:
            self._heads.popleft()
        return self._heads[0][1] if self._heads and self._heads[0][0] <= settled else 0

    # -- tries -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin as many tries as there is room for; what failed before takes half of it at most."""
        failing = self._is_failing()
        most = 1 if self._standing.failures >= FAILING else self._limits.concurrency
        while self._due and len(self._tasks) < (max(1, most // 2) if self._log else most):
            if not self._begin(self._due):
                break
        while self._log and not failing and len(self._tasks) < most:
            if not self._begin(self._log):
                break

    def _begin(self, queue: deque[Item]) -> bool:
        """Begin one try; False where nothing of this queue may go now."""
        group = self._take(queue)
        if group:
            self._tasks[asyncio.create_task(self._try(group))] = group
        return bool(group)

    def _take(self, queue: deque[Item]) -> tuple[Item, ...]:
        """The next events that go together. Those of a message that has something under way stay; those of one that has
        something that failed wait behind it."""
        busy = {item.message for items in self._tasks.values() for item in items}
        group: list[Item] = []
        later: list[Item] = []
        addresses = 0
        while queue and len(group) < self._endpoint.form.BATCH and addresses < _LARGEST_BATCH:
            item = queue.popleft()
            if item.message in busy:
                later.append(item)
            elif item.next_at is None and 0 < self._waiting[item.message] < self._limits.held:
                now = self._clock()
                self._settle(item, item.settled(State.WAITING, now, 0, now + HOLD))
            else:
                group.append(item)
                addresses += max(1, len(item.notice.recipients) if item.notice else 0)
        queue.extendleft(reversed(later))
        return tuple(group)

    async def _try(self, items: tuple[Item, ...]) -> Result:
        try:
            notices = [item.notice for item in items if item.notice is not None]
            post = self._endpoint.form.post(notices, self._endpoint.secret, self._clock())
            answer = await self._client.post(post)
        except Unreachable as error:
            return Result(items, self._clock(), problem=str(error))
        except Exception:
            log.exception("an event cannot be told", endpoint=self._endpoint.place)
            return Result(items, self._clock(), problem="it cannot be told; the log says why")
        now = self._clock()
        return Result(items, now, answer.status, retry_after=seconds_of(answer.retry_after, now))

    # -- what came of it ---------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            del self._tasks[task]
            self._conclude(task.result())

    def _conclude(self, result: Result) -> None:
        taken = result.taken(self._endpoint.format)
        self._fares(0 if taken else self._standing.failures + 1, result)
        if not taken:
            failed = {item.message for item in result.items}
            self._due = deque(each for each in self._due if each.tries or each.message not in failed)
        if result.retry_after is not None and not taken:
            self._paused_until = time.monotonic() + result.retry_after
        if result.status == GONE:
            self._gone_at = result.at
            self._standing = replace(self._standing, stopped_at=result.at)
            log.error("an endpoint is gone: nothing is sent there any more", endpoint=self._endpoint.place)
        if not (taken or self._may_go()) or self._standing.failures == FAILING:
            self._read_again()
        for item in result.items:
            settled = after(item, result, self._endpoint.format, random.random())  # noqa: S311
            self._settle(item, settled)
            if settled.state is State.FAILED:
                log.warning("an event is given up", endpoint=self._endpoint.place, name=item.name, mail=item.message)

    def _read_again(self) -> None:
        """Read later what there is no time for now: it is to be told as it stands then."""
        if self._log:
            self._read_to = self._log[0].recorded - 1
            self._open -= {item.recorded for item in self._log}
            self._log.clear()
        self._due.clear()

    def _fares(self, failures: int, result: Result) -> None:
        before = self._standing.failures
        self._standing = replace(self._standing, failures=failures)
        if before < FAILING <= failures:
            log.warning("an endpoint fails; its events wait", endpoint=self._endpoint.place, problem=result.why)
            self._probe_at = time.monotonic() + self._limits.probe
        if before >= FAILING and not failures:
            log.info("an endpoint takes events again", endpoint=self._endpoint.place)

    def _settle(self, item: Item, settled: Settled) -> None:
        """Note what became of an event, to be kept soon."""
        self._settled.append(settled)
        was_waiting, waits = item.next_at is not None, settled.state is State.WAITING
        self._waiting[item.message] += waits - was_waiting
        if self._waiting[item.message] <= 0:
            del self._waiting[item.message]
        if was_waiting and not waits:
            self._look_at = 0.0  # others may have waited behind it

    async def _keep(self) -> bool:
        """Have the deliveries keep what is settled, and the lease where it is time; False where that was lost."""
        now, lease = time.monotonic(), self._limits.lease
        if not self._settled and now < self._renew_at:
            return True
        settled = list(self._settled)
        done = {each.recorded for each in settled}
        cursor = min(self._open - done, default=self._read_to + 1) - 1
        wall = self._clock()
        standing = replace(self._standing, cursor=cursor, stopped_at=self._gone_at)
        about = (self._key, self._owner, settled, standing, wall, wall + lease)
        kept = await asyncio.to_thread(self._deliveries.settle, *about)
        if kept is None:
            return False
        if self._standing.stopped_at is not None and kept.stopped_at is None:
            kept = replace(kept, failures=0)
        self._standing, self._gone_at = kept, None
        del self._settled[: len(settled)]
        self._open -= done
        self._ends = now + lease
        self._renew_at = now + (lease / 3 if kept.stopped_at is None else min(lease / 3, 5.0))
        if now >= self._trim_at:
            self._trim_at = now + lease
            await asyncio.to_thread(self._deliveries.trim, self._key, self._limits.rows, wall - self._limits.age)
            self._waiting = Counter(await asyncio.to_thread(self._deliveries.waiting, self._key))
        return True

    async def _drain(self) -> None:
        """Wait a little for what is under way, keep what came of it, and let go of the lease."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.drain)
        self._collect()
        self._renew_at = 0.0
        await self._keep()
        await asyncio.to_thread(self._deliveries.release, self._key, self._owner)

    async def _abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        await self._client.aclose()
