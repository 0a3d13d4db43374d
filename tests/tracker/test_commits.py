"""Group commit: who waits together is written together; what fails fails alone, and passes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from tracker.disk import commits as module
from tracker.disk.commits import Commits
from tracker.errors import SpoolError

SQL = "INSERT INTO things VALUES (?)"


def prepare(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)")


class Disk:
    """Stands between Commits and SQLite: counts commits, fails where told to, holds a commit up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = 0
        self.fails: str | None = None
        self.error: Exception = sqlite3.OperationalError("disk I/O error")
        self.after = False
        self.gate = threading.Event()
        self.gate.set()
        disk, real = self, module.connect

        class Connection:
            def __init__(self, path) -> None:
                self.db = real(path)

            def execute(self, sql: str, *values):
                fails = disk.fails is not None and sql.startswith(disk.fails)
                if sql == "COMMIT":
                    disk.gate.wait(10)
                    disk.commits += 1
                if fails and not disk.after:
                    raise disk.error
                found = self.db.execute(sql, *values)
                if fails:
                    raise disk.error
                return found

            def __getattr__(self, name: str):
                return getattr(self.db, name)

        monkeypatch.setattr(module, "connect", Connection)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
async def file(tmp_path, disk):
    commits = Commits(tmp_path / "x.db", prepare, "file")
    commits.open()
    yield commits
    disk.gate.set()
    await commits.close()


def insert(name: str):
    return lambda db: db.execute(SQL, [name]).rowcount


def names(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM things ORDER BY name")]


async def test_what_comes_while_the_disk_is_busy_shares_one_commit(file, disk):
    disk.gate.clear()
    first = file.ask(insert("first"))
    await asyncio.sleep(0.05)
    others = [file.ask(insert(f"{number:03}")) for number in range(300)]
    await asyncio.sleep(0.05)
    assert not first.done()
    disk.gate.set()
    assert await asyncio.gather(first, *others) == [1] * 301
    assert disk.commits == 2


async def test_nobody_is_told_before_it_is_on_the_disk(file, disk, tmp_path):
    disk.gate.clear()
    asked = file.ask(insert("a"))
    await asyncio.sleep(0.05)
    assert not asked.done()
    disk.gate.set()
    await asked
    other = sqlite3.connect(tmp_path / "x.db")
    assert names(other) == ["a"]
    other.close()


async def test_a_commit_is_synced(file):
    assert await file.ask(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == 2
    assert await file.ask(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


@pytest.mark.parametrize("error", [ValueError("no"), sqlite3.IntegrityError("twice"), sqlite3.ProgrammingError("what")])
async def test_work_that_raises_undoes_itself_and_nothing_else(file, disk, error):
    def bad(db: sqlite3.Connection) -> None:
        db.execute(SQL, ["bad"])
        raise error

    disk.gate.clear()
    blocker = file.ask(insert("blocker"))
    await asyncio.sleep(0.05)
    asked = [file.ask(insert("a")), file.ask(bad), file.ask(insert("b"))]
    disk.gate.set()
    await blocker
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert found == [1, error, 1]
    assert await file.ask(names) == ["a", "b", "blocker"]
    assert disk.commits == 3


@pytest.mark.parametrize("stage", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.DatabaseError("database disk image is malformed"),
        OSError("gone"),
    ],
)
async def test_a_disk_that_fails_is_a_spool_error_and_nothing_needs_restarting(file, disk, stage, error):
    await file.ask(insert("before"))
    disk.fails, disk.error = stage, error
    for found in await asyncio.gather(file.ask(insert("a")), file.ask(insert("b")), return_exceptions=True):
        assert isinstance(found, SpoolError)
        assert found.__cause__ is error
    disk.fails = None
    await file.ask(insert("after"))
    assert await file.ask(names) == ["after", "before"]


async def test_a_file_that_cannot_be_had_is_a_spool_error(tmp_path):
    (tmp_path / "junk.db").write_bytes(b"this is no database, whatever its name says" * 100)
    for path in (tmp_path / "absent" / "x.db", tmp_path / "junk.db"):
        commits = Commits(path, prepare, "file")
        with pytest.raises(SpoolError):
            commits.open()
        await commits.close()


async def test_closing_finishes_what_was_asked_for_and_then_nothing_more(file, tmp_path):
    asked = [file.ask(insert(str(number))) for number in range(1200)]
    await file.close()
    assert [await each for each in asked] == [1] * 1200
    with pytest.raises(SpoolError):
        await file.ask(names)
    await file.close()
    commits = Commits(tmp_path / "x.db", prepare, "file")
    commits.open()
    assert len(await commits.ask(names)) == 1200
    await commits.close()


async def test_whoever_no_longer_waits_breaks_nothing(file, disk):
    disk.gate.clear()
    gone, stays = file.ask(insert("a")), file.ask(insert("b"))
    gone.cancel()
    disk.gate.set()
    assert await stays == 1
    assert await file.ask(names) == ["a", "b"]
