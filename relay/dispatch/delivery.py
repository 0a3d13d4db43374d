"""The running queue: draws what is due from the spool, as far as memory and the smarthosts allow."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from relay.dispatch.errand import Errand, Office, Prepare, Retry, UnderWay, surely
from relay.dispatch.lane import Lane
from relay.dispatch.mail import Mail
from relay.dispatch.spool import Spool
from tracker.errors import SpoolError
from tracker.model import Clock, Fact

log = structlog.get_logger()

_POLL_SECONDS = 1.0
_MOST_HELD = 1000
_MOST_HELD_OCTETS = 64 * 1024 * 1024
_DRAWN_TOGETHER = 50
_SUPPOSED_OCTETS = 1024 * 1024
"""What a mail that is still on the disk is taken to be as large as: its size is known only when it is here."""


@dataclass(slots=True)
class _Load:
    """The mails of one lane that are held in memory."""

    mails: int = 0
    octets: int = 0


class Delivery:
    """Sends what is in the spool. ``lanes`` are the ways to the smarthosts; the first is the usual one, for every
    route that no other lane names. ``stirred`` is called when there is something new for the store, ``dropped`` with
    how many notifications came to an end undelivered."""

    def __init__(
        self,
        hostname: str,
        lanes: Sequence[Lane],
        retry: Retry,
        prepare: Prepare,
        clock: Clock,
        stirred: Callable[[], None] = lambda: None,
        dropped: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._retry = retry
        self._office = Office(hostname, retry, prepare, clock, self._spawn, stirred, self._note, dropped)
        self._spools: list[Spool] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._loads: defaultdict[Lane, _Load] = defaultdict(_Load)
        self._behind = False  # something may be due that there was no room for

    def start(self, spools: Sequence[Spool]) -> None:
        """Begin to send."""
        self._spools = list(spools)
        self._pump = asyncio.create_task(self._draw_forever(), name="delivery")

    async def stop(self, seconds: float) -> None:
        """Begin no more tries; those under way have so long to end."""
        for lane in self._lanes:
            lane.end()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        for lane in self._lanes:
            await lane.carrier.close()

    def set_lanes(self, lanes: Sequence[Lane]) -> None:
        """Send by these lanes from now on; what goes by another one now ends as it is."""
        gone = [lane for lane in self._lanes if lane not in lanes]
        self._lanes = lanes
        for lane in gone:
            self._loads.pop(lane, None)
            self._spawn(lane.retire())
        routes = [route for lane in lanes for route in lane.routes]
        for spool in self._spools:
            self._spawn(_for_what_it_is_worth(spool.reroute(routes)))

    def adopt(self, spool: Spool) -> None:
        """Send what is in another file too."""
        self._spools.append(spool)
        routes = [route for lane in self._lanes for route in lane.routes]
        self._spawn(_for_what_it_is_worth(spool.reroute(routes)))
        self._wake.set()

    def drop(self, spool: Spool) -> None:
        """Look into a file no more."""
        self._spools.remove(spool)

    def has_room(self, size: int, route: str = "") -> bool:
        """Whether a mail of this size can be held in memory until it is sent; else it waits on the disk. Each lane has
        its share, so that a slow host does not hold up the mail of others."""
        load = self._loads[self.lane(route)]
        mails, octets = self._share
        fits = load.mails < mails and (load.octets + size <= octets or not load.mails)
        self._behind = self._behind or not fits
        return fits

    def take(self, spool: Spool, mail: Mail, under_way: UnderWay | None = None) -> None:
        """Go on with a mail that the spool holds as being in hand."""
        lane = self.lane(mail.route)
        load = self._loads[lane]
        load.mails += 1
        load.octets += len(mail.content)
        self._spawn(self._run(Errand(self._office, spool, mail, lane, under_way or {}), load))

    def record(self, spool: Spool, facts: Sequence[Fact]) -> None:
        """Have the store told; nobody waits for it."""
        self._spawn(surely(lambda: spool.record(facts)))
        self._office.stirred()

    def lane(self, route: str) -> Lane:
        """The way that mail of this route goes."""
        return next((lane for lane in self._lanes if route in lane.routes), self._lanes[0])

    async def _run(self, errand: Errand, load: _Load) -> None:
        try:
            await errand.run()
        finally:
            load.mails -= 1
            load.octets -= len(errand.mail.content)
            if self._behind and load.mails <= self._share[0] // 2:
                self._wake.set()

    async def _draw_forever(self) -> None:
        while True:
            self._wake.clear()
            self._behind = False
            more = False
            for spool in list(self._spools):
                try:
                    more = await self._draw(spool) or more
                except SpoolError as error:
                    log.error("the spool cannot be read now", file=spool.path.name, cause=repr(error.__cause__))
                except Exception:
                    log.exception("the spool cannot be drawn from", file=spool.path.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.0 if more else _POLL_SECONDS):
                    await self._wake.wait()

    async def _draw(self, spool: Spool) -> bool:
        """Take in hand what is due, as far as there is room; True where there may be more right now."""
        if await spool.tend():
            for lane in self._lanes:
                lane.nudge()
        more = False
        for lane in self._lanes:
            more = await self._draw_for(lane, spool) or more
        return more

    async def _draw_for(self, lane: Lane, spool: Spool) -> bool:
        now, room = self._clock(), self._room(lane)
        if not room:
            self._behind = True
            return False
        if lane.open:
            mails = await spool.lease(lane.routes, now, room)
        else:
            mails = await spool.lease_idle(lane.routes, now, now - self._retry.give_up_after, room)
        for mail in mails:
            self.take(spool, mail)
        return len(mails) == room

    def _room(self, lane: Lane) -> int:
        """How many more mails of a lane are drawn from the disk, few at a time."""
        load = self._loads[lane]
        mails, octets = self._share
        room = min(mails - load.mails, (octets - load.octets) // _SUPPOSED_OCTETS, _DRAWN_TOGETHER)
        return max(room, 0 if load.mails else 1)

    @property
    def _share(self) -> tuple[int, int]:
        """How many mails and octets each lane may hold."""
        return max(1, _MOST_HELD // len(self._lanes)), _MOST_HELD_OCTETS // len(self._lanes)

    def _note(self, lane: Lane) -> None:
        """Leave a note of a host's state for those who look into the queue."""
        if self._spools:
            self._spawn(_for_what_it_is_worth(self._note_in(self._spools[0], lane)))

    async def _note_in(self, spool: Spool, lane: Lane) -> None:
        if lane.failing_since is None:
            await spool.clear_host(lane.routes[0])
        else:
            await spool.set_host(lane.routes[0], lane.failing_since, lane.closed_until, lane.reason)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task


async def _for_what_it_is_worth(writing: Coroutine[Any, Any, None]) -> None:
    """Write what can do without, where the disk does not go along."""
    with contextlib.suppress(SpoolError):
        await writing
