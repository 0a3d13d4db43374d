"""Records on their way from the spool to the store: in order, kept while the store is away, each told though another
cannot be."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.dispatch.queued import soon, spool_in
from tests.tracker.facts import accepted, outcome
from tracker.errors import SpoolError, StoreError
from tracker.model import Fact, new_id
from tracker.store import recording as module
from tracker.store.base import MessageFilter
from tracker.store.recording import Recording
from tracker.store.sqlite import SqliteStore


class Shelf:
    """A store that only takes facts, or does not."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.batches: list[int] = []
        self.away: Exception | None = None
        self.refuses: Fact | None = None

    def apply(self, facts) -> None:
        if self.away is not None:
            raise self.away
        if self.refuses in facts:
            raise ValueError("a bug")
        self.batches.append(len(facts))
        self.facts += facts


@pytest.fixture
async def spool(tmp_path):
    async with spool_in(tmp_path) as spool:
        yield spool


@pytest.fixture
async def shelf(spool, monkeypatch):
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.02)
    return Shelf()


@pytest.fixture
async def recording(spool, shelf):
    recording = Recording(shelf)
    recording.start([spool])
    yield recording
    await recording.stop()


def some(count: int) -> list[Fact]:
    return [outcome(new_id(), number) for number in range(1, count + 1)]


async def test_records_are_told_in_order_and_forgotten(spool, shelf, recording):
    facts = some(350)
    await spool.record(facts)
    recording.stir()
    await soon(lambda: len(shelf.facts) == 350)
    assert shelf.facts == facts
    assert max(shelf.batches) == 100
    await recording.stop()
    assert await spool.facts(1) == []


async def test_while_the_store_is_away_they_wait(spool, shelf, recording):
    shelf.away = StoreError("away")
    facts = some(3)
    for fact in facts:
        await spool.record([fact])
        recording.stir()
        await asyncio.sleep(0.02)
    assert len(await spool.facts(10)) == 3
    shelf.away = None
    await soon(lambda: shelf.facts == facts)


async def test_after_a_restart_too(tmp_path, shelf):
    facts = some(3)
    async with spool_in(tmp_path) as spool:
        await spool.record(facts)
        shelf.away = StoreError("away")
        recording = Recording(shelf)
        recording.start([spool])
        await recording.stop()
    shelf.away = None
    async with spool_in(tmp_path) as spool:
        recording = Recording(shelf)
        recording.start([spool])
        await recording.stop()
    assert shelf.facts == facts


async def test_a_record_that_cannot_be_stored_costs_no_other(spool, shelf, recording):
    facts = some(5)
    shelf.refuses = facts[2]
    await spool.record(facts)
    await soon(lambda: len(shelf.facts) == 4)
    assert shelf.facts == [*facts[:2], *facts[3:]]
    await recording.stop()
    assert await spool.facts(1) == []


async def test_a_record_that_cannot_be_read_costs_no_other(spool, shelf, recording):
    first, second = some(2)
    await spool.record([first])
    await spool._ask(lambda db: db.execute("INSERT INTO facts (fact) VALUES (?)", [b"junk"]))
    await spool.record([second])
    await soon(lambda: shelf.facts == [first, second])


@pytest.mark.parametrize("error", [SpoolError("no"), KeyError("a bug")])
async def test_one_file_that_fails_holds_up_no_other(tmp_path, shelf, monkeypatch, error):
    async def broken(limit: int) -> list:
        raise error

    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(spool_in(tmp_path))
        good = await stack.enter_async_context(spool_in(tmp_path))
        monkeypatch.setattr(bad, "facts", broken)
        recording = Recording(shelf)
        recording.start([bad])
        recording.adopt(good)
        facts = some(2)
        for fact in facts:
            await good.record([fact])
            recording.stir()
            await soon(lambda fact=fact: fact in shelf.facts)
        recording.drop(bad)
        await recording.stop()


async def test_what_was_told_twice_is_counted_once(tmp_path, spool):
    store = SqliteStore(tmp_path / "tracepost.db")
    store.open()
    sent = accepted(new_id(), people=1)
    facts = [sent, outcome(sent.id), replace(outcome(sent.id), at=outcome(sent.id).at)]
    for _ in range(2):  # the second time as after a crash between telling and forgetting
        await spool.record(facts)
        recording = Recording(store)
        recording.start([spool])
        await recording.stop()
    (row,) = store.messages(MessageFilter(), 10).rows
    assert (row["recipients"], row["sent"], row["pending"]) == (1, 1, 0)
    store.close()
