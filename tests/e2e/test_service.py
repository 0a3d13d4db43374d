"""The service through what befalls it: killed, reconfigured, full, given another machine's files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.dispatch.spool import claim
from tests.dispatch.queued import mail
from tests.e2e.client import connected
from tests.e2e.harness import Tracepost, family, free_port, in_time, queued_as, serving
from tests.fakes.smarthost import FakeSmarthost, Script

CONTENT = b"From: %s\r\nMessage-ID: <%s@x.test>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\n%s\r\n"
RETRY = "retry: {first: 1s, longest: 2s, give_up_after: 1h}\n"


def smarthost(host: FakeSmarthost | int) -> str:
    port = host if isinstance(host, int) else host.port
    return f"{{host: 127.0.0.1, port: {port}, tls: none, timeout: 2s}}"


@contextlib.asynccontextmanager
async def relaying(
    folder: Path, script: dict[str, Script] | None = None, **named: str
) -> AsyncIterator[tuple[Tracepost, FakeSmarthost]]:
    """A service and the smarthost that it relays to."""
    async with FakeSmarthost(script=script or {}) as host, serving(folder, smarthost(host), **named) as service:
        yield service, host


async def submit(service: Tracepost, name: str, sender: str = "news@example.com", filling: bytes = b"x") -> str:
    async with connected(service.smtp_port) as client:
        content = CONTENT % (sender.encode(), name.encode(), filling)
        return queued_as(await asyncio.to_thread(client.send, content))


def names(host: FakeSmarthost) -> list[str]:
    """The mails that a smarthost has taken, by their Message-ID."""
    found = [re.search(rb"Message-ID: <([^@]+)@", each.content) for each in host.messages]
    return [match[1].decode() for match in found if match is not None]


def queue(service: Tracepost, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relay.cli", "queue", *arguments, "-c", str(service.folder / "config.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def reconfigure(service: Tracepost, old: str, new: str) -> None:
    file = service.folder / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    service.process.send_signal(signal.SIGHUP)


def logged(service: Tracepost, words: str) -> int:
    return (service.folder / "log").read_text().count(words)


async def test_killed_amid_its_work_it_loses_nothing_that_it_took(tmp_path):
    async with FakeSmarthost() as host:
        told: list[str] = []

        async def pour(service: Tracepost, number: int) -> None:
            with contextlib.suppress(OSError, AssertionError):  # it is killed amid this
                async with connected(service.smtp_port) as client:
                    for count in range(10_000):
                        name = f"{len(told)}-{number}-{count}"
                        content = CONTENT % (b"news@example.com", name.encode(), b"x" * 300_000 * (count % 20 == 0))
                        queued_as(await asyncio.to_thread(client.send, content))
                        told.append(name)

        for _ in range(2):
            before = len(told)
            with contextlib.suppress(AssertionError):
                async with serving(tmp_path, smarthost(host), relay="workers: 2") as service:
                    pouring = [asyncio.create_task(pour(service, number)) for number in range(4)]
                    while len(told) < before + 60:
                        await asyncio.sleep(0.01)
                    for pid in reversed(family(service.process.pid)):
                        os.kill(pid, signal.SIGKILL)
                    await asyncio.gather(*pouring)
        async with serving(tmp_path, smarthost(host), relay="workers: 2") as service:
            await in_time(service.settled, 60)
            assert set(told) <= set(names(host))
            # only what was under way at a kill may come twice: with 2 workers, 40 copies to a host at most
            assert len(names(host)) - len(set(names(host))) <= 2 * 2 * 40
            row = await in_time(lambda: service.message(f"<{told[0]}@x.test>"))
            assert (row["sent"], row["pending"]) == (1, 0)


async def test_a_worker_that_is_killed_is_replaced_and_its_mail_goes_on(tmp_path):
    async with relaying(tmp_path, {"mail": Script("hang")}, relay="workers: 2\n" + RETRY) as (service, host):
        ids = [await submit(service, f"m{number}") for number in range(10)]
        assert len(set(ids)) == 10
        for pid in family(service.process.pid)[1:]:
            os.kill(pid, signal.SIGKILL)
        host.script.clear()
        await in_time(lambda: len(set(names(host))) == 10)
        await submit(service, "afterwards")
        await in_time(service.settled)
        assert set(names(host)) == {*(f"m{number}" for number in range(10)), "afterwards"}


async def make_file(data_dir: Path, *mails) -> Path:
    """A spool file that nobody holds."""
    spool = claim(data_dir, (), fresh=True)
    assert spool is not None
    await spool.open()
    for each in mails:
        await spool.accept(each, in_hand=True)
    await spool.close()
    return spool.path


async def test_another_machines_file_is_adopted_and_removed_once_empty_whatever_ails_another(tmp_path):
    folder = tmp_path / "data" / "spool"
    carried = mail("ann@x.test", profile="", content=CONTENT % (b"a@x.test", b"carried", b"x" * 300_000))
    path = await make_file(tmp_path / "data", carried)
    path.rename(folder / "zz.db")
    path.with_suffix(".contents").rename(folder / "zz.contents")
    path.with_suffix(".lock").unlink()
    (folder / "00.db").write_bytes(b"this is no spool file, whatever its name says" * 100)
    (folder / "01.db").touch()  # the worker's own
    async with FakeSmarthost() as host:
        async with serving(tmp_path, smarthost(host)) as service:
            await submit(service, "fresh")
            await in_time(lambda: sorted(names(host)) == ["carried", "fresh"])
            await in_time(lambda: not list(folder.glob("zz.*")))
            assert logged(service, "a spool file is adopted") == 1
            assert logged(service, "a spool file cannot be opened") == 1
            await submit(service, "afterwards")
            await in_time(lambda: names(host)[-1] == "afterwards")
        assert (folder / "00.db").read_bytes().startswith(b"this is no spool file")


async def test_a_full_spool_says_so_and_takes_mail_again_once_there_is_room(tmp_path):
    async with relaying(tmp_path, {"greeting": Script("drop")}, relay=RETRY + "limits: {spool: 1MB}") as (
        service,
        host,
    ):
        filling = b"x" * 300_000
        for number in range(3):
            await submit(service, f"m{number}", filling=filling)
        async with connected(service.smtp_port) as client:
            content = CONTENT % (b"news@example.com", b"toomuch", filling)
            assert (await asyncio.to_thread(client.send, content)).startswith(b"452 4.3.1")
        await submit(service, "small")
        first = await first_of(service, "m0")
        await in_time(lambda: queue(service, "remove", first).returncode == 0)
        await in_time(lambda: service.metric("queue_octets") < 700_000)
        await asyncio.sleep(1.5)  # a worker notices within a second
        await submit(service, "m3", filling=filling)
        host.script.clear()
        await in_time(service.settled)
        await submit(service, "m4", filling=filling)
        await in_time(service.settled)
        assert sorted(names(host)) == ["m1", "m2", "m3", "m4", "small"]


async def first_of(service: Tracepost, name: str) -> str:
    """The queue's id of a mail."""
    return str((await asyncio.to_thread(service.message, f"<{name}@x.test>"))["id"])


