"""250 means that the mail is on stable storage: the system calls of a worker, in their order."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import eventually
from tests.endurance.crowd import LARGE, mail, session
from tests.endurance.service import Service, running

CALLS = "read,recvfrom,write,sendto,pwrite64,fsync,fdatasync,close"
SYNC = re.compile(r"\bf(?:data)?sync\(\d+<([^>]*)>\) += 0")
"""A sync that is done; the path is what the descriptor stands for."""
RESUMED = re.compile(r"^(\d+) .*<\.\.\. f(?:data)?sync resumed>.* = 0")
BEGUN = re.compile(r"^(\d+) .*\bf(?:data)?sync\(\d+<([^>]*)>.*<unfinished")


@contextlib.contextmanager
def traced(pid: int, file: Path) -> Iterator[None]:
    """Note the system calls of a process and its threads in a file."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-f", "-y", "-s", "1000", "-e", f"trace={CALLS}", "-o", str(file), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    try:
        if "attached" not in said:
            pytest.skip(f"strace cannot look here: {said.strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        tracer.stderr.close()


def synced(calls: list[str]) -> list[str]:
    """The paths that were synced, in the order in which that was done."""
    paths, begun = [], {}
    for call in calls:
        if found := SYNC.search(call):
            paths.append(found[1])
        elif found := BEGUN.match(call):
            begun[found[1]] = found[2]
        elif (found := RESUMED.match(call)) and found[1] in begun:
            paths.append(begun.pop(found[1]))
    return paths


def between_end_and_reply(file: Path, name: str) -> list[str]:
    """The calls after the last one that read from the client, up to the one that sent it 250."""
    calls = file.read_text("utf-8", "replace").splitlines()
    replied = next(i for i, call in enumerate(calls) if "250 2.0.0 Ok: queued as" in call)
    sent = re.search(r"(?:sendto|write)\((\d+)<", calls[replied])
    assert sent, calls[replied]
    ended = max(i for i, call in enumerate(calls[:replied]) if re.search(rf"(?:recvfrom|read)\({sent[1]}<", call))
    began = next(i for i, call in enumerate(calls) if name in call)
    assert began <= ended < replied
    return calls[ended:replied]


async def trace_of(service: Service, size: int) -> tuple[list[str], str]:
    """What was synced for a mail of that size, and its id."""
    file = service.folder / f"calls-{size}"
    (worker,) = service.workers()
    sent = mail(f"size{size}", size=size)
    with traced(worker, file):
        async with session(service.smtp_port) as client:
            reply = await client.send(sent)
    assert reply.startswith("250 2.0.0 Ok: queued as "), reply
    await asyncio.to_thread(eventually, lambda: service.queued() == 0)
    return synced(between_end_and_reply(file, sent.name)), reply.split()[-1]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service"), "{host: sandbox}") as found:
        yield found


async def test_a_mail_is_synced_before_it_is_acknowledged(service):
    paths, _ = await trace_of(service, 2_000)
    assert [path for path in paths if path.startswith(str(service.data / "spool")) and path.endswith("-wal")], paths


async def test_a_large_content_is_synced_with_its_name_before_its_mail_is(service):
    paths, id = await trace_of(service, LARGE)
    (spool,) = (service.data / "spool").glob("*.db")
    contents = spool.with_suffix(".contents")
    wanted = [str(contents.parent), str(contents / id), str(contents), f"{spool}-wal"]
    places = [paths.index(each) for each in wanted]
    assert places == sorted(places), paths
