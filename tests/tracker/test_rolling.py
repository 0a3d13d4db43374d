"""Counters are kept up in the background, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.tracker.audit import audited
from tests.tracker.facts import NOW, accepted, hit
from tracker import roller
from tracker.errors import StoreError
from tracker.roller import Roller
from tracker.store.base import ReportFilter
from tracker.store.sqlite import SqliteStore


class Failing(SqliteStore):
    """A store that cannot fold in for a while."""

    failures = 0

    def roll(self, limit: int) -> int:
        if self.failures:
            self.failures -= 1
            raise (StoreError("away") if self.failures % 2 else RuntimeError("odd"))
        return super().roll(limit)


async def test_what_waits_is_folded_in_though_the_store_fails_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roller, "EVERY", 0.01)
    store, registry = Failing(tmp_path / "s.sqlite"), CollectorRegistry()
    message = accepted()
    store.apply([message])
    for n in range(500):
        store.apply([hit(message.id, 1, at=NOW + 20 * n)])
    store.failures = 4
    running = asyncio.create_task(Roller(store, registry).run())
    async with asyncio.timeout(60):
        while store.waiting() or store.failures:
            await asyncio.sleep(0.01)
        while registry.get_sample_value("counters_behind_seconds"):
            await asyncio.sleep(0.01)
    running.cancel()
    assert (registry.get_sample_value("counters_moved_total") or 0) >= 12
    audited(store)
    store.close()


def test_a_reader_is_never_behind(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    message = accepted()
    store.apply([message])
    for n in range(50):
        store.apply([hit(message.id, 1, at=NOW + 20 * n)])
        assert store.totals(ReportFilter(), NOW - 1, NOW + 5000)["opens"] == n + 1
    store.close()


def test_several_fold_in_at_once_and_each_difference_once(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "s.sqlite") for _ in range(3)]
    message = accepted()
    stores[0].apply([message])

    def work(store: SqliteStore, who: int) -> None:
        for n in range(60):
            store.apply([hit(message.id, who, at=NOW + 20 * n)])
            store.roll(3)

    async def main() -> None:
        await asyncio.gather(*(asyncio.to_thread(work, store, who) for who, store in enumerate(stores, 1)))

    asyncio.run(main())
    audited(stores[0])
    assert stores[1].totals(ReportFilter(), 0, NOW * 2)["opens"] == 180
    for store in stores:
        store.close()
