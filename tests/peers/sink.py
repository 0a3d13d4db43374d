"""Where the mail of real servers ends up: the fake smarthost in a thread of its own, so that tests may block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

from tests.e2e.harness import eventually
from tests.fakes.smarthost import FakeSmarthost, Message


@contextlib.contextmanager
def sink() -> Iterator[FakeSmarthost]:
    """A smarthost that takes everything and keeps every octet."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sink")
    thread.start()

    def run(work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(60)

    # It asserts that nothing comes behind the data; without PIPELINING no server sends its QUIT along.
    host = FakeSmarthost(pipelining=False)
    run(host.__aenter__())
    try:
        yield host
    finally:
        run(host.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def arrived(host: FakeSmarthost, count: int = 1, seconds: float = 60.0) -> list[Message]:
    """All that came, waited for until there are so many. AssertionError where it is not exactly so many."""
    eventually(lambda: len(host.messages) >= count, seconds)
    assert len(host.messages) == count
    return list(host.messages)
