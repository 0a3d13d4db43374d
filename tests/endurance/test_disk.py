"""A disk that is full, cannot be written, or has no descriptor left: mail waits at the client, none is lost, and the
service goes on by itself once there is room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.harness import eventually
from tests.endurance.crowd import LARGE, Arrived, Mail, keys_of, mail, session
from tests.endurance.service import QUICK, Service, at, running
from tests.fakes.smarthost import FakeSmarthost, Script

MB = 1024 * 1024
SPARE = 64 * MB
"""What the spool leaves free."""
AWAY = Script("421 4.3.2 not now")


@contextlib.contextmanager
def small_disk(place: Path, size: int = 40 * MB) -> Iterator[Path]:
    """A disk of its own, mounted at ``place``."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


async def fill(service: Service, names: Iterator[int], size: int, most: int) -> tuple[list[Mail], str]:
    """Send until a mail is refused: those that were acknowledged, and the refusal, empty where ``most`` went in."""
    taken: list[Mail] = []
    async with session(service.smtp_port) as client:
        for number in names:
            sent = mail(f"d{number}", size=size)
            reply = await client.send(sent)
            if not reply.startswith("250"):
                return taken, reply
            taken.append(sent)
            if len(taken) == most:
                return taken, ""
    raise AssertionError


async def all_arrive(service: Service, host: FakeSmarthost, taken: list[Mail], seconds: float = 60.0) -> None:
    """Every mail that was acknowledged arrives, once, and is counted once."""
    wanted, found = keys_of(taken), Arrived()
    await asyncio.to_thread(eventually, lambda: wanted <= found.take(host.messages).keys, seconds)
    await asyncio.to_thread(eventually, lambda: service.queued() == 0, seconds)
    found.take(host.messages)
    assert found.keys == wanted
    assert found.duplicates == 0

    def counted() -> bool:
        counts = {row["subject"]: (row["recipients"], row["sent"], row["pending"]) for row in service.rows()}
        return counts == {each.name: (len(each.recipients), len(each.recipients), 0) for each in taken}

    await asyncio.to_thread(eventually, counted, seconds)


async def test_a_disk_that_its_own_mail_has_filled_empties_by_itself(tmp_path):
    async with FakeSmarthost() as host:
        host.script["greeting"] = AWAY
        with (
            small_disk(tmp_path / "data", 320 * MB) as disk,
            running(tmp_path, at(host.port, ", max_connections: 4"), relay=QUICK) as service,
        ):
            pids, names = service.children(), count(1)
            (disk / "ballast").write_bytes(bytes(215 * MB))
            taken, _ = await fill(service, names, LARGE, 20)
            for size in (200_000, 2_000):  # these are kept in the database, which stays as large as it was
                more, refusal = await fill(service, names, size, 10_000)
                assert refusal.startswith("452 4.3.1"), refusal
                taken += more
            assert len(taken) > 100
            del host.script["greeting"]
            await asyncio.to_thread(eventually, lambda: service.queued() == 0, 40)
            # What others take meanwhile leaves room in the database alone.
            (disk / "more").write_bytes(bytes(max(0, free(disk) - SPARE + 10 * MB)))
            for _ in range(2):
                # Well under the 20 MB or so that are free there, so that it need not matter how soon they leave.
                more, refusal = await fill(service, names, 200_000, 50)
                assert (len(more), refusal) == (50, "")
                taken += more
                await asyncio.to_thread(eventually, lambda: service.queued() == 0, 40)
            await all_arrive(service, host, taken)
            assert service.children() == pids


@pytest.mark.parametrize("place", ["data", "data/spool"])
async def test_a_disk_that_others_have_filled(place, tmp_path):
    async with FakeSmarthost() as host:
        with small_disk(tmp_path / place) as disk, running(tmp_path, at(host.port), relay=QUICK) as service:
            pids, names = service.children(), count(1)
            taken, _ = await fill(service, names, 2_000, 10)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(65536))
            for size in (2_000, LARGE) * 2:
                more, refusal = await fill(service, names, size, 1000)
                assert refusal.startswith(("452 4.3.1", "451 4.3.0")), refusal
                taken += more
            ballast.unlink()
            for size in (2_000, LARGE):
                more, refusal = await fill(service, names, size, 5)
                assert (len(more), refusal) == (5, "")
                taken += more
            await all_arrive(service, host, taken)
            assert service.children() == pids


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


async def test_a_folder_that_cannot_be_written(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), by=WITHOUT_RIGHTS, relay=QUICK) as service:
            pids, names, spool = service.children(), count(1), service.data / "spool"
            taken, _ = await fill(service, names, LARGE, 2)
            await asyncio.to_thread(eventually, lambda: service.queued() == 0)
            (contents,) = spool.glob("*.contents")
            for folder in (contents, spool, service.data):
                folder.chmod(0o500)
            more, refusal = await fill(service, names, LARGE, 10)
            assert (more, refusal[:9]) == ([], "451 4.3.0")
            for folder in (service.data, spool, contents):
                folder.chmod(0o700)
            for size in (LARGE, 2_000):
                more, refusal = await fill(service, names, size, 3)
                assert (len(more), refusal) == (3, "")
                taken += more
            await all_arrive(service, host, taken)
            assert service.children() == pids


async def test_no_descriptor_left(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), by=["prlimit", "--nofile=64:64"], relay=QUICK) as service:
            pids, names = service.children(), count(1)
            async with session(service.smtp_port) as client:
                crowd = [await asyncio.open_connection("127.0.0.1", service.smtp_port) for _ in range(80)]
                await asyncio.sleep(0.3)
                taken = []
                for number, (size, expected) in zip(names, [(2_000, "250"), (LARGE, "451")] * 5, strict=False):
                    sent = mail(f"e{number}", size=size)
                    assert (await client.send(sent))[:3] == expected
                    taken += [sent] if expected == "250" else []
                for _, writer in crowd:
                    writer.close()
            more, refusal = await fill(service, names, LARGE, 5)
            assert (len(more), refusal) == (5, "")
            await all_arrive(service, host, taken + more)
            assert service.children() == pids
