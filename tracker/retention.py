"""What was kept long enough is dropped, hour by hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tracker.errors import StoreError
from tracker.model import Clock
from tracker.store.base import Store

log = structlog.get_logger()

EVERY = 3600.0
"""Seconds between two rounds."""
TOGETHER = 50
"""Pages a transaction: few, since hits wait meanwhile."""


async def drop_forever(store: Store, pages: Callable[[], float], clock: Clock) -> None:
    """Drop, now and from then on, what is past its time. ``pages`` says for how many seconds mirror pages are kept."""
    while True:
        try:
            await drop_pages(store, clock() - pages())
        except StoreError as error:
            log.warning("what is past its time cannot be dropped now", cause=repr(error.__cause__))
        await asyncio.sleep(EVERY)


async def drop_pages(store: Store, before: float) -> int:
    """Drop the mirror pages of mail accepted before a time; how many. Raises StoreError."""
    dropped = 0
    while True:
        found = await asyncio.to_thread(store.drop_pages, before, TOGETHER)
        dropped += found
        if found < TOGETHER:
            break
    if dropped:
        log.info("mirror pages are dropped", pages=dropped)
    return dropped
