"""The service as its operator has it: started, killed, told to reload, started anew, always on one folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.e2e.harness import API_KEY, CONFIG, EVERYBODY, await_ready, eventually, free_port

QUICK = "retry: {first: 1s, longest: 2s, give_up_after: 5m}\n"
"""Tries again soon, so that a test need not wait for it."""


class Service:
    """One service at fixed ports. ``log`` is all that it ever said; ``by`` is the command that it is run by, such as
    one that takes rights away."""

    def __init__(self, folder: Path, smarthost: str, *, by: Sequence[str] = (), **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.smtp_port, self.http_port = free_port(), free_port()
        self._smarthost = smarthost
        self._by = by
        self._family: set[Identity] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "config.yaml"
        self.web = httpx.Client(
            base_url=f"http://127.0.0.1:{self.http_port}", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
        )
        self.configure(**settings)

    def configure(self, *, relay: str = "", tracker: str = "", senders: str = EVERYBODY, top: str = "") -> None:
        """Write the configuration; a running service takes it at ``hang_up``."""
        text = CONFIG.format(
            folder=self.folder,
            smtp=self.smtp_port,
            http=self.http_port,
            smarthost=self._smarthost,
            key=API_KEY,
            public_url="http://track.test",
            relay=textwrap.indent(relay, "  "),
            tracker=textwrap.indent(tracker, "  "),
            senders=textwrap.indent(senders, "  "),
        )
        self._config.write_text(text + top)

    def start(self, *, by: Sequence[str] | None = None, ready: str = "/readyz") -> None:
        """Start and wait until it serves; from now on ``by`` this command, where one is given."""
        self._by = self._by if by is None else by
        if self._process is not None:
            self._process.wait(5)

        environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACEPOST_")}
        command = [*self._by, sys.executable, "-m", "relay.cli", "serve", "-c", str(self._config)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        await_ready(self.web, self._process, self.folder / "log", ready)
        self._family |= identities([self.pid, *self.children()])

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def children(self) -> list[int]:
        """The processes that the supervisor has at this moment."""
        found = [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        self._family |= identities(found)
        return found

    def workers(self) -> list[int]:
        """The relay processes: those that hold a file of the spool."""
        return [
            pid for pid in self.children() if any("/spool/" in each and ".lock" in each for each in open_files(pid))
        ]

    def tracker(self) -> int:
        """The tracker process: the one that holds a file of the journal."""
        (found,) = [
            pid for pid in self.children() if any("/journal/" in each and ".lock" in each for each in open_files(pid))
        ]
        return found

    def kill(self, *pids: int) -> None:
        """kill -9."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code of the supervisor, once it and all the others have ended."""
        assert self._process is not None
        code = self._process.wait(seconds)
        eventually(lambda: not any(map(alive, self._family)), seconds)
        self._family.clear()
        return code

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self.terminate()
        return self.wait()

    def rows(self) -> list[dict]:
        """The API's row of every mail."""
        found: list[dict] = []
        query: dict[str, str | int] = {"limit": 1000}
        while True:
            page = self.web.get("/api/v1/messages", params=query).json()
            found += page["items"]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    def queued(self) -> int:
        """Mails in the queue, as the metrics tell."""
        return int(self.metric("queue_messages"))

    def metric(self, name: str) -> float:
        return float(self.web.get("/metrics").text.split(f"\n{name} ")[1].split()[0])

    def tidy(self) -> None:
        """Leave no process of ours behind."""
        self.web.close()
        if self._process is None:
            return
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.children()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(40)
        self.kill(*(each.pid for each in self._family if alive(each)))
        self._process.wait(5)


@contextlib.contextmanager
def running(folder: Path, smarthost: str, *, by: Sequence[str] = (), **settings: str) -> Iterator[Service]:
    """A service that is up and ready; none of its processes is left behind."""
    service = Service(folder, smarthost, by=by, **settings)
    try:
        service.start()
        yield service
    finally:
        service.tidy()


def at(port: int, more: str = "") -> str:
    """A smarthost of the test's own, as the configuration names it."""
    return f"{{host: 127.0.0.1, port: {port}, tls: none, timeout: 5s{more}}}"


class Identity(NamedTuple):
    """A process: its number, which another one may have later, and when it began."""

    pid: int
    began: str


def identities(pids: Iterable[int]) -> set[Identity]:
    """The processes that have these numbers now."""
    return {Identity(pid, fields[19]) for pid in pids if (fields := _fields(pid))}


def alive(process: Identity) -> bool:
    """Whether this very process still runs; one that nobody has buried yet does not."""
    fields = _fields(process.pid)
    return bool(fields) and fields[0] != "Z" and fields[19] == process.began


def _fields(pid: int) -> list[str]:
    """What /proc says of a process, from its state on; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def open_files(pid: int) -> list[str]:
    """What a process has open."""
    with contextlib.suppress(OSError):
        return [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return []


def resident(pid: int) -> int:
    """Resident memory of a process, octets."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
