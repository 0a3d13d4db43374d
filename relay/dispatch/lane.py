"""One smarthost's lane: how many mails go to it at a time, and when it is left alone.

A host in trouble closes its own lane and no other. It is tried again with one mail, after a pause that grows; when
that goes through, the lane widens with each success, so that what waited does not fall upon the host at once.
"""

from __future__ import annotations

import random
from asyncio import Future, get_running_loop, sleep
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from relay.dispatch.envelope import Copy, Verdict

log = structlog.get_logger()

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds that a host in trouble is left alone: after the first failure, and at most."""


class Carrier(Protocol):
    """Whatever takes a copy: a smarthost or the sandbox."""

    async def deliver(self, copy: Copy) -> Sequence[Verdict]:
        """Hand one copy over; a verdict for each of its recipients. Never raises for what a smarthost does."""

    async def close(self) -> None:
        """Let go of all connections."""


class Closed(Exception):
    """The host is left alone for now."""


class Lane:
    """The way to one smarthost. ``routes`` are the spool's names for it, ``host`` is its name for people, ``width``
    is how many copies are on their way at most. ``clock`` gives seconds since the epoch."""

    def __init__(
        self, host: str, carrier: Carrier, routes: Sequence[str], width: int, clock: Callable[[], float]
    ) -> None:
        self.host = host
        self.carrier = carrier
        self.routes = tuple(routes)
        self.failing_since: float | None = None
        self.reason = ""
        self.closed_until = 0.0
        self._width = width
        self._clock = clock
        self._failures = 0
        self._limit = width
        self._running = 0
        self._queue: deque[Future[None]] = deque()
        self._over = False

    @property
    def open(self) -> bool:
        """Whether a copy may go now, or wait for its turn."""
        return not self._over and self._clock() >= self.closed_until

    async def turn(self) -> None:
        """Wait for a place; whoever got one gives it back by ``done``. Raises Closed."""
        if not self.open:
            raise Closed
        if self._running < self._limit:
            self._running += 1
            return
        place: Future[None] = get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.done()  # cancelled just as the place was given
            raise

    def done(self) -> None:
        """Give a place back."""
        self._running -= 1
        self._admit()

    def heed(self, verdicts: Sequence[Verdict]) -> bool:
        """Learn from a try how the host is; True where its state changed."""
        trouble = next((verdict for verdict in verdicts if verdict.host_wide), None)
        if trouble is not None:
            return self._trip(trouble.reply)
        recovered = self._failures > 0
        if recovered:
            log.info("the smarthost is well again", host=self.host)
            self._failures, self.failing_since, self.reason, self.closed_until = 0, None, "", 0.0
        if self._limit < self._width:
            self._limit = min(self._width, self._limit * 2)
            self._admit()
        return recovered

    def nudge(self) -> None:
        """Try a host that is left alone now, not later."""
        self.closed_until = 0.0

    def end(self) -> None:
        """Let nobody through any more."""
        self._over = True
        self._turn_away()

    async def retire(self) -> None:
        """Let nobody through any more, and close the connections once those on their way have ended."""
        self.end()
        while self._running:  # noqa: ASYNC110 - rare, and nobody waits for it
            await sleep(0.1)
        await self.carrier.close()

    def _trip(self, reason: str) -> bool:
        now = self._clock()
        if now < self.closed_until:
            return False  # another copy met the same trouble a moment ago
        self._failures += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1)) * random.uniform(0.75, 1.0)  # noqa: S311
        if self.failing_since is None:
            self.failing_since = now
            log.warning("the smarthost cannot be used now; the queue waits", host=self.host, reason=reason)
        self.reason, self.closed_until, self._limit = reason, now + pause, 1
        self._turn_away()
        return True

    def _admit(self) -> None:
        while self._queue and self._running < self._limit:
            place = self._queue.popleft()
            if not place.done():
                self._running += 1
                place.set_result(None)

    def _turn_away(self) -> None:
        queue, self._queue = self._queue, deque()
        for place in queue:
            if not place.done():
                place.set_exception(Closed())
