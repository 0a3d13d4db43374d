"""What was kept long enough is dropped, hour by hour, in bites that nobody else has to wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from tracker.errors import StoreError
from tracker.model import Clock

log = structlog.get_logger()

EVERY = 3600.0
"""Seconds between two rounds."""
LONGEST = 0.02
"""Seconds that one bite may hold up those who write."""
_PAUSE = 0.05
_FIRST, _MOST = 20, 5000

Drop = Callable[[float, int], int]
"""Drops what is older than a time, so much at most, in one transaction; how much that was. Raises StoreError."""


class Retention:
    """Drops what is past its time: for each kind, for how many seconds it is kept, and how it is dropped."""

    def __init__(self, kinds: Mapping[str, tuple[float, Drop]], clock: Clock) -> None:
        self._kinds = kinds
        self._clock = clock
        self._bites = dict.fromkeys(kinds, _FIRST)

    async def run(self) -> None:
        """Drop, now and every hour from then on."""
        while True:
            try:
                await self.round()
            except StoreError as error:
                log.warning("what is past its time cannot be dropped now", cause=repr(error.__cause__))
            except Exception:
                log.exception("what is past its time cannot be dropped")
            await asyncio.sleep(EVERY)

    async def round(self) -> dict[str, int]:
        """Drop all that is past its time now; how much of each kind. Raises StoreError."""
        dropped = {kind: await self._drop(kind, seconds, drop) for kind, (seconds, drop) in self._kinds.items()}
        if any(dropped.values()):
            log.info("what was past its time is dropped", **dropped)
        return dropped

    async def _drop(self, kind: str, seconds: float, drop: Drop) -> int:
        before, total = self._clock() - seconds, 0
        while True:
            bite = self._bites[kind]
            began = time.monotonic()
            found = await asyncio.to_thread(drop, before, bite)
            took = time.monotonic() - began
            total += found
            if took > LONGEST:
                self._bites[kind] = max(1, int(bite * LONGEST / took))
            if found < bite:
                return total
            if took < LONGEST / 2:
                self._bites[kind] = min(_MOST, bite * 2)
            await asyncio.sleep(_PAUSE)
