"""The running service, as a user has it: a process of its own, reached by SMTP and HTTP only."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

API_KEY = "e2e-key-0123456789abcdef"


@dataclass
class Tracepost:
    """A running service. ``web`` talks to the tracker, with the API key."""

    smtp_port: int
    web: httpx.Client
    folder: Path
    process: subprocess.Popen[bytes]

    def resident(self) -> int:
        """Resident memory, octets."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def message(self, message_id: str) -> dict:
        """The API's row of one mail, waited for: the record follows the delivery."""
        rows = eventually(lambda: self.web.get("/api/v1/messages", params={"message_id": message_id}).json()["items"])
        return rows[0]


def eventually(probe, seconds: float = 10.0):
    """What ``probe`` answers once it answers something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found or time.monotonic() > deadline:
            assert found, "it did not come about in time"
            return found
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
) -> Iterator[Tracepost]:
    """The service with this configuration, up and ready, stopped at the end."""
    smtp, http = free_port(), free_port()
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


def await_ready(web: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return web.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    eventually(ready, 30)
