"""Clients that wear the door out: that leave, stay, read nothing, err without end."""

from __future__ import annotations

import asyncio
import errno
import time

import pytest

from tests.reception.test_smtpd import MAIL, client, codes, server, talk


async def test_commands_that_fail_are_counted():
    async with server(limits={"commands": 5}) as (running, _):
        answer = await talk(running, b"EHLO me\r\nMAIL FROM:<a@b.c>\r\n" + b"RCPT TO:<x>\r\n" * 50)
    assert codes(answer) == ["250", "250 2.1.0", *["501 5.1.3"] * 4, "421 4.7.0"]


async def test_unknown_and_over_long_commands_are_counted():
    async with server(limits={"commands": 4}) as (running, _):
        answer = await talk(running, (b"WHAT\r\n" + b"x" * 200_000 + b"\r\n") * 2 + b"WHAT\r\n")
    assert codes(answer) == ["500 5.5.1", "500 5.5.2"] * 2 + ["421 4.7.0"]


async def test_many_recipients_are_progress():
    async with server(limits={"commands": 5}) as (running, taken):
        answer = await talk(running, b"EHLO me\r\nMAIL FROM:<a@b.c>\r\n" + b"RCPT TO:<d@e.f>\r\n" * 50 + b"RSET\r\n")
    assert codes(answer)[-1] == "250 2.0.0"
    assert not taken


async def test_what_was_pipelined_before_a_half_close_is_answered():
    async with server() as (running, taken):
        taken.gate = asyncio.Event()
        async with client(running) as (reader, writer):
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n")
            while not running.memory:
                await asyncio.sleep(0.01)
            writer.write(MAIL + b"y\r\n.\r\nQUIT\r\n")
            writer.write_eof()
            await asyncio.sleep(0.1)
            taken.gate.set()
            answer = await asyncio.wait_for(reader.read(), 60)
    assert codes(answer)[4:] == ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    assert [mail.content for mail in taken] == [b"x\r\n", b"y\r\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096, 4097, 4098, 4099])
async def test_commands_may_come_in_pieces(size):
    octets = b"EHLO me\r\nNOOP " + b"x" * 4091 + b"\r\nNOOP " + b"x" * 4092 + b"\r\nNOOP\r\nQUIT\r\n"
    async with server() as (running, _), client(running) as (reader, writer):
        for start in range(0, len(octets), size):
            writer.write(octets[start : start + size])
            if start % 101 == 0:
                await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), 60)
    assert codes(answer) == ["250", "250 2.0.0", "500 5.5.2", "250 2.0.0", "221 2.0.0"]


async def test_stopping_does_not_wait_for_a_client_that_stays_after_its_mail():
    async with server() as (running, taken):
        taken.gate = asyncio.Event()
        async with client(running) as (reader, writer):
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n")
            while not running.memory:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            stopping = asyncio.create_task(running.stop())
            await asyncio.sleep(0.05)
            taken.gate.set()
            await stopping
            assert time.monotonic() - began < 20
            assert codes(await reader.read())[-2:] == ["250 2.0.0", "421 4.3.2"]
    assert len(taken) == 1


async def test_a_client_that_reads_nothing_is_left(monkeypatch):
    monkeypatch.setattr("relay.reception.connection._LINGER_SECONDS", 0.2)
    async with server(limits={"idle": "1s", "commands": 10_000_000}) as (running, _):
        async with client(running) as (_, writer):
            writer.transport.pause_reading()
            with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012
                async with asyncio.timeout(20):
                    while True:
                        writer.write(b"HELP\r\n" * 20_000)
                        await writer.drain()
        async with asyncio.timeout(60):
            while running.sessions:
                await asyncio.sleep(0.05)


async def test_slow_clients_do_not_slow_others():
    async with server() as (running, taken):
        slow = [await asyncio.open_connection(*running.addresses[0]) for _ in range(80)]
        for number, (_, writer) in enumerate(slow):
            writer.write(b"EHLO me\r\n" + MAIL[: number % len(MAIL)])
        for _ in range(20):
            for _, writer in slow:
                writer.write(b"x")
            began = time.monotonic()
            assert codes(await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n"))[-1] == "250 2.0.0"
            assert time.monotonic() - began < 10
        for _, writer in slow:
            writer.close()
        assert len(taken) == 20


async def test_a_thousand_slow_sessions_do_not_slow_a_probe():
    """One octet in 10 seconds from each, a hundred times as fast."""
    many, times = 1000, []
    limits = {"connections": 2000, "connections_per_address": 2000}
    async with server(limits=limits) as (running, taken):
        slow = await asyncio.gather(*(asyncio.open_connection(*running.addresses[0]) for _ in range(many)))

        async def drip(writer: asyncio.StreamWriter, number: int) -> None:
            octets = b"EHLO me\r\n" + MAIL + b"x" * 1000
            await asyncio.sleep(number / many * 0.1)
            for octet in octets:
                writer.write(bytes([octet]))
                await asyncio.sleep(0.1)

        dripping = [asyncio.create_task(drip(writer, number)) for number, (_, writer) in enumerate(slow)]
        for _ in range(100):
            began = time.monotonic()
            assert codes(await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n"))[-1] == "250 2.0.0"
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
        assert running.seat.connections >= many
        assert sorted(times)[98] < 10
        for task, (_, writer) in zip(dripping, slow, strict=True):
            task.cancel()
            writer.close()
        assert len(taken) == 100


async def test_a_mail_that_grows_over_the_limit_by_its_newlines_is_too_large():
    async with server(max_message_size="10KB") as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"\n" * 6_000 + b"\r\n.\r\n")
        assert codes(answer)[-1] == "552 5.3.4"
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"\n" * 4_000 + b"\r\n.\r\n")
        assert codes(answer)[-1] == "250 2.0.0"
    assert taken[0].content == b"\r\n" * 4_001


async def test_trouble_amid_the_data_ends_the_session(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("relay.reception.session.DataReader.feed", fail)
    async with server() as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"MAIL FROM:<evil@example.com>\r\n.\r\nNOOP\r\n")
        assert codes(answer)[-2:] == ["354", "421 4.3.0"]
        assert running.memory == 0
    assert not taken


async def test_memory_is_given_back_whatever_happens():
    ends = [b"x\r\n.\r\n", b"x" * 20_000 + b"\r\n.\r\n", b"a\nb\r\n.\r\n", b"x\r\n", b"\r\n.", b".\r\n", b""]
    for mode in ("normalize", "reject"):
        async with server(max_message_size="10KB", bare_newlines=mode) as (running, _):
            for end in ends:
                await talk(running, b"EHLO me\r\n" + MAIL + end)
                assert running.memory == 0


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        ConnectionRefusedError("the store is away"),
        ConnectionResetError("the store has gone"),
        TimeoutError(),
        EOFError(),
        MemoryError(),
        asyncio.IncompleteReadError(b"", 1),
    ],
)
async def test_trouble_of_ours_is_temporary_and_the_session_goes_on(error):
    async with server() as (running, taken):
        taken.refusal = error
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\nNOOP\r\n")
    assert codes(answer)[-2:] == ["451 4.3.0", "250 2.0.0"]
    assert b"store" not in answer
