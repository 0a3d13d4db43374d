"""The smarthost client against a host that misbehaves at every stage."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme

from relay.config import SmarthostConfig
from relay.dispatch.envelope import Copy, Target
from relay.dispatch.smarthost import Smarthost
from tests.fakes.smarthost import FakeSmarthost, Script

pytestmark = pytest.mark.usefixtures("both_ways")

CONTENT = b"Subject: x\r\n\r\n.dot\r\n..two\r\nlast\r\n"


def copy(*people: str, content: bytes = CONTENT, mail_from: str = "a@example.com", **options: str | None) -> Copy:
    targets = tuple(Target(ordinal, address) for ordinal, address in enumerate(people or ("b@example.net",), 1))
    return Copy(mail_from, targets, content, options)


@asynccontextmanager
async def connected(host: FakeSmarthost, **settings):
    settings = {"tls": "none", "timeout": "10s", **settings}
    client = Smarthost(SmarthostConfig(host="127.0.0.1", port=host.port, **settings), "relay.test")
    try:
        yield client
    finally:
        await client.close()


async def test_octets_and_addresses_arrive_as_given():
    odd = '"a b\\"c"@Example.COM'
    async with FakeSmarthost() as host, connected(host) as client:
        (verdict,) = await client.deliver(copy(odd, content=CONTENT + b"\r\nnul \0 \xff\r\n\r\n"))
    assert verdict.sent
    assert host.messages[0].content == CONTENT + b"\r\nnul \0 \xff\r\n\r\n"
    assert host.messages[0].recipients == [b"<" + odd.encode() + b">"]
    assert b"BODY=8BITMIME" in host.messages[0].mail


async def test_the_null_reverse_path_stays_null():
    async with FakeSmarthost() as host, connected(host) as client:
        await client.deliver(copy(mail_from=""))
    assert host.messages[0].mail.startswith(b"<>")


async def test_connections_are_used_again_and_bounded():
    async with FakeSmarthost() as host, connected(host, max_connections=3) as client:
        for _ in range(5):
            await client.deliver(copy())
        assert host.connections == 1
        verdicts = await asyncio.gather(*(client.deliver(copy()) for _ in range(40)))
        assert all(verdict.sent for (verdict,) in verdicts)
        assert host.most_open <= 3
        assert len(host.messages) == 45


@pytest.mark.parametrize("act", ["drop", "reset", "421 4.3.2 going down"])
async def test_a_pooled_connection_that_went_stale_costs_no_mail(act):
    async with FakeSmarthost() as host, connected(host) as client:
        assert (await client.deliver(copy()))[0].sent
        host.script["mail"] = Script(act, times=1)
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 2


async def test_a_host_that_closed_while_idle_costs_no_mail():
    async with FakeSmarthost() as host, connected(host) as client:
        await client.deliver(copy())
        for task in list(host._tasks):
            task.cancel()
        await asyncio.sleep(0.05)
        assert (await client.deliver(copy()))[0].sent


FAULTS = [
    # stage, what the host does there, code, the class of the enhanced code, whether it may go later
    *[
        (stage, act, "4")
        for stage in ("greeting", "ehlo")
        for act in ("554 5.3.2 no", "421 4.3.2 later", "drop", "reset")
    ],
    *[
        (stage, act, "4")
        for stage in ("greeting", "ehlo", "mail", "rcpt", "data", "after")
        for act in ("hang", "garbage")
    ],
    *[(stage, "550 5.7.1 no", "5") for stage in ("mail", "rcpt", "data", "after")],
    *[(stage, "451 4.7.1 later", "4") for stage in ("mail", "rcpt", "data", "after")],
    *[(stage, act, "4") for stage in ("mail", "rcpt", "data", "body", "after") for act in ("drop", "reset")],
    *[(stage, "421 4.3.2 going", "4") for stage in ("mail", "rcpt", "data", "after")],
    *[(stage, "trickle", "2") for stage in ("greeting", "ehlo", "mail", "rcpt", "data", "after")],
    ("mail", "999 what", "4"),
    ("data", "250 not what one says here", "4"),
    ("after", "251 2.0.0 taken otherwise", "2"),
]


@pytest.mark.parametrize(("stage", "act", "outcome"), FAULTS)
async def test_each_fault_has_its_verdict(stage, act, outcome):
    timeout = "0.3s" if act == "hang" else "10s"
    async with FakeSmarthost(script={stage: Script(act)}) as host, connected(host, timeout=timeout) as client:
        verdicts = await asyncio.wait_for(client.deliver(copy("b@example.net", "c@example.net")), 20)
        assert [verdict.ordinal for verdict in sorted(verdicts, key=lambda each: each.ordinal)] == [1, 2]
        for verdict in verdicts:
            assert str(verdict.code)[0] == outcome
            assert verdict.enhanced[0] == outcome
        while outcome == "2" and not host.messages:
            await asyncio.sleep(0.01)  # a trickled answer is read before the host has noted the mail
        assert bool(host.messages) == (outcome == "2")
        host.script.clear()
        assert (await client.deliver(copy()))[0].sent  # and the next mail goes


async def test_each_recipient_has_a_verdict_of_its_own():
    refusing = Script("550 5.1.1 unknown", when=lambda line: b"c@" in line)
    async with FakeSmarthost(script={"rcpt": refusing}) as host, connected(host) as client:
        verdicts = await client.deliver(copy("b@example.net", "c@example.net", "d@example.net"))
    by_address = {verdict.address: verdict for verdict in verdicts}
    assert by_address["b@example.net"].sent
    assert (by_address["c@example.net"].code, by_address["c@example.net"].enhanced) == (550, "5.1.1")
    assert by_address["c@example.net"].text == "unknown"
    assert by_address["d@example.net"].sent
    assert host.messages[0].recipients == [b"<b@example.net>", b"<d@example.net>"]


async def test_a_reply_cannot_break_our_framing():
    act = "550-5.1.1 one\r\n550 5.1.1 tw\xf6 \x07"
    async with FakeSmarthost(script={"rcpt": Script(act)}) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy())
    assert verdict.reply.isprintable()
    assert verdict.reply.isascii()


async def test_nobody_there_is_temporary():
    async with FakeSmarthost() as host:
        gone = host.port
    client = Smarthost(SmarthostConfig(host="127.0.0.1", port=gone, tls="none"), "relay.test")
    (verdict,) = await client.deliver(copy())
    assert (verdict.code, verdict.enhanced) == (451, "4.4.1")


async def test_internationalised_mail_needs_a_host_that_takes_it():
    async with FakeSmarthost(extensions=("8BITMIME",)) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy("ü@example.net"))
        assert (verdict.code, verdict.enhanced) == (554, "5.6.7")
        (verdict,) = await client.deliver(copy("u@example.net", SMTPUTF8=None))
        assert verdict.sent  # asked for, but nothing in it needs it
        assert b"SMTPUTF8" not in host.messages[0].mail
    async with FakeSmarthost() as host, connected(host) as client:
        assert (await client.deliver(copy("ü@example.net")))[0].sent
        assert b"SMTPUTF8" in host.messages[0].mail


async def test_dsn_parameters_go_on_to_a_host_that_offers_dsn():
    wanted = Copy(
        "a@b.c", (Target(1, "d@e.f", {"NOTIFY": "NEVER", "ORCPT": "rfc822;d@e.f"}),), CONTENT, {"RET": "HDRS"}
    )
    async with FakeSmarthost(extensions=("DSN",)) as host, connected(host) as client:
        await client.deliver(wanted)
    assert b"RET=HDRS" in host.messages[0].mail
    assert host.messages[0].recipients == [b"<d@e.f> NOTIFY=NEVER ORCPT=rfc822;d@e.f"]
    async with FakeSmarthost(extensions=()) as host, connected(host) as client:
        await client.deliver(wanted)
    assert host.messages[0].recipients == [b"<d@e.f>"]


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def tls_of(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


USERS = {b"me": base64.b64encode(b"\0me\0secret")}


async def test_starttls_is_verified_and_the_password_goes_inside(authority, ca_file):
    async with FakeSmarthost(tls=tls_of(authority), users=USERS) as host:
        login = {"username": "me", "password": "secret"}
        async with connected(host, tls="starttls", ca_file=ca_file, **login) as client:
            assert (await client.deliver(copy()))[0].sent
    names = [line.split(b" ")[0] for line in host.commands]
    assert names.index(b"STARTTLS") < names.index(b"AUTH") < names.index(b"MAIL")


@pytest.mark.parametrize("name", ["127.0.0.1", "other.test"])
async def test_a_certificate_that_does_not_hold_is_our_trouble(authority, ca_file, name):
    trusted = {} if name == "127.0.0.1" else {"ca_file": ca_file}
    async with FakeSmarthost(tls=tls_of(authority, name)) as host, connected(host, tls="starttls", **trusted) as client:
        (verdict,) = await client.deliver(copy())
    assert verdict.temporary
    assert not host.messages


async def test_without_starttls_nothing_goes_where_it_is_required():
    async with FakeSmarthost() as host, connected(host, tls="starttls") as client:
        (verdict,) = await client.deliver(copy())
    assert verdict.temporary
    assert not host.messages


async def test_opportunistic_takes_what_there_is(authority):
    for tls in (None, tls_of(authority, "other.test")):
        async with FakeSmarthost(tls=tls) as host, connected(host, tls="opportunistic") as client:
            assert (await client.deliver(copy()))[0].sent
        assert (b"STARTTLS" in host.commands) == (tls is not None)


async def test_a_wrong_password_is_temporary(authority, ca_file):
    async with FakeSmarthost(tls=tls_of(authority), users=USERS) as host:
        login = {"username": "me", "password": "wrong"}
        async with connected(host, tls="starttls", ca_file=ca_file, **login) as client:
            (verdict,) = await client.deliver(copy())
            assert await client.probe()
    assert verdict.temporary
    assert "wrong" not in verdict.text
