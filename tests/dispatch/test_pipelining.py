"""A whole envelope in one write, and its replies told apart (RFC 2920)."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dispatch.channel import Channel
from relay.dispatch.connection import Connection
from relay.dispatch.envelope import Copy, Target
from relay.dispatch.smarthost import never
from relay.dispatch.transaction import GROUP, deliver
from tests.dispatch.test_smarthost import CONTENT, connected, copy
from tests.dispatch.wire import Wire
from tests.fakes.smarthost import FakeSmarthost, Script

ANSWERS = {
    "mail": [b"250 2.1.0 Ok\r\n", b"250-2.1.0 Ok\r\n250 go on\r\n", b"451 4.3.0 later\r\n", b"550 5.7.1 no\r\n"],
    "rcpt": [b"250 Ok\r\n", b"251 2.1.5 will forward\r\n", b"450 4.2.0 later\r\n", b"550-5.1.1 no\r\n550 one\r\n"],
    "data": [b"354 go on\r\n", b"354 go on\r\n", b"451 4.3.0 later\r\n", b"554 5.5.1 no\r\n", b"421 4.3.2 bye\r\n"],
    "after": [b"250 2.0.0 taken\r\n", b"250-2.0.0 ta\r\n250 ken\r\n", b"450 4.2.0 later\r\n", b"554 5.7.1 spam\r\n"],
}


class Host:
    """Answers by a script, in order of the recipients; says nothing but what it is asked for."""

    def __init__(self, mail: bytes, rcpts: list[bytes], data: bytes, after: bytes) -> None:
        self._rcpts = iter(rcpts)
        self._answers = {"MAIL": mail, "DATA": data, "RSET": b"250 2.0.0 Ok\r\n", "QUIT": b"221 bye\r\n"}
        self._after = after
        self._in_data = False
        self._octets = b""

    def __call__(self, octets: bytes) -> bytes:
        said, self._octets = b"", self._octets + octets
        while True:
            if self._in_data:
                _, dot, rest = self._octets.partition(b"\r\n.\r\n")
                if not dot:
                    return said
                self._in_data, self._octets = False, rest
                said += self._after
            line, end, rest = self._octets.partition(b"\r\n")
            if not end:
                return said
            self._octets = rest
            verb = line[:4].decode()
            answer = next(self._rcpts) if verb == "RCPT" else self._answers[verb]
            self._in_data = verb == "DATA" and answer.startswith(b"354")
            said += answer


class Source:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.given = 0

    async def take(self, patience):
        return self.connection

    def give(self, connection):
        self.given += 1


def verdicts_of(mail, rcpts, data, after, sizes, pipelining):
    async def run():
        chunks = itertools.cycle(sizes) if sizes else None
        channel = Channel(Wire(Host(mail, rcpts, data, after), chunks))
        source = Source(Connection(channel, "host", {"pipelining": ""} if pipelining else {}, 5.0))
        people = tuple(Target(number, f"r{number}@example.net") for number in range(1, len(rcpts) + 1))
        found = await deliver(source, Copy("a@example.com", people, CONTENT), never)
        assert source.given == 1
        return found

    return asyncio.run(run())


@given(
    st.sampled_from(ANSWERS["mail"]),
    st.lists(st.sampled_from(ANSWERS["rcpt"]), min_size=1, max_size=4),
    st.sampled_from(ANSWERS["data"]),
    st.sampled_from(ANSWERS["after"]),
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
def test_chunks_and_pipelining_do_not_change_verdicts(mail, rcpts, data, after, sizes):
    whole = verdicts_of(mail, rcpts, data, after, None, False)
    assert verdicts_of(mail, rcpts, data, after, None, True) == whole
    assert verdicts_of(mail, rcpts, data, after, sizes, True) == whole
    assert verdicts_of(mail, rcpts, data, after, sizes, False) == whole
    final = mail if not mail.startswith(b"250") else data if not data.startswith(b"354") else after
    for verdict, rcpt in zip(whole, rcpts, strict=True):
        expected = rcpt if mail.startswith(b"250") and not rcpt.startswith(b"25") else final
        assert str(verdict.code).encode() == expected[:3]


async def test_the_envelope_goes_in_one_write_and_the_content_in_another():
    wire = Wire(Host(b"250 Ok\r\n", [b"250 Ok\r\n"] * 2, b"354 go\r\n", b"250 taken\r\n"))
    source = Source(Connection(Channel(wire), "host", {"pipelining": ""}, 5.0))
    verdicts = await deliver(source, copy("b@example.net", "c@example.net"), never)
    assert all(verdict.sent for verdict in verdicts)
    envelope, content = wire.written
    assert envelope == b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n"
    assert content == CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n"


async def test_step_by_step_nothing_is_said_ahead():
    async with FakeSmarthost(pipelining=False) as host, connected(host) as client:
        await client.deliver(copy("b@example.net", "c@example.net"))
    assert host.ahead == []
    async with FakeSmarthost() as host, connected(host) as client:
        await client.deliver(copy("b@example.net", "c@example.net"))
    assert [line[:4] for line in host.ahead] == [b"MAIL", b"RCPT", b"RCPT"]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("count", [1, GROUP - 2, GROUP - 1, GROUP, GROUP + 1, 5 * GROUP + 7])
async def test_any_number_of_recipients_goes_in_groups(count, pipelining):
    people = [f"r{number}@example.net" for number in range(count)]
    refusing = Script("550 5.1.1 " + "x" * 300, when=lambda line: b"0@" in line)
    async with FakeSmarthost(script={"rcpt": refusing}, pipelining=pipelining) as host, connected(host) as client:
        verdicts = await client.deliver(copy(*people))
    assert [verdict.address for verdict in verdicts] == people
    assert [verdict.sent for verdict in verdicts] == ["0@" not in person for person in people]
    assert len(host.messages) == any("0@" not in person for person in people)


async def test_a_refused_sender_is_not_followed_by_thousands_of_recipients():
    async with FakeSmarthost(script={"mail": Script("550 5.7.1 no")}) as host, connected(host) as client:
        verdicts = await client.deliver(copy(*(f"r{number}@example.net" for number in range(10 * GROUP))))
    assert {(verdict.code, verdict.stage) for verdict in verdicts} == {(550, "mail")}
    assert len(host.commands) <= GROUP + 4


@pytest.mark.parametrize("pipelining", [True, False])
async def test_no_content_for_nobody(pipelining):
    """A host may say 354 although it refused all recipients; what it then got would be a mail to no one."""

    host = FakeSmarthost(script={"rcpt": Script("550 5.1.1 no")}, pipelining=pipelining, hasty=True)
    async with host, connected(host) as client:
        verdicts = await client.deliver(copy("b@example.net", "c@example.net"))
        assert {verdict.reply for verdict in verdicts} == {"550 5.1.1 no"}
        host.script.clear()
        assert (await client.deliver(copy()))[0].sent
    assert host.connections == (2 if pipelining else 1)
    assert [message.recipients for message in host.messages] == [[b"<b@example.net>"]]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("act", ["drop", "reset"])
async def test_a_host_that_closes_between_pipelined_answers(stage, act):
    where = Script(act, when=lambda line: stage != "rcpt" or b"c@" in line)
    async with FakeSmarthost(script={stage: where}) as host, connected(host) as client:
        verdicts = await client.deliver(copy("b@example.net", "c@example.net"))
    assert {(verdict.code, verdict.enhanced, verdict.host_wide) for verdict in verdicts} == {(451, "4.4.2", False)}
    assert not host.messages


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "after"])
async def test_421_is_the_hosts_own_trouble_wherever_it_is_said(stage, pipelining):
    script = {stage: Script("421-4.3.2 going\r\n421 4.3.2 down")}
    async with FakeSmarthost(script=script, pipelining=pipelining) as host, connected(host) as client:
        verdicts = await client.deliver(copy("b@example.net", "c@example.net"))
    for verdict in verdicts:
        assert (verdict.reply, verdict.stage) == ("421 4.3.2 going down", stage)
        assert verdict.host_wide


@pytest.mark.parametrize("pipelining", [True, False])
async def test_421_may_come_unasked(pipelining):
    async with FakeSmarthost(pipelining=pipelining) as host, connected(host) as client:
        host.script["after"] = Script("250 2.0.0 taken\r\n421 4.3.2 enough", times=1)
        assert (await client.deliver(copy()))[0].sent
        host.script["data"] = Script("354 go\r\n421 4.3.2 no, stop", times=1)
        (verdict,) = await client.deliver(copy())
        assert (verdict.code, verdict.host_wide) == (421, True)
        assert (await client.deliver(copy()))[0].sent
    assert len(host.messages) == 2


@pytest.mark.parametrize("pipelining", [True, False])
async def test_consent_with_more_behind_it_is_none(pipelining):
    script = {"after": Script("250 2.0.0 taken\r\n250 2.0.0 taken", times=1)}
    async with FakeSmarthost(script=script, pipelining=pipelining) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy())
        assert (verdict.code, verdict.enhanced) == (451, "4.5.0")
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 2


async def test_refusals_that_do_not_match_their_commands_bounce_nobody():
    """An answer too many turns the refusal of one recipient into that of the mail."""
    script = {
        "mail": Script("250 2.1.0 Ok\r\n250 2.1.0 Ok"),
        "rcpt": Script("550 5.1.1 no", when=lambda line: b"c@" in line),
    }
    async with FakeSmarthost(script=script) as host, connected(host) as client:
        verdicts = await client.deliver(copy("b@example.net", "c@example.net"))
    assert {f"{verdict.code} {verdict.enhanced}" for verdict in verdicts} == {"451 4.5.0"}
    assert not host.messages
