"""All endpoints: each is delivered to by itself, so that none holds up another; changed, added and removed as the
configuration is read again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from tracker.errors import StoreError
from tracker.model import Clock
from tracker.webhooks.client import Client
from tracker.webhooks.deliveries import Deliveries
from tracker.webhooks.delivering import Delivering, Limits
from tracker.webhooks.endpoint import Endpoint

log = structlog.get_logger()

_PAUSE = 5.0
"""Seconds after which what cannot be done now is tried again."""


class Webhooks:
    """Delivers to endpoints; ``owner`` names this node among those that share the store."""

    def __init__(
        self,
        deliveries: Deliveries,
        owner: str,
        clock: Clock = time.time,
        limits: Limits | None = None,
        client: Callable[[Endpoint], Client] = Client,
    ) -> None:
        self._deliveries = deliveries
        self._owner = owner
        self._clock = clock
        self._limits = limits or Limits()
        self._client = client
        self._wanted: Sequence[Endpoint] = ()
        self._changed = asyncio.Event()
        self._running: dict[str, _Running] = {}

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """Deliver to these and no other."""
        self._wanted = list(endpoints)
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._changed.clear()
                taken_over = await self._take_over()
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait(
                    [stopping, changed], timeout=None if taken_over else _PAUSE, return_when="FIRST_COMPLETED"
                )
                changed.cancel()
        finally:
            stopping.cancel()
            await self._end(list(self._running))

    async def _take_over(self) -> bool:
        """Deliver to what is wanted now; False where the store is away."""
        wanted = list(self._wanted)
        await self._end([key for key, each in self._running.items() if each.endpoint not in wanted])
        try:
            marks = {each.key: each.mark for each in wanted}
            await asyncio.to_thread(self._deliveries.enrol, marks, self._owner, self._clock())
        except StoreError as error:
            log.warning("webhooks wait for the store", cause=repr(error.__cause__))
            return False
        for each in wanted:
            if each.key not in self._running:
                self._running[each.key] = _Running(self._new, each, self._limits.lease / 3)
        return True

    def _new(self, endpoint: Endpoint) -> Delivering:
        return Delivering(endpoint, self._deliveries, self._client(endpoint), self._owner, self._clock, self._limits)

    async def _end(self, keys: Sequence[str]) -> None:
        await asyncio.gather(*(self._running.pop(key).end() for key in keys))


class _Running:
    """One endpoint, begun anew ``pause`` seconds after its lease was lost or something failed."""

    def __init__(self, new: Callable[[Endpoint], Delivering], endpoint: Endpoint, pause: float) -> None:
        self._new = new
        self.endpoint = endpoint
        self._pause = pause
        self._ending = asyncio.Event()
        self._delivering: Delivering | None = None
        self._task = asyncio.create_task(self._run(), name=f"webhook {endpoint.place}")

    async def end(self) -> None:
        """Finish what is under way."""
        self._ending.set()
        if self._delivering is not None:
            self._delivering.stop()
        await self._task

    async def _run(self) -> None:
        while not self._ending.is_set():
            self._delivering = self._new(self.endpoint)
            try:
                await self._delivering.run()
            except StoreError as error:
                log.warning("deliveries wait for the store", endpoint=self.endpoint.place, cause=repr(error.__cause__))
            except Exception:
                log.exception("deliveries failed", endpoint=self.endpoint.place)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._pause, _PAUSE)):
                    await self._ending.wait()
