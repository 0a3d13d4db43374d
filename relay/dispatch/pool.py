"""The connections to one smarthost: so many at most, the idle ones kept for a while."""

from __future__ import annotations

import asyncio

from relay.dispatch.connection import Connection
from relay.dispatch.envelope import Reply
from relay.dispatch.opening import Opener, Unusable

IDLE_SECONDS = 60.0
"""How long a connection is kept for the next mail."""

_CROWDED = Reply(451, "4.4.5", "All connections to the smarthost are in use", "local")


class Pool:
    """Lends connections. A place is what one connection takes up, lent or not yet open."""

    def __init__(self, opener: Opener, most: int) -> None:
        self._opener = opener
        self._most = most
        self._places = asyncio.Semaphore(most)
        self._taken = 0
        self._idle: list[Connection] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, patience: float | None) -> Connection:
        """A connection that is ready, used before or fresh. Raises Unusable, also where none is free for ``patience``
        seconds."""
        await self.reserve(patience)
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.ready:
                    return connection
                connection.abort()
            self.make_room()
            return await self._opener.open(self._opener.configured)
        except BaseException:
            self.release()
            raise

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that is not ready for the next mail is closed."""
        self.release()
        if not connection.ready:
            connection.abort()
        elif self._closed:
            connection.quit()
        else:
            loop = asyncio.get_running_loop()
            connection.used, connection.idle_since = True, loop.time()
            self._idle.append(connection)
            if self._timer is None:
                self._timer = loop.call_later(IDLE_SECONDS, self._sweep)

    async def reserve(self, patience: float | None) -> None:
        """Wait for a place. Raises Unusable after ``patience`` seconds."""
        if self._places.locked():
            try:
                async with asyncio.timeout(patience):
                    await self._places.acquire()
            except TimeoutError as error:
                raise Unusable(_CROWDED) from error
        else:
            await self._places.acquire()
        self._taken += 1

    def release(self) -> None:
        """Give a place back."""
        self._taken -= 1
        self._places.release()

    def make_room(self) -> None:
        """Close what is idle where a fresh connection beside it would be one too many."""
        while self._idle and self._taken + len(self._idle) > self._most:
            self._idle.pop(0).quit()

    def close(self) -> None:
        """Say goodbye on every idle connection, and on each of the others once it comes back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._idle.pop().quit()

    def _sweep(self) -> None:
        """Close what was idle for long enough; the first is the one that was idle longest."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._idle and self._idle[0].idle_since + IDLE_SECONDS <= loop.time():
            self._idle.pop(0).quit()
        if self._idle:
            self._timer = loop.call_at(self._idle[0].idle_since + IDLE_SECONDS, self._sweep)
