"""Routes served on the loopback, for clients that were written for Postmark."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.tracker.test_server import Server


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The URL of an application that answers from a thread of its own."""
    ready, ended = threading.Event(), threading.Event()
    place: list[int] = []

    async def run() -> None:
        server = Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", proxy_headers=False))
        serve = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        place.append(server.servers[0].sockets[0].getsockname()[1])
        ready.set()
        await asyncio.to_thread(ended.wait)
        server.should_exit = True
        await serve

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield f"http://127.0.0.1:{place[0]}"
    finally:
        ended.set()
        thread.join()
