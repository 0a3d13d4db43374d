"""What was kept long enough goes, and nothing else: counts stay, links lead on, writers are not held up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.audit import audited
from tests.tracker.facts import NOW, accepted, hit, outcome
from tracker import retention
from tracker.errors import StoreError
from tracker.model import Fact, Link, LinkType, Recipient, Status
from tracker.retention import Retention
from tracker.store.base import MessageFilter, ReportFilter
from tracker.store.sqlite import SqliteStore

DAY = 86_400.0
COUNTS = ("recipients", "sent", "delivered", "bounced", "pending", "opens", "unique_opens", "clicks", "unique_clicks")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite", clock=lambda: NOW - 1000 * DAY)
    store.open()
    yield store
    store.close()


def history(store: SqliteStore, days: int, people: int = 2) -> list[Any]:
    """A message a day with its hits, recorded as they came; the first is today's."""
    messages: list[Any] = []
    for day in reversed(range(days)):
        at = NOW - day * DAY
        message = accepted(at=at, people=people)
        facts: list[Fact] = [message, outcome(message.id, 1, at=at + 1), outcome(message.id, 2, Status.BOUNCED, at + 1)]
        facts += [hit(message.id, 1, position, at + 60 + 20 * position) for position in range(3)]
        store.apply(facts)
        messages.insert(0, message)
    return messages


def kept(store: SqliteStore, events: float = 400 * DAY, recipients: float = 400 * DAY) -> Retention:
    kinds = {"events": (events, store.drop_events), "recipients": (recipients, store.drop_recipients)}
    return Retention(kinds, lambda: NOW + 600)


def counts(store: SqliteStore) -> dict[str, tuple[Any, ...]]:
    return {row["id"]: tuple(row[name] for name in COUNTS) for row in store.messages(MessageFilter(), 1000).rows}


async def test_events_past_their_time_go_and_counts_stay(store: SqliteStore) -> None:
    messages = history(store, 30)
    before, totals = counts(store), store.totals(ReportFilter(), 0, NOW * 2)
    assert totals["opens"] == 30
    assert await kept(store, events=10 * DAY).round() == {"events": 20 * 6, "recipients": 0}
    assert store.totals(ReportFilter(), 0, NOW * 2) == totals
    left = store.events(1000).rows
    assert {event["message"] for event in left} == {str(message.id) for message in messages[:10]}
    assert len(left) == 10 * 6
    assert counts(store) == before
    assert await kept(store, events=10 * DAY).round() == {"events": 0, "recipients": 0}


async def test_people_past_their_time_go_and_counts_stay(store: SqliteStore) -> None:
    messages = history(store, 30)
    before = counts(store)
    assert await kept(store, recipients=10 * DAY).round() == {"events": 0, "recipients": 20}
    for number, message in enumerate(messages):
        row, people = store.message(str(message.id)), store.recipients(str(message.id))
        assert row is not None
        if number < 10:
            assert (row["subject"], row["metadata"]) == ("Spring offers", {"order": "42"})
            assert [each["address"] for each in people] == ["person1@example.net", "person2@example.net"]
        else:
            assert (row["subject"], row["metadata"], row["tag"]) == ("", {}, "spring")
            assert [(each["address"], each["reply"]) for each in people] == [(None, None)] * 2
            assert [each["status"] for each in people] == ["sent", "bounced"]
    assert counts(store) == before
    assert len(store.events(1000).rows) == 30 * 6
    assert await kept(store, recipients=10 * DAY).round() == {"events": 0, "recipients": 0}


async def test_what_names_people_elsewhere_goes_with_them(store: SqliteStore) -> None:
    url = "https://x.test/for/ann@example.net?e=ann%40example.net&n=1"
    links = (
        Link(1, url, url, "Dear ann@example.net", LinkType.TRACKED, "default", True),
        Link(2, "https://x.test/2?a=1", "https://x.test/2?a=1", "Two", LinkType.TRACKED, "default", True),
    )
    message = accepted(at=NOW - DAY, links=links, recipients=(Recipient(1, "ann@example.net"),))
    said = outcome(message.id, 1, Status.BOUNCED).__class__(message.id, 1, Status.BOUNCED, NOW, "550 <ann@example.net>")
    store.apply([message, said, hit(message.id, 1, 1, url=url), hit(message.id, 1, 2, url=links[1].target)])
    await kept(store, recipients=DAY / 2).round()
    first, second = store.links(str(message.id), 10).rows
    assert (first["url"], first["label"]) == ("https://x.test/for/forgotten?e=forgotten&n=1", "Dear forgotten")
    assert (second["url"], second["label"]) == ("https://x.test/2?a=1", "Two")
    assert [event["url"] for event in store.events(10, kind="click").rows] == [first["url"], second["url"]]
    assert {row["value"] for row in store.breakdown(ReportFilter(), "url", 0, NOW * 2, ["clicks"], 9)} == {
        first["url"],
        second["url"],
    }
    store.apply([hit(message.id, 1, 1, NOW + 500, url=url)])
    row = store.message(str(message.id))
    assert row is not None
    assert row["clicks"] == 3
    audited(store)
    store.close()
    for path in store.path.parent.iterdir():
        assert b"ann" not in path.read_bytes()


async def test_a_message_that_is_told_late_has_its_time(store: SqliteStore) -> None:
    message = accepted(at=NOW - 50 * DAY)
    store.apply([hit(message.id, at=NOW - 50 * DAY)])
    assert await kept(store, recipients=10 * DAY).round() == {"events": 0, "recipients": 1}
    store.apply([message])
    assert store.recipients(str(message.id))[0]["address"] == "person1@example.net"
    assert await kept(store, recipients=10 * DAY).round() == {"events": 0, "recipients": 1}
    assert store.recipients(str(message.id))[0]["address"] is None


async def test_bites_are_as_large_as_time_allows() -> None:
    asked: list[int] = []

    def drop(before: float, limit: int) -> int:
        asked.append(limit)
        time.sleep(0.0002 * limit)
        return limit if sum(asked) < 2000 else 0

    await Retention({"events": (1.0, drop)}, lambda: NOW).round()
    assert asked[0] == 20
    assert max(asked) <= 160
    assert sum(asked[1:]) / len(asked[1:]) > 20


async def test_a_store_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVERY", 0.01)
    tries = 0

    def drop(before: float, limit: int) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreError("away")
        return 0

    running = asyncio.create_task(Retention({"events": (1.0, drop)}, lambda: NOW).run())
    async with asyncio.timeout(60):
        while tries < 3:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_writers_are_not_held_up(store: SqliteStore) -> None:
    history(store, 300)
    message = accepted()
    longest, ended = 0.0, threading.Event()

    def write() -> None:
        nonlocal longest
        number = 0
        while not ended.is_set():
            number += 1
            began = time.monotonic()
            store.apply([hit(message.id, 1, 0, NOW + 20 * number)])
            longest = max(longest, time.monotonic() - began)

    writing = asyncio.create_task(asyncio.to_thread(write))
    try:
        assert await kept(store, events=DAY, recipients=DAY).round() == {"events": 299 * 6, "recipients": 299}
    finally:
        ended.set()
        await writing
    assert longest < 5


async def test_what_was_dropped_stands_nowhere_in_the_file(store: SqliteStore) -> None:
    history(store, 40, people=30)
    await kept(store, events=DAY, recipients=DAY).round()
    store.close()
    octets = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert octets.count(b"person30@example.net") == 2  # the newest message's: in its row and in the index
    assert octets.count(b"Spring offers") == 1
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
