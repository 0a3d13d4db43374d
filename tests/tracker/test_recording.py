"""From a file to the store: in order, with pauses while it is away, faulty facts aside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tracker.facts import NOW, hit
from tests.tracker.test_recorder import Fake
from tracker.errors import SpoolError, StoreError
from tracker.facts import encode
from tracker.model import Fact, new_id
from tracker.store.recording import Recording, fold, readable

MESSAGE = new_id(NOW)


class Memory:
    """A file in memory."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.path = Path("memory")
        self.waiting = [(number, encode(fact)) for number, fact in enumerate(facts, 1)]
        self.fails = 0

    async def facts(self, limit: int) -> list[tuple[int, bytes]]:
        if self.fails:
            self.fails -= 1
            raise SpoolError("gone")
        return self.waiting[:limit]

    async def forget_facts(self, last: int) -> None:
        self.waiting = [each for each in self.waiting if each[0] > last]


def hits(count: int) -> list[Fact]:
    return [hit(MESSAGE, at=NOW + n) for n in range(count)]


async def test_what_waits_is_told_in_order_through_failures() -> None:
    store, wanted = Fake(failures=2), hits(250)
    source = Memory(wanted)
    source.fails = 1
    recording = Recording(store)
    recording.start([source])
    async with asyncio.timeout(60):
        while source.waiting:
            await asyncio.sleep(0.01)
    await recording.stop()
    assert store.facts == wanted


async def test_a_file_that_is_adopted_is_told_and_one_that_is_dropped_is_not() -> None:
    store, wanted = Fake(), hits(3)
    source, other = Memory(wanted), Memory(hits(1))
    recording = Recording(store)
    recording.start([other])
    recording.drop(other)
    recording.adopt(source)
    await recording.stop()
    assert store.facts == wanted
    assert len(other.waiting) == 1


async def test_what_the_store_did_not_take_keeps() -> None:
    store, source = Fake(failures=10**9), Memory(hits(3))
    recording = Recording(store)
    recording.start([source])
    await recording.stop()
    assert len(source.waiting) == 3


def test_a_faulty_fact_does_not_hold_up_the_others() -> None:
    wanted = hits(5)
    store = Fake(poison=[wanted[2]])
    assert fold(store, wanted) == [wanted[2]]
    assert store.facts == [*wanted[:2], *wanted[3:]]


def test_a_store_that_goes_away_amid_faulty_facts_is_away() -> None:
    wanted = hits(2)

    class Flaky(Fake):
        def apply(self, facts: Sequence[Fact]) -> None:
            if len(facts) == 1:
                raise StoreError("away")
            super().apply(facts)

    with pytest.raises(StoreError):
        fold(Flaky(poison=[wanted[0]]), wanted)


def test_what_cannot_be_read_does_not_hold_up_the_others() -> None:
    wanted = hits(2)
    records = [encode(wanted[0]), b"x nonsense", b"h{}", encode(wanted[1])]
    assert readable(records) == wanted
