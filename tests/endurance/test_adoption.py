"""Files of the spool that come from elsewhere: adopted, sent, counted, and removed once they are empty."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from pathlib import Path

from relay.keys import new_signing_key
from tests.e2e.harness import eventually
from tests.endurance.crowd import LARGE, Arrived, Mail, keys_of, mail, session
from tests.endurance.service import QUICK, Service, at, running
from tests.fakes.smarthost import FakeSmarthost, Script


async def left_behind(folder: Path, count: int, top: str, killed: bool) -> list[Mail]:
    """The mails that a service has spooled and not sent when it ended."""
    async with FakeSmarthost() as away:
        away.script["greeting"] = Script("421 4.3.2 not now")
        with running(folder, at(away.port), relay=QUICK, top=top) as service:
            mails = [
                mail(
                    f"{folder.name}{number}",
                    ("ann@example.net", "bob@example.net"),
                    LARGE if number % 5 == 0 else 2_000,
                )
                for number in range(count)
            ]
            async with session(service.smtp_port) as client:
                for each in mails:
                    assert (await client.send(each)).startswith("250")
            if killed:
                service.kill(service.pid, *service.children())
    return mails


def spool_files(service: Service) -> set[str]:
    return {path.name for path in (service.data / "spool").glob("*.db")}


async def test_files_of_other_services_are_adopted_and_delivered(tmp_path):
    top = f"signing_keys: [{new_signing_key()}]\n"
    mails = []
    for name in ("stopped", "killed", "new"):
        (tmp_path / name).mkdir()
    for name in ("stopped", "killed"):
        mails += await left_behind(tmp_path / name, 20, top, killed=name == "killed")
    async with FakeSmarthost() as host:
        with running(tmp_path / "new", at(host.port), relay=f"workers: 2\n{QUICK}", top=top) as service:
            own = spool_files(service)
            assert len(own) == 2
            for name in ("stopped", "killed"):
                carry(tmp_path / name / "data" / "spool", service.data / "spool")
            await asyncio.to_thread(eventually, lambda: len(host.messages) >= 80, 30)
            path = re.search(rb"http://track\.test(/c/[\w-]+)", host.messages[0].content)
            assert path
            assert service.web.get(path[1].decode()).status_code == 302
            await asyncio.to_thread(eventually, lambda: spool_files(service) == own, 30)
            found = Arrived().take(host.messages)
            assert (found.keys, found.duplicates) == (keys_of(mails), 0)
            rows = await asyncio.to_thread(service.rows)
            assert {row["subject"]: (row["sent"], row["pending"]) for row in rows} == {m.name: (2, 0) for m in mails}


def carry(spool: Path, to: Path) -> None:
    """Copy what is in a spool's folder, the database last."""
    for path in sorted(spool.iterdir(), key=lambda path: path.suffix == ".db"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to / path.name)


def test_the_database_of_a_spool_is_closed_whole(tmp_path):
    """What an operator copies from a service that was stopped is the .db and the .contents alone."""

    async def main() -> None:
        await left_behind(tmp_path, 5, "", False)

    asyncio.run(main())
    (file,) = (tmp_path / "data" / "spool").glob("*.db")
    assert not list(file.parent.glob("*-wal"))
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (5,)
    db.close()
