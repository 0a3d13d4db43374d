"""The tracker on a port of its own, in a thread, for tests with a browser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.e2e.harness import eventually
from tests.tracker.tracked import KEYRING, configured
from tracker.app import create_app
from tracker.hits.recorder import Recorder
from tracker.model import Clock
from tracker.store.base import Store


@contextmanager
def served(store: Store, clock: Clock = time.time, **more: Any) -> Iterator[str]:
    """The address of a running tracker over ``store``; ``more`` goes to the application."""
    recorder = Recorder(store)
    app = create_app(configured(), KEYRING, store, recorder, clock, **more)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off"))

    async def run() -> None:
        await recorder.start()
        await server.serve()
        await recorder.stop()

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    finally:
        server.should_exit = True
        thread.join()
