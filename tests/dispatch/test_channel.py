"""Octets and replies: what is one, what is none, and who spoke when."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dispatch import channel as under_test
from relay.dispatch.channel import LONGEST_LINE, LONGEST_REPLY, MOST_LINES, Channel, Closed, Nonsense, Silent, stuffed
from tests.dispatch.wire import Wire

lines = st.lists(st.sampled_from([b".", b"..", b"x", b"", b".x", b"\0", b"\xff"]), max_size=12)


@given(lines, st.booleans())
def test_dots_are_doubled_where_a_line_begins_and_nowhere_else(parts, ends):
    content = b"\r\n".join(parts) + (b"\r\n" if ends else b"")
    wire = stuffed(content)
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    *sent, last, nothing = wire.split(b"\r\n")
    assert (last, nothing) == (b".", b"")
    assert b"." not in sent
    back = b"".join(line.removeprefix(b".") + b"\r\n" for line in sent)
    assert back == content if content.endswith(b"\r\n") or not content else back == content + b"\r\n"


async def answer_to(octets: bytes, seconds: float = 60.0):
    wire = Wire()
    channel = Channel(wire)
    wire.say(octets)
    return await channel.answer(seconds)


texts = st.binary(max_size=30).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))


@given(st.integers(200, 599), st.lists(texts, min_size=1, max_size=5), st.lists(st.integers(1, 9), min_size=1))
def test_a_reply_is_read_whole_however_it_comes(code, said, sizes):
    octets = b"".join(
        b"%d%s%s\r\n" % (code, b" " if number == len(said) else b"-", text) for number, text in enumerate(said, 1)
    )

    async def read():
        wire = Wire(chunks=(sizes[number % len(sizes)] for number in range(1 << 20)))
        channel = Channel(wire)
        wire.say(octets + octets)
        answers = [await channel.answer(5), await channel.answer(5)]
        assert not channel.spoke
        return answers

    for answer in asyncio.run(read()):
        assert (answer.code, answer.lines) == (code, tuple(said))


@given(st.binary(max_size=60))
def test_whatever_comes_is_a_reply_or_none(octets):
    async def read():
        wire = Wire()
        channel = Channel(wire)
        wire.say(octets)
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, wire.close)
        return await channel.answer(5)

    try:
        answer = asyncio.run(read())
    except (Nonsense, Closed):
        return
    assert octets.startswith(str(answer.code).encode())
    assert octets.count(b"\r\n") >= len(answer.lines)


@pytest.mark.parametrize(
    "octets",
    [
        b"garbage\r\n",
        b"250 bare line feed\n",
        b"250 bare\rreturn\r\n",
        b"250 two returns\r\r\n",
        b"25 too short\r\n",
        b"2500 too long\r\n",
        b"150 too low\r\n",
        b"600 too high\r\n",
        b"250_joined\r\n",
        b"250-one\r\n550 another\r\n",
        b"\xff\xfe\r\n",
        b"\r\n",
        b"250 " + b"x" * LONGEST_LINE + b"\r\n",
        b"x" * (LONGEST_LINE + 1),
        b"250-x\r\n" * MOST_LINES + b"250 x\r\n",
        b"250-" + b"x" * 1000 + b"\r\n",
    ],
)
async def test_what_is_no_reply_is_nonsense(octets):
    repeats = 1 if len(octets) != 1006 else LONGEST_REPLY // 1000 + 2
    with pytest.raises(Nonsense):
        await answer_to(octets * repeats)


async def test_a_code_alone_is_a_reply():
    assert (await answer_to(b"250\r\n")).lines == (b"",)


async def test_a_trickle_does_not_win_time():
    wire = Wire()
    channel = Channel(wire)

    async def trickle():
        for octet in b"250-slow\r\n" * 100:
            channel.data_received(bytes([octet]))
            await asyncio.sleep(0.01)

    trickling = asyncio.create_task(trickle())
    started = asyncio.get_running_loop().time()
    with pytest.raises(Silent):
        await channel.answer(0.1)
    assert asyncio.get_running_loop().time() - started < 1
    trickling.cancel()


async def test_a_host_that_talks_on_and_on_has_to_wait():
    wire = Wire()
    channel = Channel(wire)
    for _ in range(40):
        channel.data_received(b"250 x\r\n" * 300)
    assert not wire.reading
    for _ in range(40 * 300):
        await channel.answer(1)
    assert wire.reading
    assert not channel.spoke


async def test_what_was_said_before_leaving_is_heard():
    wire = Wire()
    channel = Channel(wire)
    channel.data_received(b"421 bye\r\n250")
    wire.close()
    await asyncio.sleep(0)
    assert (await channel.answer(1)).code == 421
    with pytest.raises(Closed):
        await channel.answer(1)


class Slow(Wire):
    """Takes octets only when told to."""

    def write(self, data: bytes) -> None:
        self.unsent += len(data)
        self.written.append(bytes(data))
        self.protocol.pause_writing()

    def leave(self, octets: int) -> None:
        self.unsent = max(0, self.unsent - octets)
        if not self.unsent:
            self.protocol.resume_writing()


async def test_progress_however_slow_keeps_an_upload_alive():
    wire = Slow()
    channel = Channel(wire)
    upload = asyncio.create_task(channel.upload(b"x" * 1000, 0.6))
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert not upload.done()
        wire.leave(100)
    assert await upload


async def test_an_upload_without_progress_fails():
    wire = Slow()
    channel = Channel(wire)
    upload = asyncio.create_task(channel.upload(b"x" * 1000, 0.2))
    await asyncio.sleep(0.05)
    wire.leave(100)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Silent):
        await upload
    assert 0.1 < asyncio.get_running_loop().time() - started < 1


async def test_a_host_that_speaks_amid_an_upload_stops_it(monkeypatch):
    monkeypatch.setattr(under_test, "SLICE", 100)
    wire = Slow()
    channel = Channel(wire)
    upload = asyncio.create_task(channel.upload(b"x" * 1000, 5))
    await asyncio.sleep(0)
    wire.leave(100)
    await asyncio.sleep(0)
    channel.data_received(b"250 taken\r\n")
    assert not await upload
    assert len(b"".join(wire.written)) == 200
    assert (await channel.answer(1)).code == 250


async def test_an_answer_right_behind_the_last_octet_is_in_time():
    wire = Slow()
    channel = Channel(wire)
    upload = asyncio.create_task(channel.upload(b"x" * 1000, 5))
    await asyncio.sleep(0)
    wire.leave(1000)
    channel.data_received(b"250 taken\r\n")
    assert await upload


async def test_a_host_that_leaves_amid_an_upload_is_gone():
    wire = Slow()
    channel = Channel(wire)
    upload = asyncio.create_task(channel.upload(b"x" * 1000, 5))
    await asyncio.sleep(0)
    wire.close()
    with pytest.raises(Closed):
        await upload
    with pytest.raises(Closed):
        await channel.upload(b"x", 5)
