"""Damaged files in the spool's folder are left alone and hold nobody up."""

from __future__ import annotations

import asyncio

from tests.e2e.harness import eventually
from tests.endurance.crowd import Arrived, mail, session
from tests.endurance.service import QUICK, at, running
from tests.endurance.test_adoption import left_behind
from tests.fakes.smarthost import FakeSmarthost


async def test_a_damaged_file_holds_nobody_up(tmp_path):
    async with FakeSmarthost() as host:
        spool = tmp_path / "data" / "spool"
        spool.mkdir(parents=True, mode=0o700)
        rubbish = spool / "00000000-no-database.db"
        rubbish.write_bytes(b"this is no database " * 1000)
        (spool / "00000001-a-folder.db").mkdir()
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            (spool / "zzzzzzzz-late.db").write_bytes(b"nor is this " * 1000)
            await asyncio.to_thread(eventually, lambda: "zzzzzzzz-late.db" in service.log, 15)
            mails = [mail(f"m{number}") for number in range(10)]
            async with session(service.smtp_port) as client:
                for each in mails:
                    assert (await client.send(each)).startswith("250")
            await asyncio.to_thread(eventually, lambda: len(host.messages) == 10)
            assert rubbish.read_bytes() == b"this is no database " * 1000
            assert "00000000-no-database.db" in service.log
            assert service.log.count("a process has died") == 0


async def test_a_file_that_is_damaged_inside_holds_nobody_up(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    await left_behind(tmp_path / "old", 20, "", False)
    async with FakeSmarthost() as host:
        with running(tmp_path / "new", at(host.port), relay=QUICK) as service:
            (file,) = (tmp_path / "old" / "data" / "spool").glob("*.db")
            octets = bytearray(file.read_bytes())
            octets[16384 * 3 : 16384 * 12] = b"\xff" * 16384 * 9
            (service.data / "spool" / file.name).write_bytes(octets)
            await asyncio.to_thread(eventually, lambda: file.name in service.log, 15)
            await asyncio.sleep(1.5)
            async with session(service.smtp_port) as client:
                assert (await client.send(mail("whole"))).startswith("250")
            wanted = ("whole", "ann@example.net")
            found = Arrived()
            await asyncio.to_thread(eventually, lambda: wanted in found.take(host.messages).keys, 15)
            assert service.log.count("a process has died") == 0
