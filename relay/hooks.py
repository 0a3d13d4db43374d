"""The webhooks process: tells endpoints of events, from the store, apart from the processes that take hits and mail.

A process of its own, since requests, TLS and signatures take time on the processor that a redirect would wait for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from relay.config import Config
from relay.storage import store_of
from relay.supervisor import Life
from tracker.errors import TracepostError
from tracker.webhooks.delivering import Limits
from tracker.webhooks.endpoint import endpoints_of
from tracker.webhooks.service import Webhooks

log = structlog.get_logger()


class Hooks:
    """The endpoints of a configuration. ``reread`` reads it again; it raises ConfigError, which leaves everything as it
    is."""

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread

    async def run(self, life: Life) -> None:
        """Deliver until told to stop."""
        store = store_of(self._config)
        kept = self._config.tracker.retention
        limits = Limits(age=min(Limits().age, kept.events, kept.recipients))
        webhooks = Webhooks(store.deliveries(), node(self._config), limits=limits)
        webhooks.replace(endpoints_of(self._config.tracker))
        reloading = asyncio.create_task(self._reload_forever(life, webhooks), name="reload")
        life.ready()
        try:
            await webhooks.run(life.stop)
        finally:
            reloading.cancel()
            store.close()

    async def _reload_forever(self, life: Life, webhooks: Webhooks) -> None:
        while True:
            await life.reload.wait()
            life.reload.clear()
            try:
                self._config = self._reread()
            except (TracepostError, OSError) as error:
                log.error("the webhooks are not reloaded", error=str(error))
                continue
            webhooks.replace(endpoints_of(self._config.tracker))
            log.info("the webhooks are reloaded")


def node(config: Config) -> str:
    """The name of this node among those that share a store: there is one service a folder on one machine."""
    return f"{socket.gethostname()}:{config.data_dir.absolute()}"
