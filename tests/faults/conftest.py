"""One running service for a module's tests; each test has a domain of its own, and behind it a smarthost."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from relay.queueing import queued
from tests.e2e.harness import Tracepost, tracepost
from tests.fakes.smarthost import FakeSmarthost, bound
from tests.faults.client import Heard, submit
from tests.faults.episode import rows_of
from tests.faults.notice import Notice, notices

T = TypeVar("T")

SITES = 60
RELAY = """\
delivery: {delivery}
retry: {{first: 0.5s, longest: 1s, give_up_after: 5m}}
"""


@dataclass
class Site:
    """A domain that sends mail, and its smarthost."""

    service: Tracepost
    domain: str
    host: FakeSmarthost

    async def submit(self, content: bytes, options: str = "", people: Sequence[str] = ("<ann@example.net>",)) -> Heard:
        """Hand in a mail from this domain."""
        return await submit(self.service.smtp_port, content, f"<news@{self.domain}>{options}", people)

    async def submit_null(self, content: bytes) -> Heard:
        """Hand in a mail with the null reverse-path; the From address names the smarthost."""
        return await submit(self.service.smtp_port, content, "<>")

    async def queue(self) -> list[dict[str, Any]]:
        """What of this domain's mail waits, notifications to it too."""
        entries = [each.as_dict() for each in queued(self.service.folder / "data")]
        return [entry for entry in entries if entry["route"] == f"*@{self.domain}"]

    async def row(self, message_id: str) -> dict[str, Any]:
        """The API's row of a mail, once nothing of it is pending."""

        async def settled() -> dict[str, Any] | None:
            row = (await rows_of(self.service)).get(f"<{message_id}@{self.domain}>")
            return row if row is not None and not row["pending"] else None

        return await soon(settled)

    async def done(self) -> None:
        """Wait until nothing of this domain's waits."""
        while await self.queue():
            await asyncio.sleep(0.1)

    @property
    def notices(self) -> list[Notice]:
        return notices(self.host)


@dataclass
class House:
    """The service and the sites that no test has used yet."""

    service: Tracepost
    delivery: str
    sites: Iterator[tuple[str, socket.socket]]

    @asynccontextmanager
    async def site(self, **given: Any) -> AsyncIterator[Site]:
        """A domain that nobody used before; ``given`` is what its smarthost is like."""
        domain, listening = next(self.sites)
        async with FakeSmarthost(bound=listening, **given) as host:
            yield Site(self.service, domain, host)


async def soon(probe: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What ``probe``, a coroutine function or a plain one, answers once it answers something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.05)


@contextmanager
def open_house(folder, delivery: str, more: str = "") -> Iterator[House]:
    """A service with this kind of delivery and ``more`` keys of ``relay``."""
    sockets = [(f"site-{number}.test", bound()) for number in range(SITES)]
    senders = "".join(
        f'- {{match: "*@{domain}", smarthost: '
        f"{{host: 127.0.0.1, port: {each.getsockname()[1]}, tls: none, timeout: 3s}}}}\n"
        for domain, each in sockets
    )
    try:
        with tracepost(folder, senders=senders, relay=RELAY.format(delivery=delivery) + more) as service:
            yield House(service, delivery, iter(sockets))
    finally:
        for _, each in sockets:
            each.close()


@pytest.fixture(scope="module")
def queue_house(tmp_path_factory) -> Iterator[House]:
    """With ``delivery: queue``."""
    with open_house(tmp_path_factory.mktemp("queue"), "queue") as house:
        yield house


@pytest.fixture(scope="module")
def proxy_house(tmp_path_factory) -> Iterator[House]:
    """With ``delivery: proxy``."""
    with open_house(tmp_path_factory.mktemp("proxy"), "proxy") as house:
        yield house


@pytest.fixture(params=["queue", "proxy"])
def house(request) -> House:
    """Each kind of delivery in turn."""
    return request.getfixturevalue(f"{request.param}_house")