async def test_the_queue_is_seen_and_moved_beside_the_running_service(tmp_path):
    async with relaying(
        tmp_path, {"rcpt": Script("451 4.2.2 mailbox full")}, relay="retry: {first: 1h, longest: 1h}"
    ) as (service, host):
        first, second = [await submit(service, name) for name in ("first", "second")]
        await in_time(lambda: queue(service, "list").stdout.count("451 4.2.2 mailbox full") == 2)
        shown = queue(service, "show", first)
        assert "ann@example.net: 451 4.2.2 mailbox full (1 tries" in shown.stdout
        assert queue(service, "remove", first).stdout == f"{first}: removed\n"
        assert queue(service, "remove", first).returncode == 1
        host.script.clear()
        await asyncio.sleep(1.5)
        assert not host.messages
        assert queue(service, "retry").stdout == "1 mail is tried again\n"
        await in_time(lambda: names(host) == ["second"])
        await in_time(service.settled)
        row = await asyncio.to_thread(service.message, "<first@x.test>")
        assert (row["sent"], row["errors"], row["pending"]) == (0, 1, 0)
        assert "The queue is empty." in queue(service, "list").stdout
        assert second in (service.folder / "log").read_text()


async def test_a_wrong_file_at_a_hangup_changes_nothing(tmp_path):
    async with FakeSmarthost() as host, serving(tmp_path, smarthost(host)) as service:
        await submit(service, "before")
        for wrong in ("relay:\n  lisen: x\n", "relay:\n  tls: {certificate: config.yaml, key: config.yaml}\n"):
            errors = logged(service, "the configuration is not reloaded")
            reconfigure(service, "relay:\n", wrong + "  allow_networks: []\n")
            await in_time(lambda errors=errors: logged(service, "the configuration is not reloaded") > errors)
            await submit(service, "after")
            file = service.folder / "config.yaml"
            file.write_text(file.read_text().replace(wrong + "  allow_networks: []\n", "relay:\n"))
        await in_time(lambda: names(host) == ["before", "after", "after"])
        reconfigure(service, "relay:\n", "relay:\n  max_message_size: 1KB\n")
        await in_time(lambda: logged(service, "the configuration is reloaded") == 1)
        async with connected(service.smtp_port) as client:
            reply = await asyncio.to_thread(client.send, CONTENT % (b"a@x.test", b"x", b"x" * 2000))
            assert reply.startswith(b"552 5.3.4")


async def test_mail_of_a_smarthost_that_is_gone_from_the_configuration_goes_the_usual_way(tmp_path):
    own = f"- match: '*@own.test'\n  smarthost: {smarthost(free_port())}\n"
    async with FakeSmarthost() as host, serving(tmp_path, smarthost(host), senders=own, relay=RETRY) as service:
        await submit(service, "waits", sender="news@own.test")
        await submit(service, "goes")
        await in_time(lambda: names(host) == ["goes"])
        await in_time(lambda: service.metric("smarthosts_failing") == 1)
        reconfigure(service, f"    smarthost: {smarthost(int(own.split('port: ')[1].split(',')[0]))}\n", "")
        await in_time(service.settled)
        assert names(host) == ["goes", "waits"]
        assert service.metric("smarthosts_failing") == 0


@pytest.mark.parametrize("workers", [1, 3])
async def test_it_ends_in_order_with_mail_under_way(tmp_path, workers):
    async with FakeSmarthost() as host:
        async with serving(tmp_path, smarthost(host), relay=f"workers: {workers}") as service:
            ids = [await submit(service, f"m{number}") for number in range(30)]
            service.process.terminate()
            assert await asyncio.to_thread(service.process.wait, 30) == 0
        assert len(set(ids)) == 30
        taken = names(host)
        async with serving(tmp_path, smarthost(host), relay=f"workers: {workers}") as service:
            await in_time(service.settled)
        assert sorted(names(host)) == sorted(f"m{number}" for number in range(30))
        assert len(taken) <= 30
