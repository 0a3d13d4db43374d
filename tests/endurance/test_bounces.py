"""Mail that comes back while processes are killed: nothing that was taken is lost, and it counts once."""

from __future__ import annotations

import asyncio
import re
import smtplib
import sqlite3
from contextlib import closing, suppress

import pytest

from tests.bounces.test_variants import FAILED, dsn
from tests.endurance.service import QUICK, Service, at, running
from tests.fakes.smarthost import FakeSmarthost, Script

SENDERS = '- {match: "*", bounces: {address: "bounces+{token}@bounces.test"}}\n'
PEOPLE = [f"person{number}@example.net" for number in range(12)]
MAIL = b"From: News <news@example.com>\r\nMessage-ID: <m@example.com>\r\nDate: now\r\n\r\nHello\r\n"
APP = b"<app@example.com>"


def send(service: Service, content: bytes, sender: str, *people: str) -> None:
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        assert client.sendmail(sender, list(people), content) == {}


def report(address: str) -> bytes:
    return dsn(FAILED % ("5.1.1", f"550 5.1.1 nobody for {address[8:30]}"))


def send_back(service: Service, addresses: list[str]) -> list[str]:
    """Return a mail for each of these addresses; those for which it was taken."""
    taken = []
    for address in addresses:
        with suppress(smtplib.SMTPException, OSError):
            send(service, report(address), "", address)
            taken.append(address)
    return taken


async def sent(service: Service, host: FakeSmarthost) -> list[str]:
    """The reverse-paths of the copies of one mail, all of them delivered and known to the store."""
    await asyncio.to_thread(send, service, MAIL, "app@example.com", *PEOPLE)
    await until(lambda: sum(row["delivered"] for row in service.rows()) == len(PEOPLE))
    return [re.match(rb"<([^>]+)>", each.mail)[1].decode() for each in host.messages]


async def until(probe, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(probe):
            await asyncio.sleep(0.1)


def passed_on(host: FakeSmarthost) -> list[bytes]:
    """Which reports went on to the app."""
    found = [each.content for each in host.messages if each.recipients == [APP]]
    return [re.search(rb"nobody for (\S+)", content)[1] for content in found]


async def settle(service: Service, host: FakeSmarthost, addresses: list[str]) -> None:
    """Every one of them is counted once, and the app heard of each."""
    await until(lambda: [row["bounced"] for row in service.rows()] == [len(addresses)])
    await until(lambda: service.queued() == 0 and service.metric("queue_facts") == 0)
    (row,) = service.rows()
    assert (row["sent"], row["delivered"], row["bounced"]) == (
        len(PEOPLE),
        len(PEOPLE) - len(addresses),
        len(addresses),
    )
    events = service.web.get(f"/api/v1/messages/{row['id']}/events", params={"limit": 1000}).json()["items"]
    assert sum(each["type"] == "bounced" for each in events) == len(addresses)
    assert {each.decode() for each in passed_on(host)} == {address[8:30] for address in addresses}


async def kill_and_start(service: Service) -> None:
    service.kill(service.pid, *service.children())
    await asyncio.to_thread(service.start)


async def test_what_was_taken_is_counted_and_passed_on_after_a_kill(tmp_path):
    script = {"rcpt": Script("451 4.3.0 not now", when=lambda line: b"app@" in line)}
    async with FakeSmarthost(script=script) as host:
        with running(tmp_path, at(host.port), relay=QUICK, senders=SENDERS) as service:
            addresses = await sent(service, host)
            assert await asyncio.to_thread(send_back, service, addresses[:1]) == addresses[:1]
            db = sqlite3.connect(service.data / "tracepost.db", isolation_level=None, check_same_thread=False)
            with closing(db):
                db.execute("BEGIN IMMEDIATE")  # the store can be read, and takes nothing
                assert await asyncio.to_thread(send_back, service, addresses[:6]) == addresses[:6]
                assert await asyncio.to_thread(send_back, service, addresses[:3]) == addresses[:3]
                service.kill(service.pid, *service.children())
            await asyncio.to_thread(service.start)
            await until(lambda: [row["bounced"] for row in service.rows()] == [6])
            await kill_and_start(service)
            assert passed_on(host) == []
            host.script.clear()
            await settle(service, host, addresses[:6])
            assert service.metric("notifications_dropped_total") == 0


async def test_bounces_amid_kills_count_once(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}", senders=SENDERS) as service:
            addresses = await sent(service, host)
            left = list(addresses)
            for round in range(4):
                returning = asyncio.create_task(asyncio.to_thread(send_back, service, left))
                await asyncio.sleep(0.02 + 0.03 * round)
                await kill_and_start(service)
                taken = await returning
                left = [address for address in left if address not in taken]
            assert await asyncio.to_thread(send_back, service, left) == left
            await settle(service, host, addresses)


@pytest.mark.parametrize("delivery", ["queue", "proxy"])
async def test_the_same_bounce_twice_counts_once_and_a_forged_one_never(tmp_path, delivery):
    async with FakeSmarthost() as host:
        relay = f"delivery: {delivery}\n{QUICK}"
        with running(tmp_path, at(host.port), relay=relay, senders=SENDERS) as service:
            addresses = await sent(service, host)
            assert await asyncio.to_thread(send_back, service, addresses[:1] * 2) == addresses[:1] * 2
            forged = [addresses[1].replace("+", "+a"), addresses[1][:-20] + "@bounces.test"]
            assert await asyncio.to_thread(send_back, service, forged) == []
            await settle(service, host, addresses[:1])
            assert len(passed_on(host)) == 2
            assert len({each.mail for each in host.messages}) == len(PEOPLE) + 1
