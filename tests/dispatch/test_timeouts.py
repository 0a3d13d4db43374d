"""How long each step may take (RFC 5321 section 4.5.3.2), on real sockets."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog
import trustme

from relay.dispatch.connection import DATA_ANSWER_TIMEOUTS
from tests.dispatch.test_smarthost import CONTENT, ca_file, connected, copy, tls_of
from tests.fakes.smarthost import FakeSmarthost, Script

__all__ = ["ca_file"]

LARGE = CONTENT + b"x" * 30_000_000 + b"\r\n"
SMALL_WINDOW = 8192


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def test_a_minute_a_step_makes_ten_for_the_data():
    assert 60 * DATA_ANSWER_TIMEOUTS == 600


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "rset"])
async def test_a_trickle_holds_no_step_for_longer_than_its_time(stage):
    """Five octets in the time that the whole reply has."""
    script = {stage: Script("trickle", pace=0.04)}
    if stage == "rset":
        script["rcpt"] = Script("550 5.1.1 no such user here")
    async with FakeSmarthost(script=script) as host, connected(host, timeout="0.2s") as client:
        began = time.monotonic()
        (verdict,) = await client.deliver(copy())
        assert time.monotonic() - began < 3
        assert (verdict.code == 550) if stage == "rset" else verdict.temporary
        assert not host.messages


@pytest.mark.usefixtures("both_ways")
async def test_the_answer_to_the_data_may_take_ten_times_as_long():
    host = FakeSmarthost(script={"after": Script("trickle", pace=0.03)})
    async with host, connected(host, timeout="0.2s") as client:
        assert (await client.deliver(copy()))[0].sent
        await asyncio.sleep(0.1)
    assert len(host.messages) == 1


async def test_an_upload_that_no_one_reads_is_given_up():
    host = FakeSmarthost(script={"body": Script("hang")}, window=SMALL_WINDOW)
    async with host, connected(host, timeout="0.3s") as client:
        began = time.monotonic()
        (verdict,) = await client.deliver(copy(content=LARGE))
        assert time.monotonic() - began < 2
    assert (verdict.code, verdict.enhanced, verdict.stage) == (451, "4.4.2", "after")
    assert not verdict.host_wide
    assert not host.messages


@pytest.mark.parametrize("secured", [False, True])
async def test_an_upload_that_is_read_slowly_arrives(secured, authority, ca_file):
    """It takes longer than any step may."""
    host = FakeSmarthost(
        script={"body": Script("sip", pace=0.002)}, window=SMALL_WINDOW, tls=tls_of(authority) if secured else None
    )
    content = LARGE[:4_000_000] + b"\r\n"
    async with host, connected(host, timeout="0.3s", tls="opportunistic", ca_file=ca_file) as client:
        began = time.monotonic()
        (verdict,) = await client.deliver(copy(content=content))
        assert verdict.sent
        assert time.monotonic() - began > 0.3
    assert host.messages[0].content == content


@pytest.mark.parametrize("act", ["hang", "drop", "garbage"])
async def test_what_may_have_been_taken_is_said_in_the_log(act):
    async with FakeSmarthost(script={"after": Script(act)}) as host, connected(host, timeout="0.3s") as client:
        with structlog.testing.capture_logs() as logs:
            (verdict,) = await client.deliver(copy())
    assert verdict.temporary
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "twice" in logs[0]["event"]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "body"])
async def test_what_cannot_have_been_taken_is_not(stage):
    async with FakeSmarthost(script={stage: Script("drop")}, window=SMALL_WINDOW) as host, connected(host) as client:
        with structlog.testing.capture_logs() as logs:
            (verdict,) = await client.deliver(copy(content=LARGE))
    assert verdict.temporary
    assert logs == []


async def test_one_slow_mail_holds_up_no_other():
    script = {"mail": Script("hang", when=lambda line: b"slow" in line)}
    async with FakeSmarthost(script=script) as host, connected(host, timeout="2s") as client:
        slow = asyncio.create_task(client.deliver(copy(mail_from="slow@example.com")))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert (await client.deliver(copy()))[0].sent
        assert time.monotonic() - began < 1
        assert (await slow)[0].temporary
