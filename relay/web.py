"""The tracker process: the store, the recorder and the web servers; made, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import structlog
import uvicorn

from relay import forgetting
from relay.beside import beside
from relay.config import Config, opt_out_url
from relay.forgetting import Forgetting
from relay.queueing import SpoolCollector
from relay.settings import Settings
from relay.supervisor import Life
from tracker.app import create_admin_app, create_app
from tracker.config import Retention as RetentionConfig
from tracker.errors import StoreError, TracepostError
from tracker.hits.journals import Journals
from tracker.hits.recorder import Recorder
from tracker.ops import Readiness
from tracker.reading.auth import Gate
from tracker.retention import Retention
from tracker.roller import Roller
from tracker.store.base import Store
from tracker.webhooks.endpoint import Endpoint, endpoints_of
from tracker.webhooks.metrics import WebhooksCollector

log = structlog.get_logger()


class _WebServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Web:
    """The public routes and those for readers. ``reread`` reads the configuration again; it raises ConfigError, which
    leaves everything as it is. ``dropped`` tells how many notifications the relay could not deliver."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        readiness: Readiness,
        sample: str,
        reread: Callable[[], Config],
        dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._store = store
        self._readiness = readiness
        self._sample = sample
        self._reread = reread
        self._dropped = dropped

    async def run(self, life: Life, sockets: Sequence[socket.socket]) -> None:
        """Serve until told to stop, on one socket, or on two of which the second is for ``admin_listen``."""
        config, keyring = self._settings.config.tracker, self._settings.keyring
        gate = Gate(config.api_keys, time.time, config.trusted_proxies)
        try:
            await asyncio.to_thread(self._store.open)
        except StoreError as error:
            # Links lead where they led without it, and hits are kept until it is back.
            log.error("the store cannot be opened now", cause=repr(error.__cause__))
        async with AsyncExitStack() as stack:
            recorder = Recorder(self._store)
            data_dir = self._settings.config.data_dir
            recorder.registry.register(SpoolCollector(data_dir, self._dropped))
            recorder.registry.register(WebhooksCollector(self._store.deliveries(), self._endpoints, time.time))
            journals = Journals(data_dir, self._store, recorder)
            await journals.start()
            stack.push_async_callback(journals.stop)
            await recorder.start()
            stack.push_async_callback(recorder.stop)
            shared = (self._store, recorder, time.time, self._readiness, self._sample, gate)
            forget = partial(forgetting.forget, data_dir, self._store)
            around = beside(self._settings.config, keyring, lambda: self._settings.config)
            app = create_app(config, keyring, *shared, self._onward, forget, around)
            await stack.enter_async_context(web_server(app, sockets[0]))
            if config.admin_listen is not None:
                admin = create_admin_app(config, *shared, forget, around)
                await stack.enter_async_context(web_server(admin, sockets[1]))
            life.ready()
            chores = [
                asyncio.create_task(self._reload_forever(life, gate), name="reload"),
                asyncio.create_task(self._retention(config.retention).run(), name="retention"),
                asyncio.create_task(Forgetting(data_dir, self._store).run(), name="forgetting"),
                asyncio.create_task(Roller(self._store, recorder.registry).run(), name="rolling"),
            ]
            await life.stop.wait()
            for chore in chores:
                chore.cancel()

    def _retention(self, kept: RetentionConfig) -> Retention:
        kinds = {
            "events": (kept.events, self._store.drop_events),
            "recipients": (kept.recipients, self._store.drop_recipients),
            "mirror_pages": (kept.mirror_pages, self._store.drop_pages),
        }
        return Retention(kinds, time.time)

    def _endpoints(self) -> Sequence[Endpoint]:
        return endpoints_of(self._settings.config.tracker)

    def _onward(self, sender: str) -> str | None:
        return opt_out_url(self._settings.config, sender)

    async def _reload_forever(self, life: Life, gate: Gate) -> None:
        while True:
            await life.reload.wait()
            life.reload.clear()
            try:
                self._settings.replace(self._reread())
            except (TracepostError, OSError) as error:
                log.error("the keys are not reloaded", error=str(error))
                continue
            gate.replace(self._settings.config.tracker.api_keys)
            log.info("the keys are reloaded")


@asynccontextmanager
async def web_server(app: Any, bound: socket.socket) -> AsyncIterator[None]:
    """uvicorn on a listening socket, up when entered."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # it would write tokens
        server_header=False,
        proxy_headers=False,  # trusted_proxies decides, not uvicorn
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    server = _WebServer(config)
    serving = asyncio.create_task(server.serve([bound]), name="web")
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        bound.close()
