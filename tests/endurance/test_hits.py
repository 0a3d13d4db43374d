"""Hits over HTTP while the tracker is killed: those that were answered are counted, and each of them once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path

import pytest

from relay.keys import new_signing_key
from tests.e2e.harness import eventually
from tests.endurance.service import Service, running
from tests.tracker.audit import audited
from tests.tracker.facts import BROWSER
from tracker.model import LinkType, new_id
from tracker.store.base import ReportFilter
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click, Keyring, Open, parse_key

VISITORS, PEOPLE = 20, 500
PATIENCE = 0.045
"""An answer that took no longer than this did not go out before its hit was on disk (50 ms)."""


class Crowd:
    """Visitors who each follow links of their own, one after the other."""

    def __init__(self, service: Service, paths: list[str]) -> None:
        self._service = service
        self._paths = paths
        self._left = iter(range(len(paths)))
        self.sent = 0
        self.answered: dict[int, float] = {}
        self.done = False

    async def run(self) -> None:
        await asyncio.gather(*(self._visit() for _ in range(VISITORS)))
        self.done = True

    async def _visit(self) -> None:
        number = next(self._left, None)
        while number is not None:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._service.http_port)
                with contextlib.closing(writer):
                    while number is not None:
                        asked, number = number, next(self._left, None)  # each is asked for once, come what may
                        await self._ask(reader, writer, asked)
                    return
            await asyncio.sleep(0.05)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.sent += 1
        began = time.monotonic()
        writer.write(f"GET {self._paths[number]} HTTP/1.1\r\nHost: t\r\nUser-Agent: {BROWSER}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split()[1] in (b"200", b"302"), head
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        self.answered[number] = time.monotonic() - began


async def counted(folder: Path, hits: int, kills: int) -> None:
    """Have so many hits made while the tracker is killed so many times."""
    key = new_signing_key()
    keyring = Keyring([parse_key(key)])
    messages = [new_id() for _ in range(hits // PEOPLE + 1)]
    claims = [(messages[n // PEOPLE], n % PEOPLE + 1, n % 3) for n in range(hits)]
    paths = [
        f"/c/{keyring.seal(Click(message, who, link, f'https://example.com/{link}', LinkType.TRACKED))}"
        if link
        else f"/o/{keyring.seal(Open(message, who))}.gif"
        for message, who, link in claims
    ]
    with running(folder, "{host: sandbox}", top=f"signing_keys: [{key}]\n") as service:
        crowd = Crowd(service, paths)
        visiting = asyncio.create_task(crowd.run())
        for turn in range(kills):
            while len(crowd.answered) < hits * (turn + 1) // (kills + 1) and not crowd.done:
                await asyncio.sleep(0.01)
            with contextlib.suppress(ValueError):  # it has not come up again yet
                service.kill(await asyncio.to_thread(service.tracker))
        await visiting
        await asyncio.to_thread(eventually, lambda: service.web.get("/readyz").status_code == 200, 60)
        await asyncio.to_thread(eventually, lambda: _waits_for_nothing(service), 120)
        report = service.web.get("/api/v1/reports/live").json()
        assert service.stop() == 0
    with contextlib.closing(sqlite3.connect(folder / "data" / "tracepost.db")) as db:
        rows = db.execute("SELECT message, recipient, coalesce(position, 0), counts FROM events WHERE class = 'human'")
        found = [(message, who, position) for message, who, position, counts in rows if json.loads(counts)]
    assert len(found) == len(set(found))
    numbers = {(str(message), who, link): number for number, (message, who, link) in enumerate(claims)}
    kept = {numbers[each] for each in found}
    lost = {number for number, took in crowd.answered.items() if number not in kept}
    assert [crowd.answered[number] for number in lost if crowd.answered[number] < PATIENCE] == []
    assert len(crowd.answered) > hits * 0.9
    assert len(kept) <= crowd.sent
    store = SqliteStore(folder / "data" / "tracepost.db")
    audited(store)
    totals = store.totals(ReportFilter(), 0, 4e9)
    assert totals["opens"] + totals["clicks"] == len(kept)
    assert totals["unique_opens"] + totals["unique_clicks"] == len(kept)
    assert report["totals"]["opens"] + report["totals"]["clicks"] == len(kept)
    store.close()


def _waits_for_nothing(service: Service) -> bool:
    with contextlib.suppress(IndexError, OSError):
        return service.metric("journal_facts") == service.metric("store_waiting_facts") == 0
    return False


async def test_hits_that_were_answered_are_counted_though_the_tracker_is_killed(tmp_path: Path) -> None:
    await counted(tmp_path, 5_000, 3)


@pytest.mark.long
async def test_a_hundred_thousand_hits_that_were_answered_are_counted(tmp_path: Path) -> None:
    await counted(tmp_path, 100_000, 12)
