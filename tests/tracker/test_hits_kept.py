"""Hits that the store cannot take: durable in the journal before their answer, counted once when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.tracker.facts import NOW, hit
from tests.tracker.test_recorder import Fake, hits
from tracker.disk import journal as journal_files
from tracker.disk.journal import Journal
from tracker.errors import SpoolError, StoreError
from tracker.hits import journals as adoption
from tracker.hits.journals import Journals
from tracker.hits.recorder import Limits, Recorder
from tracker.model import Fact, Hit, new_id
from tracker.store.base import MessageFilter
from tracker.store.recording import readable
from tracker.store.sqlite import SqliteStore

MESSAGE = new_id(NOW)
ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(backoff=(0.01, 0.05), patience=2.0, haste=0.02)


class Away(SqliteStore):
    """A store that fails for as long as it is told to."""

    away = True

    def apply(self, facts: Sequence[Fact]) -> None:
        if self.away:
            raise StoreError("away")
        super().apply(facts)


@asynccontextmanager
async def recording(folder: Path, store: SqliteStore, limits: Limits = QUICK) -> AsyncIterator[Recorder]:
    """A recorder with its journal in ``folder``."""
    recorder = Recorder(store, limits=limits)
    journals = Journals(folder, store, recorder)
    await journals.start()
    await recorder.start()
    yield recorder
    await recorder.stop()
    await journals.stop()


async def until(probe, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(seconds):
        while not probe():
            await asyncio.sleep(0.005)


def metric(recorder: Recorder, name: str) -> float | None:
    return recorder.registry.get_sample_value(name)


def in_files(folder: Path) -> list[Fact]:
    """What stands in the journal's files, whoever holds them."""
    found = []
    for path in sorted((folder / journal_files.FOLDER).glob("*.db")):
        with sqlite3.connect(path) as db:
            found += [octets for (octets,) in db.execute("SELECT fact FROM facts ORDER BY seq")]
        db.close()
    return readable(found)


async def test_a_hit_is_in_the_journal_before_its_answer_while_the_store_is_away(tmp_path: Path) -> None:
    async with recording(tmp_path, Fake(failures=10**9)) as recorder:
        wanted = hits(20)
        for number, one in enumerate(wanted, 1):
            await recorder.hit(one)
            assert in_files(tmp_path) == wanted[:number]
        assert metric(recorder, "hits_late_total") == metric(recorder, "hits_lost_total") == 0
        assert metric(recorder, "journal_facts") == 20
        assert metric(recorder, "store_waiting_facts") == 0


async def test_what_waited_is_told_in_order_and_then_all_goes_its_usual_way(tmp_path: Path) -> None:
    store = Fake(failures=7)
    async with recording(tmp_path, store, Limits(batch=7, backoff=(0.01, 0.02))) as recorder:
        wanted = hits(60)
        for one in wanted[:40]:
            recorder.record(one)
            await asyncio.sleep(0.001)
        await until(lambda: len(store.facts) == 40)
        await until(lambda: metric(recorder, "journal_facts") == 0)
        await asyncio.gather(*(recorder.hit(one) for one in wanted[40:]))
        assert store.facts == wanted
        assert in_files(tmp_path) == []


async def test_a_store_that_takes_its_time_does_not_keep_an_answer_waiting(tmp_path: Path) -> None:
    store = Fake()
    async with recording(tmp_path, store) as recorder:
        store.gate.clear()
        wanted = hits(30)
        begun = time.monotonic()
        await asyncio.gather(*(recorder.hit(one) for one in wanted))
        assert time.monotonic() - begun < 10
        assert in_files(tmp_path) == wanted
        store.gate.set()
        await until(lambda: metric(recorder, "journal_facts") == 0)
        assert sorted({one.at for one in store.facts}) == [one.at for one in wanted]  # type: ignore[union-attr]
        assert metric(recorder, "hits_late_total") == metric(recorder, "hits_lost_total") == 0


