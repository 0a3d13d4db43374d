"""SIGTERM: nobody new, the idle are sent away, what is in hand is finished, and nothing is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.harness import eventually
from tests.endurance.crowd import LARGE, Arrived, Crowd, Gone, keys_of, mail, session
from tests.endurance.service import QUICK, at, running
from tests.fakes.smarthost import FakeSmarthost, Script


async def test_what_is_in_hand_is_finished_and_nobody_else_is_taken(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            sent = mail("late", ("ann@example.net", "bob@example.net"), LARGE)
            async with session(service.smtp_port) as idle, session(service.smtp_port) as busy:
                await busy.ask("MAIL FROM:<news@example.com>")
                for each in sent.recipients:
                    await busy.ask(f"RCPT TO:<{each}>")
                await busy.ask("DATA")
                busy.writer.write(sent.content[:5000])
                await busy.writer.drain()
                service.terminate()
                with pytest.raises(Gone, match=r"^421 4\.3\.2 "):
                    await idle.reply()
                await asyncio.sleep(0.3)
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", service.smtp_port)
                busy.writer.write(sent.content[5000:])
                assert (await busy.ask(".")).startswith("250 2.0.0 Ok: queued")
                with pytest.raises(Gone, match=r"^421 4\.3\.2 "):
                    await busy.ask("NOOP")
            assert await asyncio.to_thread(service.wait) == 0
            await asyncio.to_thread(service.start)
            await asyncio.to_thread(eventually, lambda: service.queued() == 0)
            found = Arrived().take(host.messages)
            assert (found.keys, found.duplicates) == (keys_of([sent]), 0)
            (row,) = await asyncio.to_thread(service.rows)
            assert (row["recipients"], row["sent"], row["pending"]) == (2, 2, 0)


async def test_copies_on_their_way_arrive_once(tmp_path):
    async with FakeSmarthost() as host:
        host.script["after"] = Script("trickle")
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            crowd, found = Crowd(service.smtp_port), Arrived()
            async with crowd:
                await crowd.until(100)
                service.terminate()
                began = time.monotonic()
                assert await asyncio.to_thread(service.wait) == 0
            assert time.monotonic() - began < 10
            await asyncio.to_thread(service.start)
            await asyncio.to_thread(eventually, lambda: service.queued() == 0)
            await asyncio.to_thread(eventually, lambda: not any(row["pending"] for row in service.rows()))
            found.take(host.messages)
            assert keys_of(crowd.acknowledged) <= found.keys
            assert found.duplicates == 0
            counted = {row["subject"]: row["sent"] for row in await asyncio.to_thread(service.rows)}
            assert counted == {
                each.name: len(each.recipients)
                for each in [*crowd.acknowledged, *crowd.unanswered]
                if each.name in counted
            }


@pytest.mark.long
async def test_clients_and_smarthosts_that_never_end_do_not_hold_it(tmp_path):
    async with FakeSmarthost() as host:
        host.script["after"] = Script("hang", times=1)
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none, timeout: 2m}}"
        with running(tmp_path, smarthost, relay=QUICK) as service:
            async with session(service.smtp_port) as busy:
                assert (await busy.send(mail("first"))).startswith("250")
                await asyncio.to_thread(eventually, lambda: host.script["after"].times == 0)
                for line in ("MAIL FROM:<news@example.com>", "RCPT TO:<ann@example.net>", "DATA"):
                    await busy.ask(line)
                service.terminate()
                began = time.monotonic()
                assert await asyncio.to_thread(service.wait, 60) == 0
                assert 25 < time.monotonic() - began < 38
            await asyncio.to_thread(service.start)
            await asyncio.to_thread(eventually, lambda: service.queued() == 0)
            assert len(host.messages) == 1
