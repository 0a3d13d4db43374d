"""One relay process: the door, the spool, the way out; made, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from relay.acceptance import Acceptance
from relay.bounces.desk import Desk, finder
from relay.bounces.door import BounceDoor, Find
from relay.config import Config, SmarthostConfig
from relay.dispatch.delivery import Delivery
from relay.dispatch.errand import Retry
from relay.dispatch.lane import Carrier
from relay.dispatch.sandbox import Sandbox
from relay.dispatch.smarthost import Smarthost
from relay.dispatch.spool import Spool, claim
from relay.known import Known
from relay.lanes import Lanes
from relay.preparing import prepare
from relay.proxying import Proxy
from relay.reception.scoreboard import Seat
from relay.reception.smtpd import SmtpServer
from relay.reception.submission import Counterpart, Queueing
from relay.rewriting.sevenbit import to_seven_bit
from relay.settings import Settings, keys_of
from relay.supervisor import DRAIN_SECONDS, Life
from tracker.errors import SpoolError, StoreError, TracepostError
from tracker.store.base import Store
from tracker.store.recording import Recording

log = structlog.get_logger()

ADOPT_SECONDS = 5.0
"""How often a worker looks for spool files that nobody holds. It does so first after as long, so that each worker of a
service that starts finds its own."""


class Worker:
    """One of ``relay.workers`` processes that share the door, the smarthosts and the spool's folder. ``reread`` reads
    the configuration again; it raises ConfigError, which leaves everything as it is."""

    def __init__(self, settings: Settings, seat: Seat, store: Store, reread: Callable[[], Config]) -> None:
        config = settings.config.relay
        self._settings = settings
        self._seat = seat
        self._reread = reread
        self._lanes = Lanes(self._connect, seat.board.workers, seat.number, time.time)
        self._store = store
        self._recording = Recording(store)
        self._known = Known(store)
        retry = Retry(config.retry.first, config.retry.longest, config.retry.give_up_after)
        lanes = self._lanes.update(settings.config)
        self._delivery = Delivery(
            settings.hostname,
            lanes,
            retry,
            partial(prepare, settings=settings, known=self._known),
            time.time,
            self._recording.stir,
            seat.add_dropped,
        )
        self._adopted: list[Spool] = []
        self._damaged: set[Path] = set()

    async def run(self, life: Life, sockets: Sequence[socket.socket]) -> None:
        """Serve until told to stop; what is in flight is finished first. Raises SpoolError where the spool cannot be
        had."""
        spool = await self._claim(fresh=True)
        if spool is None:
            raise SpoolError(f"{self._settings.config.data_dir}: no spool file can be had")
        await self._learn()
        config = self._settings.config.relay
        find = finder(self._settings)
        counterpart = self._counterpart(spool, find)
        door = SmtpServer(
            config, self._settings.hostname, counterpart, self._seat, lambda address: find(address) is not None
        )
        self._recording.start([spool])
        self._delivery.start([spool])
        await door.start(sockets)
        life.ready()
        chores = [
            asyncio.create_task(self._adopt_forever(), name="adoption"),
            asyncio.create_task(self._reload_forever(life, door), name="reload"),
        ]
        await life.stop.wait()
        began = time.monotonic()
        await door.stop()
        for chore in chores:
            chore.cancel()
        await asyncio.wait(chores)
        await self._delivery.stop(max(1.0, DRAIN_SECONDS - (time.monotonic() - began)))
        await self._recording.stop()
        await asyncio.to_thread(self._known.stop)
        for each in (spool, *self._adopted):
            await each.close()

    async def _learn(self) -> None:
        """Know the lists before the first mail, if the store is there, and follow them from then on."""
        try:
            await asyncio.to_thread(self._known.refresh)
        except StoreError as error:
            log.error("the store is away; nobody is known to have opted out", cause=repr(error.__cause__))
        self._known.start()

    def _counterpart(self, spool: Spool, find: Find) -> Callable[[], Counterpart]:
        """What stands behind each session: the queue or the smarthost, and before it whoever takes bounces."""
        about = (self._settings, spool, self._delivery)
        inner: Callable[[], Counterpart]
        if self._settings.config.relay.delivery == "proxy":
            inner = partial(Proxy, *about, self._known, time.time)
        else:
            inner = partial(Queueing, Acceptance(*about, self._seat, self._known, time.time).accept)
        desk = Desk(*about, self._seat, self._store, time.time, self._recording.stir)
        return lambda: BounceDoor(inner(), find, desk.take)

    @property
    def _routes(self) -> list[str]:
        return [entry.route for entry in self._settings.config.senders if entry.smarthost is not None]

    def _connect(self, smarthost: SmarthostConfig, connections: int) -> Carrier:
        if smarthost.host == "sandbox":
            return Sandbox(self._settings.config.data_dir)
        return Smarthost(smarthost, self._settings.hostname, to_seven_bit=to_seven_bit, connections=connections)

    async def _reload_forever(self, life: Life, door: SmtpServer) -> None:
        """Read the configuration again whenever asked to; one that is wrong changes nothing."""
        while True:
            await life.reload.wait()
            life.reload.clear()
            try:
                config = self._reread()
                keys_of(config)  # what is wrong is found out before anything has changed
                door.reload(config.relay)
                self._settings.replace(config)
            except (TracepostError, OSError) as error:
                log.error("the configuration is not reloaded", error=str(error))
                continue
            self._delivery.set_lanes(self._lanes.update(self._settings.config))
            log.info("the configuration is reloaded")

    async def _adopt_forever(self) -> None:
        """Send what lies in files whose holder is gone, and remove such a file once it is empty."""
        while True:
            await asyncio.sleep(ADOPT_SECONDS)
            try:
                for spool in list(self._adopted):
                    await self._remove_if_empty(spool)
                found = await self._claim(fresh=False)
            except (SpoolError, OSError) as error:
                log.error("spool files cannot be looked after now", error=str(error))
                continue
            if found is not None:
                with contextlib.suppress(SpoolError):
                    await found.tell_again()
                log.info("a spool file is adopted", file=found.path.name)
                self._adopted.append(found)
                self._delivery.adopt(found)
                self._recording.adopt(found)

    async def _remove_if_empty(self, spool: Spool) -> None:
        if await spool.empty():
            self._adopted.remove(spool)
            self._delivery.drop(spool)
            self._recording.drop(spool)
            await spool.remove()

    async def _claim(self, fresh: bool) -> Spool | None:
        """A spool file that nobody holds, open. One that cannot be opened is left as it is, for its operator; it keeps
        nobody from the others. Raises SpoolError."""
        tried: set[Path] = set()
        while True:
            spool = claim(self._settings.config.data_dir, self._routes, fresh, tried, self._seat.add_spool)
            if spool is None:
                return None
            there = spool.path.exists()
            try:
                await spool.open()
                return spool
            except SpoolError as error:
                await spool.close()
                if not there:
                    raise
                tried.add(spool.path)
                if spool.path not in self._damaged:
                    log.error("a spool file cannot be opened", file=str(spool.path), cause=repr(error.__cause__))
                    self._damaged.add(spool.path)
