"""A whole tracker in one process, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx

from tracker.app import Application, create_app
from tracker.hits.privacy import Network
from tracker.hits.recorder import Limits, Recorder
from tracker.store.base import Store
from tracker.store.sqlite import SqliteStore
from tracker.tokens import KEY_BYTES, Keyring

READ_KEY = "read-key-of-the-tests"
KEYRING = Keyring([bytes(range(KEY_BYTES))])


@dataclass
class Key:
    key: str
    access: str = "read"


@dataclass
class Privacy:
    ip: str = "truncated"
    user_agent: str = "family"


@dataclass
class Config:
    """What the application reads of its configuration."""

    public_url: str = "http://127.0.0.1:8025"
    admin_listen: tuple[str, int] | None = None
    timezone: str = "Europe/Berlin"
    api_keys: Sequence[Key] = (Key(READ_KEY), Key("another-key", "write"))
    trusted_proxies: Sequence[Network] = (ip_network("10.0.0.0/8"),)
    privacy: Privacy = field(default_factory=Privacy)


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


@asynccontextmanager
async def tracker(
    folder: Path, store: Store | None = None, config: Config | None = None, limits: Limits | None = None, **more: Any
) -> AsyncIterator[Tracker]:
    """A running tracker over ``store``, a new one in ``folder`` by default."""
    kept = store or SqliteStore(folder / "store.sqlite")
    recorder, clock = Recorder(kept, limits=limits), Clock()
    await recorder.start()
    app = create_app(config or Config(), KEYRING, kept, recorder, clock, **more)  # type: ignore[arg-type]
    peer = ("192.0.2.77", 4711)
    transport = httpx.ASGITransport(app, client=peer)
    async with httpx.AsyncClient(transport=transport, base_url="http://tracker.test") as client:
        yield Tracker(app, kept, recorder, clock, client)
    await recorder.stop()
    kept.close()
