"""One relay process: the door, the spool, the way out; made, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from relay.acceptance import Acceptance
from relay.config import Config, SmarthostConfig
from relay.dispatch.delivery import Delivery
from relay.dispatch.errand import Retry
from relay.dispatch.lane import Carrier
from relay.dispatch.sandbox import Sandbox
from relay.dispatch.smarthost import Smarthost
from relay.dispatch.spool import Spool, claim
from relay.lanes import Lanes
from relay.preparing import prepare
from relay.proxying import Proxy
from relay.reception.scoreboard import Seat
from relay.reception.smtpd import SmtpServer
from relay.reception.submission import Counterpart, Queueing
from relay.recording import Recording
from relay.rewriting.sevenbit import to_seven_bit
from relay.settings import Settings
from relay.supervisor import DRAIN_SECONDS, Life
from tracker.errors import SpoolError, TracepostError
from tracker.store.base import Store

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
        self._recording = Recording(store)
        retry = Retry(config.retry.first, config.retry.longest, config.retry.give_up_after)
        lanes = self._lanes.update(settings.config)
        self._delivery = Delivery(
            settings.hostname,
            lanes,
            retry,
            partial(prepare, settings=settings),
            time.time,
            self._stirred,
        )
        self._adopted: list[Spool] = []

    async def run(self, life: Life, sockets: Sequence[socket.socket]) -> None:
        """Serve until told to stop; what is in flight is finished first. Raises SpoolError where the spool cannot be
        had."""
        spool = claim(self._settings.config.data_dir, self._routes, fresh=True)
        if spool is None:
            raise SpoolError(f"{self._settings.config.data_dir}: no spool file can be had")
        await spool.open()
        config = self._settings.config.relay
        door = SmtpServer(config, self._settings.hostname, self._counterpart(spool), self._seat)
        self._recording.start([spool])
        self._delivery.start([spool])
        self._stirred()
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
        for each in (spool, *self._adopted):
            await each.close()

    def _stirred(self) -> None:
        """Something was sent, or failed, or ended."""
        self._recording.stir()
        self._seat.set_spool(self._delivery.octets)

    def _counterpart(self, spool: Spool) -> Callable[[], Counterpart]:
        """What stands behind each session."""
        if self._settings.config.relay.delivery == "proxy":
            return partial(Proxy, self._settings, spool, self._delivery, time.time)
        return partial(Queueing, Acceptance(self._settings, spool, self._delivery, self._seat, time.time).accept)

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
                self._settings.replace(self._reread())
                door.reload(self._settings.config.relay)
            except (TracepostError, OSError) as error:
                log.error("the configuration is not reloaded", error=str(error))
                continue
            self._delivery.set_lanes(self._lanes.update(self._settings.config))
            log.info("the configuration is reloaded")

    async def _adopt_forever(self) -> None:
        """Send what lies in files whose holder is gone, and remove such a file once it is empty."""
        while True:
            await asyncio.sleep(ADOPT_SECONDS)
            with contextlib.suppress(SpoolError):
                for spool in list(self._adopted):
                    if await spool.empty():
                        self._adopted.remove(spool)
                        self._delivery.drop(spool)
                        self._recording.drop(spool)
                        await spool.remove()
                        self._stirred()
                found = claim(self._settings.config.data_dir, self._routes, fresh=False)
                if found is not None:
                    await found.open()
                    await found.tell_again()
                    log.info("a spool file is adopted", file=found.path.name)
                    self._adopted.append(found)
                    self._delivery.adopt(found)
                    self._recording.adopt(found)
                    self._stirred()
