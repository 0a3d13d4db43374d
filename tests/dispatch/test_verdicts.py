"""What a smarthost says is never taken for more, or for less, than it is."""

from __future__ import annotations

import pytest
import trustme

from tests.dispatch.test_smarthost import CONTENT, ca_file, connected, copy, tls_of
from tests.fakes.smarthost import FakeSmarthost, Script

__all__ = ["ca_file"]

pytestmark = pytest.mark.usefixtures("both_ways")

UNKNOWN = Script("550 5.1.1 unknown", when=lambda line: b"c@" in line)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def codes(verdicts) -> dict[str, str]:
    return {verdict.address[0]: f"{verdict.code} {verdict.enhanced}" for verdict in verdicts}


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        *[(stage, act) for stage in ("data", "body", "after") for act in ("drop", "reset")],
        *[(stage, "421 4.3.2 going") for stage in ("data", "after")],
    ],
)
async def test_a_refused_recipient_stays_refused_when_the_rest_fails(stage, act):
    async with FakeSmarthost(script={"rcpt": UNKNOWN, stage: Script(act)}) as host, connected(host) as client:
        found = codes(await client.deliver(copy("b@example.net", "c@example.net", "d@example.net")))
    assert found["c"] == "550 5.1.1"
    assert found["b"][0] == found["d"][0] == "4"
    assert not host.messages


async def test_a_drop_amid_the_recipients_leaves_the_others_for_later():
    script = {"rcpt": Script("drop", when=lambda line: b"d@" in line)}
    async with FakeSmarthost(script=script) as host, connected(host) as client:
        found = codes(await client.deliver(copy("b@example.net", "d@example.net", "e@example.net")))
    assert {code[0] for code in found.values()} == {"4"}
    assert not host.messages


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_host_that_refuses_and_leaves_has_refused(stage):
    script = {stage: Script("550 5.7.1 no"), "rset": Script("drop")}
    async with FakeSmarthost(script=script) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy())
        assert (verdict.code, verdict.enhanced, verdict.text) == (550, "5.7.1", "no")
        host.script.clear()
        assert (await client.deliver(copy()))[0].sent


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        ("mail", "250 2.1.0 Ok\r\n250 2.1.5 Ok"),
        ("rcpt", "250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n250 2.0.0 taken"),
        ("data", "354 go on\r\n250 2.0.0 taken"),
    ],
)
async def test_an_answer_that_comes_unasked_is_never_taken_for_consent(stage, act):
    refusal = {} if stage == "rcpt" else {"rcpt": UNKNOWN}
    script = {**refusal, stage: Script(act, times=1)}
    async with FakeSmarthost(script=script) as host, connected(host) as client:
        found = codes(await client.deliver(copy("b@example.net", "c@example.net")))
        assert not any(code.startswith("2") for code in found.values())
        assert not host.messages
        host.script.clear()
        assert (await client.deliver(copy()))[0].sent


@pytest.mark.parametrize(("act", "expected"), [("250 2.0.0 taken", "451 4.5.0"), ("552 5.3.4 too large", "552 5.3.4")])
async def test_an_answer_amid_the_data_may_refuse_it_and_never_take_it(act, expected):
    async with FakeSmarthost(script={"body": Script(act, times=1)}) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy(content=b"x" * 30_000_000 + b"\r\n"))
        assert f"{verdict.code} {verdict.enhanced}" == expected
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 4.1.1 what now", "550 5.1.1"),
        ("451 5.7.1 what now", "451 4.7.1"),
        ("550 no enhanced code", "550 5.0.0"),
        ("450 5.7.1000 too long", "450 4.0.0"),
        ("354 go on", "451 4.0.0"),
        ("150 hm", "451 4.0.0"),
        ("550", "550 5.0.0"),
    ],
)
@pytest.mark.parametrize("stage", ["mail", "rcpt", "after"])
async def test_both_codes_are_of_one_class(stage, reply, expected):
    async with FakeSmarthost(script={stage: Script(reply, times=1)}) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy())
        assert verdict.reply.split(" ")[0][0] == verdict.enhanced[0] == expected[0]
        if reply.startswith(expected[:3]):
            assert f"{verdict.code} {verdict.enhanced}" == expected
        assert (await client.deliver(copy()))[0].sent


async def test_8_bit_mail_needs_a_host_that_takes_it():
    async with FakeSmarthost(extensions=()) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy(content=CONTENT + b"\xff\r\n"))
        assert (verdict.code, verdict.enhanced) == (554, "5.6.3")
        assert not host.messages
        assert (await client.deliver(copy()))[0].sent


@pytest.mark.parametrize("act", ["454 4.7.0 not now", "drop", "500 5.5.1 offered, but not known"])
async def test_opportunistic_tls_that_fails_is_done_without(authority, act):
    host = FakeSmarthost(tls=tls_of(authority), script={"starttls": Script(act)})
    async with host, connected(host, tls="opportunistic") as client:
        assert (await client.deliver(copy()))[0].sent
    assert b"STARTTLS" in host.commands


@pytest.mark.parametrize("act", ["454 4.7.0 not now", "drop", "550 5.7.0 never"])
async def test_required_tls_that_fails_sends_nothing(authority, ca_file, act):
    host = FakeSmarthost(tls=tls_of(authority), script={"starttls": Script(act)})
    async with host, connected(host, tls="starttls", ca_file=ca_file) as client:
        (verdict,) = await client.deliver(copy())
    assert verdict.temporary
    assert not any(line.startswith(b"MAIL") for line in host.commands)


async def test_implicit_tls_is_verified(authority, ca_file):
    for name in ("127.0.0.1", "other.test"):
        host = FakeSmarthost(tls=tls_of(authority, name), implicit=True)
        async with host, connected(host, tls="implicit", ca_file=ca_file) as client:
            (verdict,) = await client.deliver(copy())
        assert verdict.sent == (name == "127.0.0.1") == bool(host.messages)
