"""The webhooks process beside the others: started when it is needed, killed at any moment, told to reload."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.harness import in_time
from tests.endurance.crowd import mail, session
from tests.endurance.service import QUICK, Service, at, open_files, running
from tests.fakes.smarthost import FakeSmarthost
from tests.webhooks.receiver import Receiver, Reply
from tracker.webhooks.delivering import Limits


def webhooks(*urls: str, **more: object) -> str:
    options = "".join(f", {name}: {value}" for name, value in more.items())
    return "webhooks:\n" + "".join(f"- {{url: '{url}', allow_private: true{options}}}\n" for url in urls)


def process(service: Service) -> int | None:
    """The process that delivers: the one that has the store open, and neither spool nor journal."""
    found = [
        pid
        for pid in service.children()
        if (files := open_files(pid))
        and not any(".lock" in each for each in files)
        and any("tracepost.db" in each for each in files)
    ]
    return found[0] if found else None


def keys(service: Service) -> set[str]:
    """The endpoints that will be told of what comes from now on."""
    with contextlib.closing(sqlite3.connect(f"file:{service.data / 'tracepost.db'}?mode=ro", uri=True)) as db:
        return {key for (key,) in db.execute("SELECT endpoint FROM webhook_endpoints")}


def begun(service: Service) -> bool:
    return bool(keys(service))


async def send(service: Service, *names: str) -> None:
    async with session(service.smtp_port) as client:
        for name in names:
            assert (await client.send(mail(name))).startswith("250")


def told(host: Receiver) -> dict[str, list[tuple[str, str]]]:
    """The events of each mail, by its Message-ID, each with its id, in the order in which they came."""
    found: dict[str, list[tuple[str, str]]] = {}
    for request in host.requests:
        event = request.json
        found.setdefault(event["data"]["message_id"], []).append((event["type"], request.id))
    return found


def complete(host: Receiver, count: int) -> bool:
    life = {"queued", "sent"}
    return sum({name for name, _ in events} == life for events in told(host).values()) == count


async def test_nothing_is_lost_and_little_repeated_whoever_is_killed(tmp_path: Path) -> None:
    async with FakeSmarthost() as smarthost, Receiver() as host:
        host.usual = Reply(delay=0.02)
        with running(tmp_path, at(smarthost.port), relay=QUICK, tracker=webhooks(host.url)) as service:
            await in_time(lambda: begun(service))
            kills = 0
            for round in range(4):
                await send(service, *(f"mail{round}-{number}" for number in range(25)))
                before = len(host.requests)
                await in_time(lambda before=before: len(host.requests) > before + 5, 60)
                if round == 2:
                    service.kill(service.pid, *service.children())
                    await asyncio.to_thread(service.wait)
                    await asyncio.to_thread(service.start)
                else:
                    pid = await in_time(lambda: process(service))
                    service.kill(pid)
                kills += 1
            await in_time(lambda: complete(host, 100), 90)
            assert len(told(host)) == 100
            for events in told(host).values():
                names = [name for name, _ in events]
                assert names.index("queued") < names.index("sent")
                assert len(set(events)) == 2
            extra = sum(count - 1 for count in Counter(request.id for request in host.requests).values())
            assert extra <= kills * Limits().concurrency


async def test_the_process_is_there_where_there_is_something_to_deliver(tmp_path: Path) -> None:
    async with FakeSmarthost() as smarthost, Receiver() as one, Receiver() as two:
        with running(tmp_path, at(smarthost.port), relay=QUICK) as service:
            assert process(service) is None
            processes = len(service.children())
            service.configure(relay=QUICK, tracker=webhooks(one.url))
            service.hang_up()
            await in_time(lambda: process(service))
            assert len(service.children()) == processes + 1
            await in_time(lambda: begun(service))
            await send(service, "first")
            await in_time(lambda: complete(one, 1))
            before = keys(service)
            service.configure(relay=QUICK, tracker=webhooks(two.url, events="[sent]"))
            service.hang_up()
            await in_time(lambda: "the webhooks are reloaded" in service.log)
            await in_time(lambda: keys(service) not in (set(), before))
            await send(service, "second")
            await in_time(lambda: two.requests)
            assert [request.json["type"] for request in two.requests] == ["sent"]
            assert len(one.requests) == 2
            delivered = 'webhooks_delivered_total{endpoint="0"} 1.0'  # it is noted after the answer
            await in_time(lambda: delivered in service.web.get("/metrics").text)
            assert service.stop() == 0


async def test_hits_and_mail_are_told_of_by_whom_they_concern(tmp_path: Path) -> None:
    """A whole life over the wire: accepted, sent, opened and clicked; a machine's hit is not told of."""
    async with FakeSmarthost() as smarthost, Receiver() as host:
        with running(tmp_path, at(smarthost.port), relay=QUICK, tracker=webhooks(host.url)) as service:
            await in_time(lambda: begun(service))
            await send(service, "life")
            content = await in_time(lambda: next((each.content for each in smarthost.messages), b""))
            await in_time(lambda: complete(host, 1))
            path = content.split(b"http://track.test/c/")[1].split(b'"')[0].decode()
            agents = ("curl/8", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
            for agent in agents:
                await asyncio.to_thread(service.web.get, f"/c/{path}", headers={"User-Agent": agent})
            await in_time(lambda: len(host.requests) == 3)
            event: dict[str, Any] = host.requests[2].json
            assert event["type"] == "clicked"
            assert event["data"]["recipient"]
            assert (event["data"]["class"], event["data"]["first"]) == ("human", True)
