"""Counters are kept up: what waits is folded in every second, in bites that nobody else has to wait for."""

from __future__ import annotations

import asyncio
import time

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from tracker.errors import StoreError
from tracker.store.base import Store

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two rounds."""
LONGEST = 0.02
"""Seconds that one bite may hold up those who write."""
_FIRST, _MOST = 200, 20_000


class Roller:
    """Folds what waits in a store into its counters."""

    def __init__(self, store: Store, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._store = store
        self._bite = _FIRST
        self._folded = Counter("counters_moved", "Differences folded into the counters by time", registry=registry)
        self._behind = Gauge("counters_behind_seconds", "Since when counters lag behind events", registry=registry)
        self._since: float | None = None
        self._behind.set_function(lambda: 0.0 if self._since is None else time.monotonic() - self._since)

    async def run(self) -> None:
        """Fold in, now and every second from then on."""
        failing = False
        while True:
            try:
                await self.round()
                failing = False
            except StoreError as error:
                if not failing:
                    log.warning("counters cannot be kept up now", cause=repr(error.__cause__))
                failing = True
            except Exception:
                log.exception("counters cannot be kept up")
            await asyncio.sleep(EVERY)

    async def round(self) -> int:
        """Fold in all that waits now; how many differences those were. Raises StoreError."""
        self._since, total = self._since or time.monotonic(), 0
        while True:
            began = time.monotonic()
            found = await asyncio.to_thread(self._store.roll, self._bite)
            took = time.monotonic() - began
            total += found
            self._folded.inc(found)
            if not found:
                self._since = None
                return total
            if took > LONGEST:
                self._bite = max(_FIRST // 10, int(self._bite * LONGEST / took))
            elif took < LONGEST / 2:
                self._bite = min(_MOST, self._bite * 2)
            await asyncio.sleep(0)
