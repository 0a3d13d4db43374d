"""The running queue: draws what is due from the spool, as far as memory and the smarthosts allow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
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


class Delivery:
    """Sends what is in the spool. ``lanes`` are the ways to the smarthosts; the first is the usual one, for every
    route that no other lane names. ``stirred`` is called when there is something new for the store."""

    def __init__(
        self,
        hostname: str,
        lanes: Sequence[Lane],
        retry: Retry,
        prepare: Prepare,
        clock: Clock,
        stirred: Callable[[], None] = lambda: None,
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._retry = retry
        self._office = Office(hostname, retry, prepare, clock, self._spawn, stirred)
        self._spools: list[Spool] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._held = 0
        self._held_octets = 0

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
            self._spawn(lane.retire())
        routes = [route for lane in lanes for route in lane.routes]
        for spool in self._spools:
            self._spawn(self._reroute(spool, routes))

    async def _reroute(self, spool: Spool, routes: Sequence[str]) -> None:
        with contextlib.suppress(SpoolError):  # opening the file does it too
            await spool.reroute(routes)

    def adopt(self, spool: Spool) -> None:
        """Send what is in another file too."""
        self._spools.append(spool)
        self._wake.set()

    def drop(self, spool: Spool) -> None:
        """Look into a file no more."""
        self._spools.remove(spool)

    @property
    def octets(self) -> int:
        """Octets of mail in all files that are sent from."""
        return sum(spool.octets for spool in self._spools)

    def has_room(self, size: int) -> bool:
        """Whether a mail of this size can be held in memory until it is sent; else it waits on the disk."""
        return self._held < _MOST_HELD and self._held_octets + size <= _MOST_HELD_OCTETS

    def take(self, spool: Spool, mail: Mail, under_way: UnderWay | None = None) -> None:
        """Go on with a mail that the spool holds as being in hand."""
        self._held += 1
        self._held_octets += len(mail.content)
        self._spawn(self._run(Errand(self._office, spool, mail, self.lane(mail.route), under_way or {})))

    def record(self, spool: Spool, facts: Sequence[Fact]) -> None:
        """Have the store told; nobody waits for it."""
        self._spawn(surely(lambda: spool.record(facts)))
        self._office.stirred()

    def lane(self, route: str) -> Lane:
        """The way that mail of this route goes."""
        return next((lane for lane in self._lanes if route in lane.routes), self._lanes[0])

    async def _run(self, errand: Errand) -> None:
        try:
            await errand.run()
        finally:
            self._held -= 1
            self._held_octets -= len(errand.mail.content)
            if self._held < _MOST_HELD // 2:
                self._wake.set()

    async def _draw_forever(self) -> None:
        while True:
            self._wake.clear()
            more = False
            try:
                for spool in list(self._spools):
                    more = await self._draw(spool) or more
            except SpoolError as error:
                log.error("the spool cannot be read now", cause=repr(error.__cause__))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.0 if more else _POLL_SECONDS):
                    await self._wake.wait()

    async def _draw(self, spool: Spool) -> bool:
        """Take in hand what is due, as far as there is room; True where there may be more right now."""
        if await spool.touched():
            for lane in self._lanes:
                lane.nudge()
        now, more = self._clock(), False
        for mail in await spool.lease_older(now - self._retry.give_up_after, now, self._room()):
            self.take(spool, mail)
        for mail in await spool.lease_unrecorded(now, self._room()):
            self.take(spool, mail)
        for lane in self._lanes:
            room = self._room()
            if lane.open and room:
                mails = await spool.lease(lane.routes, now, room)
                for mail in mails:
                    self.take(spool, mail)
                more = more or len(mails) == room
        return more and self._room() > 0

    def _room(self) -> int:
        """How many more mails are drawn from the disk: few at a time, since their size is not known."""
        octets = (_MOST_HELD_OCTETS - self._held_octets) // (1024 * 1024)
        return max(0, min(_MOST_HELD - self._held, octets, _DRAWN_TOGETHER))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task
