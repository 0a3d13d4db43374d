"""What stands between loader and sink in a benchmark, each started afresh for each run."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import eventually, free_port, tracepost
from tests.peers import postfix


class Unavailable(Exception):
    """Why a rig cannot run here."""


@dataclass(frozen=True)
class Rig:
    """Takes mail at ``port``; ``pid`` is the process whose CPU, with that of all below it, is counted. ``check`` is
    called at the end and raises AssertionError where the rig did not do its work."""

    port: int
    pid: int | None = None
    check: Callable[[], None] = lambda: None


@contextlib.contextmanager
def nothing(sink_port: int) -> Iterator[Rig]:
    """The loader talks to the sink."""
    yield Rig(sink_port)


@contextlib.contextmanager
def untouched(sink_port: int) -> Iterator[Rig]:
    """Postfix with its queue, mail untouched."""
    if reason := postfix.missing():
        raise Unavailable(reason)
    settings = {"default_process_limit": "200", "maillog_file": "/dev/null"}
    with postfix.postfix(sink_port, settings=settings) as server:
        yield Rig(server.port, server.pid)


def tracked(delivery: str, workers: int) -> Callable[[int], AbstractContextManager[Rig]]:
    """Tracepost with this ``relay.delivery`` and so many ``relay.workers``, links and opens tracked."""

    @contextlib.contextmanager
    def rig(sink_port: int) -> Iterator[Rig]:
        smarthost = f"{{host: 127.0.0.1, port: {sink_port}, tls: none}}"
        relay = f"delivery: {delivery}\nworkers: {workers}\nlimits: {{connections_per_address: 1000}}\n"
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracepost-bench-")))
            try:
                service = stack.enter_context(tracepost(folder, smarthost, relay=relay))
            except AssertionError as failed:
                if found := re.search(r"relay[\w.]*: .*is not built yet", str(failed)):
                    raise Unavailable(found[0]) from None
                raise

            def check() -> None:
                assert service.message("<the-week@example.com>")["instrumented"], "the mail was not tracked"

            yield Rig(service.smtp_port, service.process.pid, check)

    return rig


RIGS: dict[str, Callable[[int], AbstractContextManager[Rig]]] = {
    "nothing": nothing,
    "postfix": untouched,
    "queue": tracked("queue", 1),
    "queue-2": tracked("queue", 2),
    "proxy": tracked("proxy", 1),
    "proxy-2": tracked("proxy", 2),
}


class Sink:
    """Postfix's smtp-sink, which counts and forgets."""

    def __init__(self, output: Path) -> None:
        self.port = free_port()
        self._output = output

    @contextlib.contextmanager
    def running(self) -> Iterator[Sink]:
        """Up when entered, gone at the end."""
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        with self._output.open("wb") as output:
            command = ["smtp-sink", *as_nobody, "-c", f"127.0.0.1:{self.port}", "1024"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: listening(self.port))
            yield self
        finally:
            process.terminate()
            process.wait(10)

    @property
    def count(self) -> int:
        """Mails so far."""
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - 300))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0

    def wait(self, count: int, patience: float = 15.0) -> float:
        """The moment at which so many had come, or the last at which one did: it waits no longer than ``patience``
        seconds for the next."""
        seen, since = self.count, time.perf_counter()
        while seen < count and time.perf_counter() - since < patience:
            time.sleep(0.005)
            if self.count > seen:
                seen, since = self.count, time.perf_counter()
        return since


def listening(port: int) -> bool:
    """Whether a server waits at this port; asked of the kernel, for a visit would be counted."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)


def cpu_seconds(pid: int) -> float:
    """CPU used so far by a process, all below it and those of them that have ended."""
    times: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            times[number] = sum(map(int, words[11:15]))
            children.setdefault(int(words[1]), []).append(number)
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        total += times.get(process, 0)
        waiting += children.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")
