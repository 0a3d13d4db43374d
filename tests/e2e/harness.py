"""The running service, as a user has it: a process of its own, reached by SMTP and HTTP only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.smarthost import FakeSmarthost, Message

API_KEY = "e2e-key-0123456789abcdef"


@dataclass
class Tracepost:
    """A running service. ``web`` talks to the tracker, with the API key."""

    smtp_port: int
    web: httpx.Client
    folder: Path
    process: subprocess.Popen[bytes]

    def resident(self) -> int:
        """Resident memory of all its processes, octets; what they share counts once."""
        return sum(proportional(pid) for pid in family(self.process.pid))

    def metric(self, name: str) -> float:
        """A figure of ``/metrics``."""
        found = re.search(rf"^{name} (\S+)$", self.web.get("/metrics").text, re.M)
        assert found, name
        return float(found[1])

    def settled(self) -> bool:
        """Nobody waits in the queue, and the store has been told of all."""
        return self.metric("queue_messages") == self.metric("queue_facts") == 0

    def message(self, message_id: str) -> dict:
        """The API's row of one mail, waited for: it was accepted before the store is told."""
        rows = eventually(lambda: self.web.get("/api/v1/messages", params={"message_id": message_id}).json()["items"])
        return rows[0]


def eventually(probe, seconds: float = 60.0):
    """What ``probe`` answers once it answers something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found or time.monotonic() > deadline:
            assert found, "it did not come about in time"
            return found
        time.sleep(0.02)


async def in_time(probe, seconds: float = 60.0):
    """The same, for those whose event loop is needed meanwhile: the smarthost's is theirs."""
    return await asyncio.to_thread(eventually, probe, seconds)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def proportional(pid: int) -> int:
    """Resident memory of one process, octets; of what is shared by several, its part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) * 1024


def queued_as(reply: bytes) -> str:
    """The id by which a mail was taken."""
    found = re.fullmatch(rb"250 2\.0\.0 Ok: queued as ([0-9a-f-]{36})\r\n", reply)
    assert found, reply
    return found[1].decode()


async def arrivals(service: Tracepost, host: FakeSmarthost, ids: list[str]) -> list[Message]:
    """What arrived of the mails that were taken by these ids, in their order: each once, and nothing else."""
    await in_time(service.settled, 60)
    arrived = {
        re.search(rb"\(Tracepost\) with E?SMTP id ([0-9a-f-]{36});", each.content)[1].decode(): each
        for each in host.messages
    }
    assert len(host.messages) == len(ids)
    return [arrived[id] for id in ids]


PORTS = range(11_000, 32_000)
"""Below those that Linux gives to whoever asks for any, so that no connection has one of these for its own end by the
time that it is listened at; above those that Chromium will not go to."""


def free_port() -> int:
    """A port that nobody listens at, nor will before whoever asked."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


CONFIG = """
data_dir: {folder}/data
relay:
  listen: ["127.0.0.1:{smtp}"]
  hostname: relay.test
  smarthost: {smarthost}
{relay}
tracker:
  listen: 127.0.0.1:{http}
  public_url: {public_url}
  api_keys: [{key}]
{tracker}
senders:
{senders}
"""
EVERYBODY = """\
- match: "*"
  open_tracking: true
  click_tracking: true
"""


@contextlib.contextmanager
def tracepost(
    folder: Path,
    smarthost: str = "{host: sandbox}",
    senders: str = EVERYBODY,
    relay: str = "",
    tracker: str = "",
    public_url: str = "http://track.test",
    smtp_port: int | None = None,
) -> Iterator[Tracepost]:
    """The service with this configuration, up and ready, stopped at the end."""
    smtp, http = smtp_port or free_port(), free_port()
    text = CONFIG.format(
        folder=folder,
        smtp=smtp,
        http=http,
        smarthost=smarthost,
        key=API_KEY,
        public_url=public_url.format(http=http),
        relay=textwrap.indent(relay, "  "),
        tracker=textwrap.indent(tracker, "  "),
        senders=textwrap.indent(senders, "  "),
    )
    file = folder / "config.yaml"
    file.write_text(text)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACEPOST_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay.cli", "serve", "-c", str(file)], stdout=log, stderr=log, env=environ
        )
        web = httpx.Client(
            base_url=f"http://127.0.0.1:{http}", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
        )
        try:
            await_ready(web, process, folder / "log")
            yield Tracepost(smtp, web, folder, process)
        finally:
            web.close()
            process.terminate()
            process.wait(40)


@contextlib.asynccontextmanager
async def serving(folder: Path, *arguments: Any, **named: Any) -> AsyncIterator[Tracepost]:
    """The same, for those whose event loop the smarthost runs in: it goes on while the service starts and stops."""
    service = tracepost(folder, *arguments, **named)
    running = await asyncio.to_thread(service.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(service.__exit__, None, None, None)


def await_ready(web: httpx.Client, process: subprocess.Popen[bytes], log: Path, path: str = "/readyz") -> None:
    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return web.get(path).status_code == 200
        except httpx.TransportError:
            return False

    eventually(ready, 120)
