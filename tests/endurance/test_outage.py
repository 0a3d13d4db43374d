"""The smarthost or the store away for a while: mail is taken all the same, waits, and is sent and counted once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.e2e.harness import eventually
from tests.endurance.crowd import Arrived, Crowd, keys_of, mail, session
from tests.endurance.service import QUICK, Service, at, resident, running
from tests.fakes.smarthost import FakeSmarthost, Script

CONNECTIONS = 8
MB = 1024 * 1024
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}


def totals(service: Service) -> Counter[str]:
    """The counts of all mails together."""
    found: Counter[str] = Counter()
    for row in service.rows():
        found.update({name: row[name] for name in ("recipients", "pending", "sent", "bounced", "errors")})
    return found


def try_again(service: Service) -> None:
    """Have the smarthost tried now, as an operator does: the first mail of each spool file is made due."""
    command = [sys.executable, "-m", "relay.cli", "queue", "-c", str(service.folder / "config.yaml")]
    listed = [*command[:4], "list", *command[4:], "--json"]
    mails = json.loads(subprocess.run(listed, check=True, capture_output=True, timeout=60).stdout)
    first = {}
    for path in (service.data / "spool").glob("*.db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            held = {id for (id,) in db.execute("SELECT id FROM messages")}
        first[path] = next((each["id"] for each in mails if each["id"] in held), None)
    ids = [each for each in first.values() if each]
    subprocess.run([*command[:4], "retry", *command[4:], *ids], check=False, capture_output=True, timeout=60)


class Watched(FakeSmarthost):
    """Notes how many mails were taken whenever a connection is opened, and which mail came when."""

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened = [*getattr(self, "opened", []), len(self.messages)]
        await super()._client(reader, writer)


@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_a_long_queue(count, tmp_path):
    async with Watched(listening=False) as host:
        smarthost = at(host.port, f", max_connections: {CONNECTIONS}")
        with running(tmp_path, smarthost, relay=f"workers: 2\n{QUICK}") as service:
            crowd = Crowd(service.smtp_port, mails=(mail(f"q{number}", size=500) for number in itertools.count()))
            async with crowd:
                await crowd.until(count)
            mails = crowd.acknowledged
            assert max(map(resident, service.workers())) < 200 * MB
            waiting = {"recipients": len(mails), "pending": len(mails)}
            await asyncio.to_thread(eventually, lambda: +totals(service) == waiting, 60)
            assert await asyncio.to_thread(service.stop) == 0  # while the smarthost is away
            await asyncio.to_thread(service.start)
            assert +totals(service) == waiting
            assert service.queued() == len(mails)
            await host.listen()
            began = time.monotonic()
            await asyncio.to_thread(try_again, service)
            most = 0
            while len(host.messages) < len(mails):
                most = max(most, *map(resident, service.workers()))
                assert time.monotonic() - began < 120
                await asyncio.sleep(0.1)
            assert most < 200 * MB
            assert 2 < host.most_open <= CONNECTIONS
            # Each process begins with one connection, and at most doubles them with each mail that is taken.
            ramp = list(enumerate(host.opened, 1))
            assert all(number <= 2**taken + 1 for number, taken in ramp), ramp
            order = [int(each.content.split(b"Message-ID: <q")[1].split(b"@")[0]) for each in host.messages]
            ranks = {int(each.name[1:]): rank for rank, each in enumerate(mails)}
            late = [abs(place - ranks[number]) for place, number in enumerate(order)]
            # oldest first, as far as two processes that are not equally fast allow
            assert max(late) < max(300, count // 10)
            found = Arrived().take(host.messages)
            assert (found.keys, found.duplicates) == (keys_of(mails), 0)
            sent = {"recipients": len(mails), "sent": len(mails)}
            await asyncio.to_thread(eventually, lambda: +totals(service) == sent, 60)
            assert service.queued() == 0


async def send(service: Service, host: FakeSmarthost, names: range) -> None:
    """Mails that arrive although the store is away; each is opened."""
    async with session(service.smtp_port) as client:
        for number in names:
            assert (await client.send(mail(f"a{number}"))).startswith("250")
    await asyncio.to_thread(eventually, lambda: len(host.messages) == names.stop)
    for message in host.messages[names.start :]:
        path = re.search(rb"http://track\.test(/c/[\w-]+)", message.content)
        assert path
        answer = await asyncio.to_thread(service.web.get, path[1].decode(), headers=BROWSER)
        assert answer.status_code == 302


async def all_counted(service: Service, count: int) -> None:
    expected = {f"a{number}": (1, 1, 0, 1, 1) for number in range(count)}
    names = ("recipients", "sent", "pending", "clicks", "unique_clicks")

    def counted() -> bool:
        answer = service.web.get("/api/v1/messages", params={"limit": 1000})
        rows = answer.json()["items"] if answer.status_code == 200 else []
        return {row["subject"]: tuple(row[name] for name in names) for row in rows} == expected

    await asyncio.to_thread(eventually, counted, 30)


async def test_the_store_is_replaced_by_something_else(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            await send(service, host, range(10))
            await all_counted(service, 10)
            store, aside = service.data / "tracepost.db", tmp_path / "aside"
            aside.mkdir()
            for path in service.data.glob("tracepost.db*"):
                path.rename(aside / path.name)
            store.mkdir()
            await send(service, host, range(10, 30))
            assert service.web.get("/readyz").status_code == 503
            service.kill(*service.workers())  # what is to be told waits on the disk
            await asyncio.to_thread(eventually, lambda: len(service.workers()) == 2)
            await send(service, host, range(30, 35))
            store.rmdir()
            for path in aside.iterdir():
                path.rename(service.data / path.name)
            await all_counted(service, 35)


async def test_the_store_is_locked_by_somebody_else(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            await send(service, host, range(10))
            with contextlib.closing(sqlite3.connect(service.data / "tracepost.db", isolation_level=None)) as db:
                db.execute("BEGIN EXCLUSIVE")
                began = time.monotonic()
                await send(service, host, range(10, 30))
                assert time.monotonic() - began < 5
                await asyncio.sleep(max(0.0, 6.5 - (time.monotonic() - began)))  # longer than anybody waits for a lock
                db.execute("ROLLBACK")
            await all_counted(service, 30)


async def test_a_smarthost_that_comes_back_after_a_restart(tmp_path):
    async with FakeSmarthost() as host:
        host.script["mail"] = Script("421 4.3.2 not now")
        with running(tmp_path, at(host.port), relay=QUICK) as service:
            mails = [mail(f"m{number}", ("ann@example.net", "bob@example.net")) for number in range(20)]
            async with session(service.smtp_port) as client:
                for each in mails:
                    assert (await client.send(each)).startswith("250")
            assert await asyncio.to_thread(service.stop) == 0
            assert not host.messages
            host.script.clear()
            await asyncio.to_thread(service.start)
            found = Arrived()
            await asyncio.to_thread(eventually, lambda: keys_of(mails) <= found.take(host.messages).keys, 20)
            await asyncio.to_thread(eventually, lambda: +totals(service) == {"recipients": 40, "sent": 40})
            assert found.duplicates == 0