async def test_a_hit_that_reached_both_is_counted_once(tmp_path: Path) -> None:
    class Slow(SqliteStore):
        def apply(self, facts: Sequence[Fact]) -> None:
            time.sleep(0.2)
            super().apply(facts)

    store = Slow(tmp_path / "s.sqlite")
    async with recording(tmp_path, store) as recorder:
        await asyncio.gather(*(recorder.hit(hit(MESSAGE, person)) for person in range(1, 11)))
        assert len(in_files(tmp_path)) == 10
        await until(lambda: metric(recorder, "journal_facts") == 0)
    found = store.message(str(MESSAGE))
    assert found is not None
    assert (found["opens"], found["unique_opens"], len(store.events(100).rows)) == (10, 10, 10)
    store.close()


async def test_stopping_while_the_store_is_away_leaves_all_in_the_journal(tmp_path: Path) -> None:
    store, wanted = Away(tmp_path / "s.sqlite"), hits(2500)
    async with recording(tmp_path, store) as recorder:
        recorder.record(*wanted)
    assert metric(recorder, "hits_lost_total") == 0
    assert in_files(tmp_path) == wanted
    store.away = False
    async with recording(tmp_path, store) as recorder:
        await until(lambda: len(in_files(tmp_path)) == 0)
    assert len(store.events(5000).rows) == 2500
    store.close()


async def test_memory_is_not_what_holds_them(tmp_path: Path) -> None:
    limits = Limits(waiting=50, batch=20, backoff=(0.01, 0.05), patience=2)
    async with recording(tmp_path, Fake(failures=10**9), limits) as recorder:
        for start in range(0, 1000, 40):
            await asyncio.gather(*(recorder.hit(hit(MESSAGE, at=NOW + start + n)) for n in range(40)))
        assert metric(recorder, "hits_lost_total") == 0
        assert len(in_files(tmp_path)) == 1000


async def test_under_load_it_comes_back_to_the_usual_way(tmp_path: Path) -> None:
    store = Away(tmp_path / "s.sqlite")
    async with recording(tmp_path, store, Limits(backoff=(0.01, 0.05))) as recorder:
        ended = asyncio.Event()
        sent = 0

        async def visit() -> None:
            nonlocal sent
            while not ended.is_set():
                sent += 1
                await recorder.hit(hit(MESSAGE, at=NOW + sent))
                await asyncio.sleep(0.005)

        visitors = [asyncio.create_task(visit()) for _ in range(20)]
        await until(lambda: (metric(recorder, "journal_facts") or 0) > 200)
        store.away = False
        await until(lambda: metric(recorder, "journal_facts") == 0)
        ended.set()
        await asyncio.gather(*visitors)
    assert metric(recorder, "hits_lost_total") == 0
    assert len(store.events(50_000).rows) == sent
    store.close()


async def test_where_the_disk_fails_too_answers_wait_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Journal, facts: Sequence[Fact]) -> None:
        raise SpoolError("no room")

    store = Fake(failures=10**9)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", broken)
        async with recording(tmp_path, store, Limits(waiting=10, backoff=(0.01, 0.02), flush=0.2)) as recorder:
            begun = time.monotonic()
            for one in hits(25):
                await recorder.hit(one)
            assert time.monotonic() - begun < 10
            assert metric(recorder, "hits_late_total") == 25
            assert metric(recorder, "hits_lost_total") == 15
            assert metric(recorder, "store_waiting_facts") == 10
            patched.undo()
            await until(lambda: metric(recorder, "journal_facts") == 10)
    assert metric(recorder, "hits_lost_total") == 15
    assert len(in_files(tmp_path)) == 10


