"""A whole tracker in one process, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.tracker.conforming import Judge
from tracker.app import Application, create_app, parts_of_the_api
from tracker.config import TrackerConfig
from tracker.hits.recorder import Limits, Recorder
from tracker.reading.auth import Gate
from tracker.reading.openapi import document
from tracker.store.base import Store
from tracker.store.sqlite import SqliteStore
from tracker.tokens import KEY_BYTES, Keyring

READ_KEY = "read-key-of-the-tests"
KEYRING = Keyring([bytes(range(KEY_BYTES))])


def configured(**changes: Any) -> TrackerConfig:
    """A configuration as the file would give it."""
    keys = [{"key": READ_KEY, "access": "read"}, {"key": "another-key", "access": "write"}]
    basics = {"timezone": "Europe/Berlin", "api_keys": keys, "trusted_proxies": ["10.0.0.0/8"]}
    return TrackerConfig.model_validate({**basics, **changes})


class Clock:
    """A clock that moves when told to."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Tracker:
    app: Application
    store: Store
    recorder: Recorder
    clock: Clock
    client: httpx.AsyncClient

    async def settle(self) -> None:
        """Wait until everything recorded is on disk."""
        await self.recorder.stop()
        await self.recorder.start()

    async def api(self, path: str, **params: Any) -> Any:
        """A successful answer of the API."""
        answer = await self.client.get(f"/api/v1{path}", params=params, headers={"Authorization": f"Bearer {READ_KEY}"})
        assert answer.status_code == 200, answer.text
        return answer.json()


@cache
def judge() -> Judge:
    """Who knows what the API says of itself."""
    nothing: Any = None
    config = configured()
    return Judge(document(parts_of_the_api(config, nothing, Clock(), Gate(config.api_keys, Clock()), nothing), "0"))


async def _conforms(answer: httpx.Response) -> None:
    if answer.request.url.path.startswith("/api/"):
        await answer.aread()
        judge().check(answer)


@asynccontextmanager
async def tracker(
    folder: Path,
    store: Store | None = None,
    config: TrackerConfig | None = None,
    limits: Limits | None = None,
    **more: Any,
) -> AsyncIterator[Tracker]:
    """A running tracker over ``store``, a new one in ``folder`` by default."""
    kept = store or SqliteStore(folder / "store.sqlite")
    recorder, clock = Recorder(kept, limits=limits), Clock()
    await recorder.start()
    app = create_app(config or configured(), KEYRING, kept, recorder, clock, **more)
    peer = ("192.0.2.77", 4711)
    transport = httpx.ASGITransport(app, client=peer)
    hooks = {"response": [_conforms] if config is None or config.admin_listen is None else []}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://tracker.test", event_hooks=hooks) as client:
            yield Tracker(app, kept, recorder, clock, client)
    finally:
        await recorder.stop()
        kept.close()
