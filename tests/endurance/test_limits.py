"""Limits hold for all relay processes together, and are free again when what used them has gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from tests.e2e.harness import eventually
from tests.endurance.crowd import Arrived, Crowd, Session, keys_of, mail, session
from tests.endurance.service import QUICK, Service, at, running
from tests.fakes.smarthost import FakeSmarthost, Script

RELAY = """\
workers: 2
max_message_size: 1MB
limits: {connections: 30, connections_per_address: 20, memory: 2MB}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service"), "{host: sandbox}", relay=RELAY + QUICK) as found:
        yield found


@contextlib.asynccontextmanager
async def guests(service: Service, *addresses: str) -> AsyncIterator[list[str]]:
    """A client from each address, one after the other; how each was greeted."""
    writers, greetings = [], []
    for address in addresses:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.smtp_port, local_addr=(address, 0))
        writers.append(writer)
        greetings.append((await reader.readline())[:9].decode())
    try:
        yield greetings
    finally:
        for writer in writers:
            writer.close()


async def all_gone(service: Service) -> None:
    """Wait until nobody is counted any more: then as many as may are let in."""
    for _ in range(100):
        async with guests(service, *["127.0.0.1"] * 20) as greetings:
            if all(each.startswith("220") for each in greetings):
                break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("those who left are still counted")
    await asyncio.sleep(0.1)


def holders(service: Service) -> list[int]:
    """How many clients each relay process has: its sockets, less those that it listens on or uses itself."""
    return [
        sum("socket:" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
        for pid in service.workers()
    ]


async def test_connections_of_one_address(service):
    await all_gone(service)
    async with guests(service, *["127.0.0.1"] * 25, *["127.0.0.2"] * 5) as greetings:
        assert [each.startswith("220") for each in greetings] == [True] * 20 + [False] * 5 + [True] * 5
        assert set(greetings[20:25]) == {"421 4.7.0"}
        assert min(holders(service)) > 3


async def test_connections_of_all(service):
    await all_gone(service)
    async with guests(service, *[f"127.0.0.{number % 3 + 1}" for number in range(40)]) as greetings:
        assert [each.startswith("220") for each in greetings] == [True] * 30 + [False] * 10


async def test_connections_of_a_process_that_died_are_free_again(service):
    await all_gone(service)
    for _ in range(2):
        async with guests(service, *["127.0.0.1"] * 20):
            service.kill(service.workers()[0])
            await asyncio.to_thread(eventually, lambda: len(service.workers()) == 2)
    await all_gone(service)


async def test_memory(service):
    await all_gone(service)
    octets = b"x" * 998 + b"\r\n"
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(service.smtp_port)) for _ in range(8)]
        for client in clients:
            await begun(client)
            client.writer.write(octets * 600)
        await asyncio.sleep(0.5)
        replies = await asyncio.gather(*(client.ask("\r\n.") for client in clients))
        assert {reply[:9] for reply in replies} == {"250 2.0.0", "452 4.3.1"}
        assert 2 <= sum(reply.startswith("250") for reply in replies) <= 4
        for client in clients:
            assert (await client.send(mail("after", size=300_000))).startswith("250")


async def begun(client: Session) -> None:
    for line in ("MAIL FROM:<news@example.com>", "RCPT TO:<ann@example.net>", "DATA"):
        assert (await client.ask(line))[:3] in ("250", "354")


async def test_connections_to_the_smarthost(tmp_path):
    async with FakeSmarthost() as host:
        relay = f"workers: 2\n{QUICK}"
        with running(tmp_path, at(host.port, ", max_connections: 3"), relay=relay) as service:
            host.script["after"] = Script("trickle")
            crowd, found = Crowd(service.smtp_port), Arrived()
            async with crowd:
                await crowd.until(60)
            wanted = keys_of(crowd.acknowledged)
            await asyncio.to_thread(eventually, lambda: wanted <= found.take(host.messages).keys, 30)
            assert host.most_open == 3
            await asyncio.to_thread(eventually, lambda: service.queued() == 0)


async def test_the_spool(tmp_path):
    async with FakeSmarthost() as host:
        host.script["greeting"] = Script("421 4.3.2 not now")
        with running(tmp_path, at(host.port), relay=f"workers: 2\nlimits: {{spool: 1MB}}\n{QUICK}") as service:
            taken = []
            for number in range(60):
                async with session(service.smtp_port) as client:
                    sent = mail(f"s{number}", size=40_000)
                    reply = await client.send(sent)
                    if not reply.startswith("250"):
                        break
                    taken.append(sent)
            assert reply.startswith("452 4.3.1")
            assert 20 <= len(taken) <= 25
            refused = "MAIL FROM:<news@example.com> SIZE=900000"
            for _ in range(4):
                async with session(service.smtp_port) as client:
                    assert (await client.ask(refused)).startswith("452 4.3.1")
            del host.script["greeting"]
            await asyncio.to_thread(eventually, lambda: service.queued() == 0, 20)
            await asyncio.sleep(0.2)
            for _ in range(8):  # to both processes
                async with session(service.smtp_port) as client:
                    assert (await client.ask(refused)).startswith("250 2.1.0")