async def test_without_a_folder_for_the_journal_hits_wait_in_memory_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ADOPT_SECONDS", 0.05)
    data_dir = tmp_path / "data"
    data_dir.write_text("not a folder")
    async with recording(data_dir, Fake(failures=10**9)) as recorder:
        recorder.record(*hits(5))
        await asyncio.sleep(0.1)
        assert metric(recorder, "store_waiting_facts") == 5
        data_dir.unlink()
        await until(lambda: recorder.journal is not None)
        await until(lambda: metric(recorder, "store_waiting_facts") == 0)
        assert len(in_files(data_dir)) == 5


async def test_a_file_that_cannot_be_read_is_left_and_another_taken(tmp_path: Path) -> None:
    folder = tmp_path / journal_files.FOLDER
    folder.mkdir()
    (folder / "0.db").write_bytes(b"not a database at all" * 1000)
    async with recording(tmp_path, Fake()) as recorder:
        assert recorder.journal is not None
        assert recorder.journal.path.name != "0.db"
    assert (folder / "0.db").exists()


async def test_files_of_the_dead_and_from_elsewhere_are_told_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ADOPT_SECONDS", 0.05)
    elsewhere = tmp_path / "elsewhere"
    wanted = hits(150)
    async with recording(elsewhere, Fake(failures=10**9)) as recorder:
        recorder.record(*wanted)
    (path,) = (elsewhere / journal_files.FOLDER).glob("*.db")
    store = SqliteStore(tmp_path / "s.sqlite")
    async with recording(tmp_path / "here", store) as recorder:
        assert recorder.journal is not None
        own = recorder.journal.path
        path.rename(own.parent / path.name)
        await until(lambda: len(store.events(1000).rows) == 150)
        await until(lambda: list(own.parent.glob("*.db")) == [own])
    assert not [each for each in own.parent.iterdir() if own.stem not in each.name]
    store.close()


@pytest.mark.parametrize("store", ["locked", "a folder"])
def test_a_kill_loses_no_hit_that_was_answered(tmp_path: Path, store: str) -> None:
    place = tmp_path / "s.sqlite"
    script = (
        "import asyncio, pathlib, sys\n"
        "from tests.tracker.test_hits_kept import recording, MESSAGE\n"
        "from tests.tracker.facts import hit, NOW\n"
        "from tracker.hits.recorder import Limits\n"
        "from tracker.store.sqlite import SqliteStore\n"
        "async def visit(recorder, who):\n"
        "    for n in range(10**6):\n"
        "        one = hit(MESSAGE, who, at=NOW + 20 * n)\n"
        "        await recorder.hit(one)\n"
        "        print('answered', one.id, flush=True)\n"
        "async def main():\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    async with recording(folder, SqliteStore(folder / 's.sqlite'), Limits(patience=10)) as recorder:\n"
        "        await asyncio.gather(*(visit(recorder, who) for who in range(1, 9)))\n"
        "asyncio.run(main())\n"
    )
    lock = None
    if store == "locked":
        SqliteStore(place).open()
        lock = sqlite3.connect(place, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    else:
        place.mkdir()
    said: list[str] = []
    for _ in range(3):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(100):
                said.append(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.readlines()
    kept = in_files(tmp_path)
    answered = {line.split()[1] for line in said if line.startswith("answered") and line.endswith("\n")}
    assert len(answered) > 100
    assert answered <= {str(one.id) for one in kept if isinstance(one, Hit)}
    if lock is not None:
        lock.execute("ROLLBACK")
        lock.close()
    else:
        place.rmdir()
    asyncio.run(told(tmp_path, len({one.id for one in kept if isinstance(one, Hit)})))


async def told(folder: Path, hits: int) -> None:
    """Start anew, and find all counted once."""
    store = SqliteStore(folder / "s.sqlite")
    async with recording(folder, store):
        await until(lambda: not in_files(folder))
    events = store.events(100_000).rows
    assert len(events) == hits
    opens = sum(found["opens"] for found in store.messages(MessageFilter(), 10).rows)
    assert opens == sum(event["kind"] != "repeat" for event in events)
    store.close()
