"""What stands behind a session: asked at the right time, told the right things, and never believed blindly."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import RelayConfig
from relay.reception import handshake
from relay.reception.replies import Reply, SmtpError, consent, read_reply
from relay.reception.smtpd import Queueing, SmtpServer
from relay.reception.submission import Client
from tests.reception.test_auth import ANN, USERS, WRONG, no_delay  # noqa: F401 - a fixture
from tests.reception.test_smtpd import MAIL, REPLY, client, codes, talk


class Recording:
    """Keeps what it is asked; ``answers`` by the name of the question, an exception is raised."""

    def __init__(self, answers: dict[str, str | Exception]) -> None:
        self.answers = {
            "login": "235 2.7.0 In",
            "mail": "250 2.1.0 Ok",
            "recipient": "250 2.1.5 Ok",
            "accept": "250 2.0.0 Taken",
            **answers,
        }
        self.asked: list[str] = []
        self.facts: list[object] = []

    def _answer(self, question: str, *facts: object) -> str:
        self.asked.append(question)
        self.facts += facts
        answer = self.answers.get(question, "")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def login(self, user, password):
        return self._answer("login", user, password)

    async def mail(self, client, path):
        return self._answer("mail", client, path)

    async def recipient(self, path):
        return self._answer("recipient", path)

    async def accept(self, submission):
        return self._answer("accept", submission)

    async def reset(self):
        self._answer("reset")

    async def leave(self):
        self._answer("leave")


@asynccontextmanager
async def server(answers: dict[str, str | Exception] | None = None, **options):
    made: list[Recording] = []

    def make() -> Recording:
        made.append(Recording(answers or {}))
        return made[-1]

    running = SmtpServer(RelayConfig(listen=["127.0.0.1:0"], **options), "relay.test", make)
    await running.start()
    try:
        yield running, made
    finally:
        await running.stop()


PASSTHROUGH = {"auth": {"passthrough": True}, "delivery": "proxy", "allow_networks": ["10.0.0.0/8"]}


async def test_it_is_asked_in_order_and_its_words_are_the_clients():
    answers: dict[str, str | Exception] = {"mail": "250 2.1.0 Sender fine", "recipient": "251 2.1.5 Will forward"}
    async with server(answers) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\nQUIT\r\n")
    assert answer.split(b"\r\n")[-6:-1] == [
        b"250 2.1.0 Sender fine",
        b"251 2.1.5 Will forward",
        b"354 End data with <CR><LF>.<CR><LF>",
        b"250 2.0.0 Taken",
        b"221 2.0.0 Bye",
    ]
    (behind,) = made
    assert behind.asked == ["mail", "recipient", "accept", "reset", "leave"]
    assert behind.facts[0] == Client(peer="127.0.0.1", user=None, tls=False, helo="me")
    assert [path.address for path in behind.facts[1:3]] == ["a@example.com", "b@example.net"]
    assert behind.facts[3].content == b"x\r\n"


async def test_what_it_refuses_is_not_added():
    answers: dict[str, str | Exception] = {"recipient": SmtpError(550, "5.1.1", "Nobody of that name")}
    async with server(answers) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"QUIT\r\n")
        assert codes(answer)[1:] == ["250 2.1.0", "550 5.1.1", "503 5.5.1", "221 2.0.0"]
        assert b"550 5.1.1 Nobody of that name\r\n" in answer
    assert made[0].asked == ["mail", "recipient", "reset", "leave"]
    async with server({"mail": SmtpError(450, "4.1.0", "Not now")}) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"QUIT\r\n")
        assert codes(answer)[1:] == ["450 4.1.0", "503 5.5.1", "503 5.5.1", "221 2.0.0"]
    assert made[0].asked == ["mail", "leave"]


@pytest.mark.parametrize(
    "command",
    [
        b"MAIL FROM:<a@b>c>",
        b"MAIL FROM:<a@b.c> SIZE=99999999999",
        b"MAIL FROM:<a@b.c> XFOO",
        b"RCPT TO:<a@b.c>",
        b"DATA",
        b"AUTH PLAIN " + ANN,
    ],
)
async def test_it_is_not_bothered_with_what_the_door_refuses(command):
    async with server() as (running, made):
        await talk(running, b"EHLO me\r\n" + command + b"\r\nRSET\r\nEHLO me\r\n")
    assert made[0].asked == ["leave"]


async def test_strangers_recipients_are_refused_before_it_is_asked():
    async with server(allow_networks=["10.0.0.0/8"]) as (running, made):
        assert codes(await talk(running, b"EHLO me\r\n" + MAIL))[2] == "530 5.7.0"
    assert made[0].asked == ["mail", "reset", "leave"]


@pytest.mark.parametrize("end", [b"RSET\r\n", b"EHLO me\r\n", b"HELO me\r\n", b"", b"QUIT\r\n", b"DATA\r\nx\r\n"])
async def test_each_mail_is_forgotten_once_and_each_session_left_once(end):
    async with server() as (running, made):
        await talk(running, b"EHLO me\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n" + end)
        async with client(running) as (reader, writer):
            await reader.readline()
            writer.transport.abort()
    assert made[0].asked == ["mail", "recipient", "reset", "leave"]
    assert made[1].asked == ["leave"]


async def test_a_mail_that_is_too_large_is_forgotten():
    async with server(max_message_size="1KB") as (running, made):
        await talk(running, b"EHLO me\r\n" + MAIL + b"x" * 2000 + b"\r\n.\r\nQUIT\r\n")
    assert made[0].asked == ["mail", "recipient", "reset", "leave"]


async def test_who_is_not_greeted_has_none():
    async with server(limits={"connections": 1}) as (running, made), client(running) as (reader, _):
        await reader.readline()
        assert (await talk(running, b"")).startswith(b"421 ")
        assert len(made) == 1


async def test_a_session_that_is_sent_away_is_left():
    async with server() as (running, made), client(running) as (reader, _):
        await reader.readline()
        await running.stop()
        assert made[0].asked == ["leave"]


async def test_trouble_in_clearing_away_does_not_unsay_a_mail():
    async with server({"reset": RuntimeError("x"), "leave": RuntimeError("y")}) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\nRSET\r\nQUIT\r\n")
        assert codes(answer)[-3:] == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]
        while running.sessions:
            await asyncio.sleep(0.01)
    assert made[0].asked[-1] == "leave"
    assert running.seat.connections == 0


@pytest.mark.parametrize("question", ["mail", "recipient", "accept"])
@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ("250 2.0.0 first\nsecond\r\nthird", ["250-2.0.0 first", "250-2.0.0 second", "250 2.0.0 third"]),
        ("250-2.0.0 first\r\n250-2.0.0 second\r\n250 2.0.0 third\r\n", None),
        ("250 OK", ["250 2.0.0 OK"]),
        ("250", ["250 2.0.0 "]),
        ("250 ünïcode\0", ["250 2.0.0 n code"]),
        ("250 " + "x" * 5000, ["250 " + ("2.0.0 " + "x" * 5000)[:400]]),
        ("250 2.0.0 a\n\n\n250 b", ["250-2.0.0 a", "250 2.0.0 b"]),
        ("550 5.1.1 no\nnever", ["550-5.1.1 no", "550 5.1.1 never"]),
        ("550 2.0.0 no", ["550 5.0.0 no"]),
        ("354 go on", ["451 4.3.0 Something failed here; please try again later"]),
        ("nonsense", ["451 4.3.0 Something failed here; please try again later"]),
        ("", ["451 4.3.0 Something failed here; please try again later"]),
    ],
)
async def test_its_replies_are_framed(question, answer, lines):
    lines = lines or ["250-2.0.0 first", "250-2.0.0 second", "250 2.0.0 third"]
    async with server({question: answer}) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\n")
        await reader.readuntil(b"250 DSN\r\n")
        for command in MAIL.split(b"\r\n")[: ["mail", "recipient", "accept"].index(question)]:
            writer.write(command + b"\r\n")
            await reader.readline()
        if question == "accept":
            writer.write(b"DATA\r\n")
            await reader.readline()
        writer.write({"mail": b"MAIL FROM:<>", "recipient": b"RCPT TO:<b@c.d>", "accept": b"."}[question] + b"\r\n")
        got = [(await reader.readline()).decode("ascii") for _ in lines]
        assert [line.rstrip("\r\n").rstrip() for line in got] == [line.rstrip() for line in lines]
        writer.write(b"NOOP\r\nQUIT\r\n")
        assert await reader.read() == b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"


async def test_a_refusal_may_have_several_lines():
    refusal = SmtpError(550, "5.1.1", "The account does not exist.\nSee https://help.test/\r\n250 2.0.0 Ok")
    async with server({"recipient": refusal}) as (running, _):
        answer = await talk(running, b"EHLO me\r\n" + MAIL)
    assert (
        b"550-5.1.1 The account does not exist.\r\n550-5.1.1 See https://help.test/\r\n550 5.1.1 250 2.0.0 Ok\r\n"
        in answer
    )


async def test_a_refusal_with_the_code_of_a_consent_is_none():
    async with server({"accept": SmtpError(250, "2.0.0", "Ok"), "leave": ""}) as (running, _):
        assert codes(await talk(running, b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n"))[-1] == "451 4.3.0"


async def test_421_ends_the_session():
    async with server({"recipient": SmtpError(421, "4.3.2", "Going down")}) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + MAIL, eof=False)
    assert codes(answer)[1:] == ["250 2.1.0", "421 4.3.2"]
    assert made[0].asked == ["mail", "recipient", "reset", "leave"]


@given(st.text(), st.sampled_from(["250 ", "550-5.1.1 ", "421 4.3.2", "", "25"]))
def test_no_text_breaks_the_framing(text, code):
    try:
        reply = read_reply(code + text)
    except ValueError:
        reply = Reply(451, "4.3.0", text)
    framed = (reply.framed + "\r\n").encode("ascii")
    assert REPLY.fullmatch(framed)
    assert all(len(line) <= 510 for line in framed.split(b"\r\n"))
    assert len({line[:3] for line in framed.split(b"\r\n")[:-1]}) == 1
    assert read_reply(reply.framed).framed == reply.framed


# -- passthrough -----------------------------------------------------------------------------------------------------


async def test_the_counterpart_decides_who_logs_in():
    async with server(**PASSTHROUGH) as (running, made):
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL + b"x\r\n.\r\n")
        assert b"235 2.7.0 In\r\n" in answer
        assert codes(answer)[-1] == "250 2.0.0"
    (behind,) = made
    assert behind.facts[:3] == ["ann", "secret", Client(peer="127.0.0.1", user="ann", tls=False, helo="me")]
    assert (behind.facts[-1].user, behind.facts[-1].trusted) == ("ann", True)


@pytest.mark.parametrize(
    ("refusal", "code", "failures"),
    [
        (SmtpError(535, "5.7.8", "Username and Password not accepted"), "535 5.7.8", 1),
        (SmtpError(534, "5.7.9", "Application-specific password required"), "534 5.7.9", 1),
        (SmtpError(454, "4.7.0", "Temporary authentication failure"), "454 4.7.0", 0),
        ("535 5.7.8 no", "535 5.7.8", 1),
        (RuntimeError("secret"), "451 4.3.0", 0),
    ],
)
async def test_only_a_lasting_refusal_is_a_failed_login(refusal, code, failures):
    async with server({"login": refusal}, **PASSTHROUGH) as (running, _):
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\n" + MAIL + b"QUIT\r\n", eof=False)
        assert codes(answer)[1:] == [code, "250 2.1.0", "530 5.7.0", "503 5.5.1", "221 2.0.0"]
        assert running.seat.board.failures("127.0.0.1", time.monotonic()) == failures


async def test_five_refusals_end_a_session_here_too(monkeypatch):
    async with server({"login": SmtpError(535, "5.7.8", "no")}, **PASSTHROUGH) as (running, made):
        answer = await talk(running, b"EHLO me\r\n" + (b"AUTH PLAIN " + WRONG + b"\r\n") * 9, eof=False)
    assert codes(answer)[1:] == ["535 5.7.8"] * 5 + ["421 4.7.0"]
    assert made[0].asked == ["login"] * 5 + ["leave"]


async def test_without_passthrough_no_password_goes_behind_the_door(monkeypatch):
    monkeypatch.setattr(handshake, "MOST_FAILURES", 2)
    async with server(auth={"users": USERS}) as (running, made):
        octets = b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\nAUTH PLAIN " + ANN + b"\r\nQUIT\r\n"
        assert codes(await talk(running, octets, eof=False))[1:] == ["535 5.7.8", "235 2.7.0", "221 2.0.0"]
    assert made[0].asked == ["leave"]


async def test_without_a_counterpart_that_can_it_does_not_work():
    with pytest.raises(SmtpError) as caught:
        await Queueing(Recording({}).accept).login("ann", "secret")
    assert caught.value.reply.startswith("454 4.7.0 ")


@given(st.from_regex(r"[245]\d\d[ -][245]\.\d\.\d{1,3}[ -~\r\n]{0,40}", fullmatch=True))
def test_a_consent_is_framed_in_one_way(whole):
    """One that is framed already goes through as it is, which is what it would become."""
    try:
        reply = read_reply(whole)
    except ValueError:
        return
    if reply.code < 400:
        assert consent(whole) == reply.framed
    else:
        with pytest.raises(SmtpError):
            consent(whole)
