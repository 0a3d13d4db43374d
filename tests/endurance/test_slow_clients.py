"""Clients that send an octet now and then are many, and others do not notice."""

from __future__ import annotations

import asyncio
import statistics
import time

from tests.endurance.crowd import mail, session
from tests.endurance.service import running

SLOW = 1_000
PROBES = 200
RELAY = "limits: {connections: 1100, connections_per_address: 1100}\n"
FEW_AT_FIRST = ["prlimit", "--nofile=512:16384"]
"""As many systems have it: few descriptors, many for who asks."""


async def slowly(port: int, there: asyncio.Semaphore, over: asyncio.Event) -> bool:
    """A client in the midst of its mail, ten times as fast as one octet in 10 s; whether it was there to the end."""
    async with session(port) as client:
        for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<ann@example.net>", "DATA"):
            await client.ask(line)
        there.release()
        while not over.is_set():
            client.writer.write(b"x")
            await asyncio.sleep(1.0)
        return not client.reader.at_eof()


async def test_a_thousand_slow_clients_are_not_noticed(tmp_path):
    with running(tmp_path, "{host: sandbox}", by=FEW_AT_FIRST, relay=RELAY) as service:
        there, over = asyncio.Semaphore(0), asyncio.Event()
        slow = []
        for number in range(SLOW):
            slow.append(asyncio.create_task(slowly(service.smtp_port, there, over)))
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        for _ in range(SLOW):
            await there.acquire()
        took = []
        for number in range(PROBES):
            began = time.monotonic()
            async with session(service.smtp_port) as client:
                assert (await client.send(mail(f"p{number}"))).startswith("250")
            took.append(time.monotonic() - began)
        over.set()
        assert all(await asyncio.gather(*slow))
    assert statistics.quantiles(took, n=100)[98] < 1.0
