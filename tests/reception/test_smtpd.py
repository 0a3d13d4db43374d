"""The dialogue, octet by octet, with the running server."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.config import RelayConfig
from relay.reception.replies import SmtpError
from relay.reception.smtpd import Queueing, SmtpServer, Submission

REPLY = re.compile(rb"(?:[245]\d\d-[ -~]*\r\n)*[2345]\d\d [ -~]+\r\n")
MAIL = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


class Taken(list[Submission]):
    """An ``accept`` that keeps what it gets; ``refusal`` is raised if set, ``gate`` waited for."""

    refusal: Exception | None = None
    gate: asyncio.Event | None = None

    async def __call__(self, submission: Submission) -> str:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.append(submission)
        return "ID"


@asynccontextmanager
async def server(**options):
    taken = Taken()
    config = RelayConfig(listen=["127.0.0.1:0"], **options)
    running = SmtpServer(config, "relay.test", partial(Queueing, taken))
    await running.start()
    try:
        yield running, taken
    finally:
        await running.stop()


@asynccontextmanager
async def client(running: SmtpServer):
    reader, writer = await asyncio.open_connection(*running.addresses[0])
    try:
        yield reader, writer
    finally:
        writer.close()


async def talk(running: SmtpServer, octets: bytes, eof: bool = True) -> bytes:
    """All that is answered to these octets."""
    async with client(running) as (reader, writer):
        writer.write(octets)
        if eof:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 60)


def codes(answer: bytes) -> list[str]:
    """Reply code and enhanced code of each last line, the greeting left out."""
    lines = [line for line in answer.decode("ascii").split("\r\n") if line[3:4] == " "][1:]
    return [" ".join(line.split(" ")[:2]) if re.match(r"\d{3} \d\.\d", line) else line[:3] for line in lines]


async def test_a_mail_is_taken_octet_for_octet():
    async with server() as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"Subject: x\r\n\r\n..y\0\xff\r\n.\r\nQUIT\r\n")
    assert codes(answer) == ["250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    assert b"250 2.0.0 Ok: queued as ID\r\n" in answer
    (mail,) = taken
    assert (mail.mail_from, mail.rcpt_tos, mail.helo) == ("a@example.com", ("b@example.net",), "me")
    assert mail.content == b"Subject: x\r\n\r\n.y\0\xff\r\n"


async def test_ehlo_offers_what_we_do():
    async with server(max_message_size="1MB") as (running, _):
        answer = await talk(running, b"EHLO me\r\n")
    for offer in (b"SIZE 1000000", b"8BITMIME", b"SMTPUTF8", b"PIPELINING", b"ENHANCEDSTATUSCODES", b"DSN"):
        assert re.search(rb"250[- ]%s\r\n" % offer, answer)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"MAIL FROM:<> RET=HDRS ENVID=abc+2B AUTH=<> SIZE=100 BODY=8BITMIME SMTPUTF8", "250 2.1.0"),
        (b"mail from: <a@b.c>", "250 2.1.0"),
        (b"MAIL FROM:a@b.c", "250 2.1.0"),
        (b'MAIL FROM:<"odd > local"@b.c>', "250 2.1.0"),
        (b"MAIL FROM:<a@[127.0.0.1]>", "250 2.1.0"),
        (b"MAIL FROM:<@relay.test:a@b.c>", "250 2.1.0"),
        (b"MAIL FROM:<a@b.c,d@e.f>", "501 5.1.7"),
        (b"MAIL FROM:<a@b.c> <d@e.f>", "555 5.5.4"),
        (b"MAIL FROM:<a b@c.d>", "501 5.1.7"),
        (b"MAIL FROM:<a@b.c", "501 5.1.7"),
        (b"MAIL FROM:<a>", "501 5.1.7"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL FROM:<a@b.c> SIZE=99999999999", "552 5.3.4"),
        (b"MAIL FROM:<a@b.c> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@b.c> RET=SOME", "501 5.5.4"),
        (b"MAIL FROM:<a@b.c> XFOO=1", "555 5.5.4"),
        ("MAIL FROM:<ü@b.c>".encode(), "550 5.6.7"),
        ("MAIL FROM:<ü@ü.c> SMTPUTF8".encode(), "250 2.1.0"),
        (b"MAIL FROM:<\xff@b.c> SMTPUTF8", "500 5.5.2"),
        (b"RCPT TO:<a@b.c>", "503 5.5.1"),
        (b"DATA", "503 5.5.1"),
        (b"WHAT", "500 5.5.1"),
        (b"", "500 5.5.1"),
        (b"VRFY a", "252 2.5.0"),
        (b"EXPN a", "502 5.5.1"),
        (b"HELP", "214 2.0.0"),
        (b"NOOP x", "250 2.0.0"),
        (b"RSET", "250 2.0.0"),
        (b"EHLO", "501 5.5.4"),
        (b"NOOP " + b"x" * 5000, "500 5.5.2"),
        (b"NOOP " + b"x" * 500_000, "500 5.5.2"),
        (b"NOOP\rQUIT", "500 5.5.2"),
        (b"NOOP\nQUIT", "500 5.5.2"),
        (b"NOOP \0", "500 5.5.2"),
    ],
)
async def test_each_command_has_its_reply(command, code):
    async with server() as (running, _):
        assert codes(await talk(running, b"EHLO me\r\n" + command + b"\r\n")) == ["250", code]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"RCPT TO:<b@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.net", "250 2.1.5"),
        (b"RCPT TO:<Postmaster>", "250 2.1.5"),
        (b"RCPT TO:<b@example.net> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"RCPT TO:<>", "501 5.1.3"),
        (b"RCPT TO:<a@b.c,d@e.f>", "501 5.1.3"),
        (b"RCPT TO:<b>", "501 5.1.3"),
        ("RCPT TO:<ü@b.c>".encode(), "553 5.6.7"),
        (b"MAIL FROM:<c@d.e>", "503 5.5.1"),
    ],
)
async def test_each_recipient_has_its_reply(command, code):
    async with server() as (running, _):
        answer = await talk(running, b"EHLO me\r\nMAIL FROM:<a@b.c>\r\n" + command + b"\r\n")
    assert codes(answer) == ["250", "250 2.1.0", code]


async def test_addresses_are_kept_as_given():
    odd = '"a b\\"c"@Example.COM'
    async with server() as (running, taken):
        await talk(running, f"EHLO me\r\nMAIL FROM:<A+b/c=d@X.y>\r\nRCPT TO:<{odd}>\r\nDATA\r\n.\r\n".encode())
    assert (taken[0].mail_from, taken[0].rcpt_tos) == ("A+b/c=d@X.y", (odd,))


async def test_strangers_may_not_relay():
    async with server(allow_networks=["10.0.0.0/8"]) as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL)
    assert codes(answer) == ["250", "250 2.1.0", "530 5.7.0", "503 5.5.1"]
    assert not taken


async def test_too_many_recipients_are_for_another_mail():
    async with server(max_recipients=2) as (running, taken):
        rcpt = b"RCPT TO:<b@example.net>\r\n"
        answer = await talk(running, b"EHLO me\r\nMAIL FROM:<a@b.c>\r\n" + rcpt * 3 + b"DATA\r\nx\r\n.\r\n")
    assert codes(answer)[2:] == ["250 2.1.5", "250 2.1.5", "452 4.5.3", "354", "250 2.0.0"]
    assert len(taken[0].rcpt_tos) == 2


async def test_a_mail_over_the_limit_is_refused_and_the_session_goes_on():
    async with server(max_message_size="10KB") as (running, taken):
        big = MAIL + b"x" * 20_000 + b"\r\n.\r\n"
        answer = await talk(running, b"EHLO me\r\n" + big + MAIL + b"small\r\n.\r\n")
    assert codes(answer)[4:] == ["552 5.3.4", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]
    assert [mail.content for mail in taken] == [b"small\r\n"]


async def test_memory_is_bounded_over_all_sessions():
    async with server(max_message_size="100KB", limits={"memory": "150KB"}) as (running, _):
        async with client(running) as (_, first):
            first.write(b"EHLO me\r\n" + MAIL + b"x" * 90_000)
            await first.drain()
            while running.memory < 90_000:
                await asyncio.sleep(0.01)
            answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x" * 90_000 + b"\r\n.\r\n")
            assert codes(answer)[-1] == "452 4.3.1"
        while running.memory:
            await asyncio.sleep(0.01)
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x" * 90_000 + b"\r\n.\r\n")
        assert codes(answer)[-1] == "250 2.0.0"
        assert running.memory == 0


SMUGGLED = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nevil\r\n.\r\n"


@pytest.mark.parametrize(
    "end",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\n.\r"],
)
@pytest.mark.parametrize("mode", ["normalize", "reject"])
async def test_nothing_can_be_smuggled(end, mode):
    async with server(bare_newlines=mode) as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"first" + end + SMUGGLED)
    assert all(mail.mail_from == "a@example.com" for mail in taken)
    assert len(taken) <= 1
    bare = end not in (b"\r\n\0.\r\n", b"\r\n.\0\r\n")
    assert codes(answer)[-1] == ("550 5.6.11" if bare and mode == "reject" else "250 2.0.0")
    if taken and mode == "normalize":
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", taken[0].content)


async def test_bare_newlines_of_clients_we_trust_are_made_whole():
    async with server() as (running, taken):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"a\nb\r\n.\r\n")
        assert codes(answer)[-1] == "250 2.0.0"
        assert taken[0].content == b"a\r\nb\r\n"


async def test_a_dot_that_stands_alone_once_newlines_are_made_whole_is_content():
    async with server() as (running, taken):
        await talk(running, b"EHLO me\r\n" + MAIL + b"a\n.\nb\r.\rc\r\n.\r\n")
    assert taken[0].content == b"a\r\n.\r\nb\r\n.\r\nc\r\n"


async def test_bare_newlines_of_strangers_are_refused_in_any_mode():
    async with server() as (running, taken), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\n" + MAIL)
        await reader.readuntil(b"354 ")
        running.config = RelayConfig(allow_networks=["10.0.0.0/8"])  # from here on its client is a stranger
        writer.write(b"a\nb\r\n.\r\nQUIT\r\n")
        assert b"550 5.6.11 " in await asyncio.wait_for(reader.read(), 60)
    assert not taken


async def test_it_listens_on_every_address():
    running = SmtpServer(RelayConfig(listen=["127.0.0.1:0", "[::1]:0"]), "relay.test", partial(Queueing, Taken()))
    try:
        await running.start()
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")
    try:
        assert [address[0] for address in running.addresses] == ["127.0.0.1", "::1"]
        for host, port in running.addresses:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\nQUIT\r\n")
            assert b"250 2.0.0 Ok: queued" in await asyncio.wait_for(reader.read(), 60)
            writer.close()
    finally:
        await running.stop()


async def test_sockets_that_are_bound_already_are_listened_on():
    running = SmtpServer(RelayConfig(listen=["127.0.0.1:1"]), "relay.test", partial(Queueing, Taken()))
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    names = [sock.getsockname() for sock in bound]
    assert not running.listening
    await running.start(bound)
    try:
        assert running.addresses == names
        assert running.listening
        assert running.seat.board.listening
        for host, port in names:
            reader, writer = await asyncio.open_connection(host, port)
            assert (await reader.readline()).startswith(b"220 ")
            writer.close()
    finally:
        await running.stop()
    assert not running.seat.board.listening


async def test_a_client_that_leaves_after_the_dot_has_its_mail_taken():
    async with server() as (running, taken):
        taken.gate = asyncio.Event()
        async with client(running) as (_, writer):
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n")
            await writer.drain()
            while not running.memory:
                await asyncio.sleep(0.01)
            writer.transport.abort()
        await asyncio.sleep(0.05)
        taken.gate.set()
        while not taken:
            await asyncio.sleep(0.01)
    assert len(taken) == 1


async def test_a_half_closed_client_gets_its_answers():
    async with server() as (running, _):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n", eof=True)
    assert codes(answer)[-1] == "250 2.0.0"


async def test_data_cut_short_is_no_mail():
    async with server() as (running, taken):
        await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n")
        assert running.memory == 0
    assert not taken


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SmtpError(554, "5.1.1", "gone\r\n250 2.0.0 forged\r\nünicode"), "554 5.1.1"),
        (RuntimeError("secret cause"), "451 4.3.0"),
    ],
)
async def test_what_goes_wrong_is_one_clean_line(error, code):
    async with server() as (running, taken):
        taken.refusal = error
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\nNOOP\r\n")
    assert codes(answer)[-2:] == [code, "250 2.0.0"]
    assert b"secret" not in answer


async def test_commands_without_progress_are_limited():
    async with server(limits={"commands": 5}) as (running, _):
        answer = await talk(running, b"NOOP\r\n" * 10)
    assert codes(answer) == ["250 2.0.0"] * 5 + ["421 4.7.0"]


async def test_a_mail_is_progress():
    async with server(limits={"commands": 5}) as (running, taken):
        await talk(running, b"EHLO me\r\n" + (b"RSET\r\nNOOP\r\n" + MAIL + b"x\r\n.\r\n") * 20)
    assert len(taken) == 20


async def test_silence_ends_the_session():
    async with server(limits={"idle": "1s"}) as (running, _):
        assert codes(await talk(running, b"NOOP\r\n", eof=False)) == ["250 2.0.0", "421 4.4.2"]


async def test_a_transaction_has_an_end():
    async with server(limits={"transaction": "1s"}) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\n" + MAIL)
        for _ in range(8):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        said = await asyncio.wait_for(reader.read(), 60)
        assert codes(said)[-1] == "421 4.4.2"
        assert b"This mail took too long" in said


async def test_connections_are_limited_by_address():
    async with server(limits={"connections_per_address": 2}) as (running, _):
        async with client(running) as (first, _w1), client(running) as (second, _w2):
            assert (await first.readline()).startswith(b"220")
            assert (await second.readline()).startswith(b"220")
            assert (await talk(running, b"")).startswith(b"421 4.7.0")
        while running.sessions:
            await asyncio.sleep(0.01)
        assert (await talk(running, b"")).startswith(b"220")


async def test_connections_are_limited_over_all():
    async with server(limits={"connections": 2}) as (running, _):
        async with client(running) as (first, _w1), client(running) as (second, _w2):
            assert (await first.readline()).startswith(b"220")
            assert (await second.readline()).startswith(b"220")
            assert (await talk(running, b"")).startswith(b"421 4.7.0")
        while running.sessions:
            await asyncio.sleep(0.01)
        assert running.seat.connections == 0
        assert (await talk(running, b"")).startswith(b"220")


async def test_what_would_not_fit_on_disk_waits():
    async with server(limits={"spool": "1MB"}) as (running, _):
        running.seat.set_spool(900_000)
        sizes = [b"", b" SIZE=100000", b" SIZE=100001"]
        answer = await talk(running, b"EHLO me\r\n" + b"".join(b"MAIL FROM:<>%s\r\nRSET\r\n" % size for size in sizes))
        assert codes(answer)[1::2] == ["250 2.1.0", "250 2.1.0", "452 4.3.1"]
        running.seat.add_spool(100_001)
        assert codes(await talk(running, b"EHLO me\r\nMAIL FROM:<>\r\n"))[1:] == ["452 4.3.1"]


async def test_stopping_sends_the_idle_away_and_finishes_the_busy():
    async with server() as (running, taken):
        taken.gate = asyncio.Event()
        async with client(running) as (idle, _w), client(running) as (busy, writer):
            await idle.readline()
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n")
            while not running.memory:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(running.stop())
            assert (await idle.read()).startswith(b"421 4.3.2")
            taken.gate.set()
            answers = await busy.read()
            await stopping
    assert b"250 2.0.0 Ok: queued" in answers
    assert len(taken) == 1


SOUP = (
    b"EHLO x|HELO x|MAIL FROM:<a@b.c>|RCPT TO:<d@e.f>|DATA|RSET|NOOP|.|x|\0|\r|\n|MAIL FROM:<|\xff\xfe|QUIT |AUTH plain"
    b"|STARTTLS|BDAT 3| |RCPT TO:<\xc3\xbc@x>"
)
words = st.sampled_from(SOUP.split(b"|"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(words, st.sampled_from([b"\r\n", b"\n", b"\r", b""])), max_size=25))
def test_any_soup_gets_well_formed_replies(soup):
    async def check() -> None:
        async with server() as (running, _):
            answer = await talk(running, b"".join(word + end for word, end in soup))
            while answer:
                reply = REPLY.match(answer)
                assert reply, answer
                line = reply[0].split(b"\r\n")[-2]
                enhanced = re.match(rb"([245])\d\d \1\.\d\.\d+ ", line)
                assert enhanced or line[:3] in (b"220", b"354") or line.startswith((b"250 DSN", b"250 relay.test")), (
                    line
                )
                answer = answer[reply.end() :]

    asyncio.run(check())
