"""The journal: durable, in order, held by one process, adopted when that is gone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.tracker.facts import NOW, accepted, hit
from tracker.disk import held, journal
from tracker.disk.journal import Journal
from tracker.errors import SpoolError
from tracker.model import Fact, new_id
from tracker.store.recording import readable

MESSAGE = new_id(NOW)
ROOT = Path(__file__).resolve().parents[2]


async def opened(folder: Path, fresh: bool = True) -> Journal:
    found = journal.claim(folder, fresh)
    assert found is not None
    await found.open()
    return found


async def kept(source: Journal, limit: int = 1000) -> list[Fact]:
    return readable([octets for _, octets in await source.facts(limit)])


async def test_facts_come_out_as_they_went_in(tmp_path: Path) -> None:
    one = await opened(tmp_path)
    wanted = [accepted(MESSAGE), *(hit(MESSAGE, at=NOW + n) for n in range(5))]
    await one.append(wanted[:2])
    await one.append(wanted[2:])
    assert (await kept(one), one.waiting) == (wanted, 6)
    assert await kept(one, 3) == wanted[:3]
    await one.forget_facts((await one.facts(4))[-1][0])
    assert (await kept(one), one.waiting) == (wanted[4:], 2)
    await one.close()


async def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    one = await opened(tmp_path)
    await one.append([hit(MESSAGE)])
    before = await kept(one)
    await one.close()
    again = await opened(tmp_path, fresh=False)
    assert (again.path, again.waiting, await kept(again)) == (one.path, 1, before)
    await again.close()


async def test_what_was_kept_survives_the_death_of_the_process(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from tests.tracker.facts import accepted, hit, NOW\n"
        "from tracker.disk.journal import claim\n"
        "async def main():\n"
        "    one = claim(pathlib.Path(sys.argv[1]), True)\n"
        "    await one.open()\n"
        "    await one.append([hit(accepted().id, at=NOW + n) for n in range(3)])\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env={**os.environ}, check=False)
    assert done.returncode == -9
    one = await opened(tmp_path, fresh=False)
    assert [fact.at for fact in await kept(one)] == [NOW, NOW + 1, NOW + 2]  # type: ignore[union-attr]
    await one.close()


async def test_the_file_is_fully_synchronous_and_nobody_elses_to_read(tmp_path: Path) -> None:
    one = await opened(tmp_path)
    assert await one._commits.ask(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == 2
    assert one.path.parent.stat().st_mode & 0o077 == 0
    await one.close()


async def test_a_full_disk_takes_nothing_and_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await opened(tmp_path)
    await one.append([hit(MESSAGE)])
    with monkeypatch.context() as patched:
        patched.setattr(held, "SPARE", 10**18)
        patched.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 10**9, 0, 0, 0, 0, 0, 0, 255)))
        with pytest.raises(SpoolError):
            await one.append([hit(MESSAGE)])
    assert one.waiting == len(await kept(one)) == 1
    await one.append([hit(MESSAGE)])
    assert one.waiting == 2
    await one.close()


async def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / journal.FOLDER).mkdir()
    (tmp_path / journal.FOLDER / "a.db").write_bytes(b"not a database at all" * 1000)
    found = journal.claim(tmp_path, fresh=False)
    assert found is not None
    with pytest.raises(SpoolError):
        await found.open()
    await found.close()


async def test_a_file_damaged_in_use_says_so(tmp_path: Path) -> None:
    one = await opened(tmp_path)
    await one.append([hit(MESSAGE)] * 300)
    await one.close()
    octets = bytearray(one.path.read_bytes())
    octets[16_384 + 200 :] = b"\xff" * (len(octets) - 16_384 - 200)
    one.path.write_bytes(octets)
    again = journal.claim(tmp_path, fresh=False)
    assert again is not None

    async def read() -> None:
        await again.open()
        await again.facts(1000)

    with pytest.raises(SpoolError):
        await read()
    await again.close()


async def test_an_empty_file_can_be_removed(tmp_path: Path) -> None:
    one = await opened(tmp_path)
    await one.append([hit(MESSAGE)])
    with closing(sqlite3.connect(one.path)) as db:
        assert db.execute("SELECT count(*) FROM facts").fetchone() == (1,)
    await one.forget_facts((await one.facts(1))[0][0])
    await one.remove()
    assert list((tmp_path / journal.FOLDER).iterdir()) == []
