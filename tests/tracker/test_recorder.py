"""The recorder: in order, in batches, honest about what it lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tracker.facts import NOW, accepted, hit
from tracker.errors import StoreError
from tracker.hits.recorder import Limits, Recorder
from tracker.model import Fact, Hit, new_id
from tracker.store.base import MessageFilter
from tracker.store.sqlite import SqliteStore

MESSAGE = new_id(NOW)


class Fake(SqliteStore):
    """Remembers batches; fails ``failures`` times; refuses facts in ``poison`` for good; waits for ``gate``."""

    def __init__(self, failures: int = 0, poison: Sequence[Fact] = ()) -> None:
        super().__init__("unused")
        self.batches: list[list[Fact]] = []
        self.failures = failures
        self.poison = poison
        self.gate = threading.Event()
        self.gate.set()

    def apply(self, facts: Sequence[Fact]) -> None:
        self.gate.wait(5)
        if self.failures:
            self.failures -= 1
            raise StoreError("away")
        if any(fact in self.poison for fact in facts):
            raise TypeError("no such thing")
        self.batches.append(list(facts))

    @property
    def facts(self) -> list[Fact]:
        return [fact for batch in self.batches for fact in batch]


def hits(count: int) -> list[Hit]:
    return [hit(MESSAGE, at=NOW + n) for n in range(count)]


async def test_a_hit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.open()
    recorder = Recorder(store, limits=Limits(patience=5))
    await recorder.start()
    await recorder.hit(hit(MESSAGE))
    row = store.message(str(MESSAGE))
    assert row is not None
    assert row["opens"] == 1
    await recorder.stop()
    store.close()


async def test_hits_gather_while_a_batch_commits() -> None:
    store = Fake()
    recorder = Recorder(store, limits=Limits(patience=5))
    await recorder.start()
    store.gate.clear()
    wanted = hits(500)
    waiting = [asyncio.create_task(recorder.hit(one)) for one in wanted]
    await asyncio.sleep(0.05)
    store.gate.set()
    await asyncio.gather(*waiting)
    assert store.facts == wanted
    assert len(store.batches) <= 3
    await recorder.stop()


async def test_an_answer_waits_fifty_milliseconds_at_most() -> None:
    store = Fake()
    recorder = Recorder(store)
    await recorder.start()
    store.gate.clear()
    begun = time.monotonic()
    await asyncio.gather(*(recorder.hit(one) for one in hits(50)))
    # The store would keep them forever, so coming here is the proof; a busy machine may take its time.
    assert 0.04 < time.monotonic() - begun < 20
    assert recorder.registry.get_sample_value("hits_late_total") == 50
    store.gate.set()
    await recorder.stop()
    assert len(store.facts) == 50
    assert recorder.registry.get_sample_value("hits_lost_total") == 0


async def test_order_holds_through_failures() -> None:
    store = Fake(failures=5)
    recorder = Recorder(store, limits=Limits(batch=7, backoff=(0.001, 0.01)))
    await recorder.start()
    wanted: list[Fact] = [accepted(MESSAGE), *hits(40)]
    for fact in wanted:
        recorder.record(fact)
        await asyncio.sleep(0)
    await recorder.stop()
    assert store.facts == wanted
    assert recorder.registry.get_sample_value("store_errors_total") == 5


async def test_what_memory_cannot_hold_is_counted() -> None:
    store = Fake(failures=10**9)
    recorder = Recorder(store, limits=Limits(waiting=10, backoff=(0.001, 0.01), flush=0.05))
    await recorder.start()
    for one in hits(25):
        await recorder.hit(one)
    recorder.record(*(accepted(at=NOW + n) for n in range(15)))
    assert recorder.registry.get_sample_value("hits_lost_total") == 15
    assert recorder.registry.get_sample_value("relay_facts_lost_total") == 5
    await recorder.stop()
    assert recorder.registry.get_sample_value("hits_lost_total") == 25
    assert recorder.registry.get_sample_value("relay_facts_lost_total") == 15


async def test_one_faulty_fact_does_not_hold_up_the_others() -> None:
    wanted = hits(9)
    store = Fake(poison=[wanted[4]])
    recorder = Recorder(store)
    await recorder.start()
    recorder.record(*wanted)
    await recorder.stop()
    assert store.facts == [*wanted[:4], *wanted[5:]]
    assert recorder.registry.get_sample_value("hits_lost_total") == 1


async def test_stopping_writes_what_waits_and_can_be_done_twice() -> None:
    store = Fake(failures=3)
    recorder = Recorder(store, limits=Limits(backoff=(0.01, 0.02)))
    recorder.record(*hits(5))
    await recorder.start()
    recorder.record(*hits(5))
    await recorder.stop()
    await recorder.stop()
    assert len(store.facts) == 10


async def test_hits_are_counted_by_event_and_class() -> None:
    recorder = Recorder(Fake())
    await recorder.start()
    await recorder.hit(hit(MESSAGE))
    await recorder.hit(hit(MESSAGE, 1, 2, agent="curl/8"))
    for labels in ({"event": "open", "class": "human"}, {"event": "click", "class": "machine"}):
        assert recorder.registry.get_sample_value("hits_total", labels) == 1
    await recorder.stop()


async def test_a_cancelled_visitor_is_counted_all_the_same() -> None:
    store = Fake()
    recorder = Recorder(store)
    await recorder.start()
    store.gate.clear()
    task = asyncio.create_task(recorder.hit(hit(MESSAGE)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.gate.set()
    await recorder.stop()
    assert len(store.facts) == 1


async def test_a_thousand_at_once_are_all_counted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.open()
    recorder = Recorder(store)
    await recorder.start()
    people = [accepted(at=NOW + n) for n in range(100)]
    recorder.record(*people)
    await asyncio.gather(*(recorder.hit(hit(one.id, 1 + n % 2, n % 5)) for n, one in enumerate(people * 10)))
    await recorder.stop()
    rows = store.messages(MessageFilter(), 1000).rows
    assert len(rows) == 100
    assert len(store.events(5000).rows) == 1100
    store.close()
