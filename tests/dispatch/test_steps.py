"""A mail handed over step by step, as its own client speaks."""

from __future__ import annotations

import asyncio

import pytest

from relay.config import SmarthostConfig
from relay.dispatch.envelope import Target
from relay.dispatch.loading import WITHOUT_TRACKING
from relay.dispatch.smarthost import Smarthost
from tests.dispatch.test_loading import EIGHT_BIT, LONG, SHORT, converting
from tests.dispatch.test_smarthost import CONTENT, connected, copy
from tests.fakes.smarthost import FakeSmarthost, Script

BOB, CAT = Target(1, "b@example.net"), Target(2, "c@example.net")


async def test_each_step_has_the_hosts_own_answer():
    script = {
        "mail": Script("250-2.1.0 Welcome\r\n250 2.1.0 back"),
        "rcpt": Script("550-5.1.1 no\r\n550-5.1.1 such \xfc\r\n550 user", when=lambda line: b"c@" in line),
        "after": Script("250-2.0.0 taken\r\n250 2.0.0 as 12345"),
    }
    async with FakeSmarthost(script=script) as host, connected(host) as client:
        mail = await client.begin("a@example.com", {})
        assert (mail.mail.good, mail.mail.text, mail.mail.stage) == (True, "Welcome\nback", "mail")
        assert {"8bitmime", "smtputf8", "size", "pipelining"} <= mail.offers
        assert (await mail.recipient(BOB)).good
        refused = await mail.recipient(CAT)
        assert (refused.code, refused.enhanced, refused.text) == (550, "5.1.1", "no\nsuch\nuser")
        assert not refused.temporary
        taken = await mail.data(CONTENT)
        assert (taken.code, taken.enhanced, taken.text) == (250, "2.0.0", "taken\nas 12345")
        assert (await mail.data(CONTENT)).code == 503
        assert (await mail.recipient(BOB)).code == 503
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 1
    assert host.messages[0].recipients == [b"<b@example.net>"]
    assert host.messages[0].content == CONTENT


async def test_what_the_client_said_goes_on():
    async with FakeSmarthost(extensions=("SIZE 999", "8BITMIME", "SMTPUTF8", "DSN")) as host, connected(host) as client:
        mail = await client.begin("a@b.c", {"SMTPUTF8": None, "RET": "HDRS", "ENVID": "e"}, 123)
        await mail.recipient(Target(1, "ü@e.f", {"NOTIFY": "NEVER"}))
        assert (await mail.data(CONTENT)).good
        mail = await client.begin("a@b.c", {})
        await mail.recipient(BOB)
        assert (await mail.data(CONTENT)).good
    assert host.messages[0].mail == b"<a@b.c> SIZE=123 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e"
    assert host.messages[0].recipients == ["<ü@e.f> NOTIFY=NEVER".encode()]
    assert host.messages[1].mail == b"<a@b.c> BODY=8BITMIME"


async def test_internationalised_mail_is_refused_as_soon_as_it_shows():
    async with FakeSmarthost(extensions=("8BITMIME",)) as host, connected(host) as client:
        mail = await client.begin("ü@example.com", {"SMTPUTF8": None})
        assert (mail.mail.code, mail.mail.enhanced) == (553, "5.6.7")
        assert (await mail.recipient(BOB)).code == 553
        mail = await client.begin("a@example.com", {"SMTPUTF8": None})
        assert mail.mail.good
        refused = await mail.recipient(Target(1, "ü@example.net"))
        assert (refused.code, refused.enhanced) == (553, "5.6.7")
        assert (await mail.recipient(BOB)).good
        refused = await mail.data("Subject: ü\r\n\r\nx\r\n".encode())
        assert (refused.code, refused.enhanced) == (554, "5.6.7")
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 1
    assert len(host.messages) == 1


async def test_8_bit_content_and_size_are_minded():
    async with FakeSmarthost(extensions=("SIZE 100",)) as host:
        client = converting(host)
        for content, original, code in [
            (EIGHT_BIT, None, 250),
            (EIGHT_BIT + b"signed\r\n", None, 554),
            (LONG, SHORT, 250),
        ]:
            mail = await client.begin("a@example.com", {})
            await mail.recipient(BOB)
            reply = await mail.data(content, original)
            assert reply.code == code
        assert reply.text.endswith(WITHOUT_TRACKING)
        await client.close()
    assert [message.content for message in host.messages] == [CONTENT + b"?\r\n", SHORT]
    assert host.connections == 1


@pytest.mark.parametrize("act", ["550 5.7.1 no", "451 4.7.1 later", "421 4.3.2 bye", "drop", "garbage", "hang"])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "after"])
async def test_nothing_is_raised_and_the_next_mail_goes(stage, act):
    async with FakeSmarthost(script={stage: Script(act)}) as host, connected(host, timeout="0.3s") as client:
        mail = await client.begin("a@example.com", {})
        reply = mail.mail
        if stage not in ("greeting", "ehlo", "mail"):
            assert reply.good
            reply = await mail.recipient(BOB)
            if stage != "rcpt":
                assert reply.good
                reply = await mail.data(CONTENT)
        assert not reply.good
        assert reply.temporary == (not act.startswith("550") or stage in ("greeting", "ehlo"))
        assert reply.host_wide == (stage in ("greeting", "ehlo") or act.startswith("421"))
        assert str(reply.code)[0] == reply.enhanced[0]
        assert (await mail.data(CONTENT)).code // 100 in (4, 5)
        await mail.abandon()
        host.script.clear()
        assert (await client.deliver(copy()))[0].sent


async def test_a_stale_connection_is_replaced():
    async with FakeSmarthost() as host, connected(host) as client:
        await client.deliver(copy())
        host.script["mail"] = Script("421 4.4.2 too long idle", times=1)
        mail = await client.begin("a@example.com", {})
        assert mail.mail.good
        await mail.abandon()
        assert host.connections == 2


async def test_abandoned_mail_leaves_a_connection_for_the_next():
    async with FakeSmarthost() as host, connected(host, max_connections=1) as client:
        for _ in range(3):
            mail = await client.begin("a@example.com", {})
            await mail.recipient(BOB)
            await mail.abandon()
            await mail.abandon()
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 1
        assert host.commands.count(b"RSET") == 3
    assert host.messages[0].recipients == [b"<b@example.net>"]


async def test_no_free_connection_is_a_temporary_refusal_after_a_while():
    async with FakeSmarthost() as host, connected(host, max_connections=1) as client:
        first = await client.begin("a@example.com", {})
        second = await client.begin("a@example.com", {}, patience=0.05)
        assert (second.mail.code, second.mail.temporary, second.mail.host_wide) == (451, True, False)
        assert second.offers == frozenset()
        await second.abandon()
        waiting = asyncio.create_task(client.begin("a@example.com", {}))
        await asyncio.sleep(0.05)
        await first.abandon()
        third = await waiting
        assert third.mail.good
        await third.abandon()
        assert host.connections == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "body", "after"])
async def test_a_cancelled_step_costs_the_connection_and_no_place(stage):
    async def session(client):
        mail = await client.begin("a@example.com", {})
        try:
            await mail.recipient(BOB)
            await mail.data(CONTENT if stage != "body" else CONTENT + b"x" * 30_000_000)
        finally:
            await mail.abandon()

    async with FakeSmarthost(script={stage: Script("hang")}) as host, connected(host, max_connections=1) as client:
        for _ in range(3):
            task = asyncio.create_task(session(client))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        host.script.clear()
        (verdict,) = await asyncio.wait_for(client.deliver(copy()), 60)
        assert verdict.sent
        assert host.connections <= 4
    assert len(host.messages) == 1


@pytest.mark.parametrize("stage", ["rcpt", "data", "after"])
async def test_another_task_may_abandon_what_waits(stage):
    host = FakeSmarthost(script={stage: Script("hang", times=1)})
    async with host, connected(host, max_connections=1, timeout="10m") as client:
        mail = await client.begin("a@example.com", {})
        if stage != "rcpt":
            await mail.recipient(BOB)
        step = mail.recipient(BOB) if stage == "rcpt" else mail.data(CONTENT)
        task = asyncio.create_task(step)
        await asyncio.sleep(0.05)
        await mail.abandon()
        assert (await asyncio.wait_for(task, 60)).temporary
        assert (await client.deliver(copy()))[0].sent


async def test_a_mail_abandoned_while_it_is_converted_is_not_sent():
    converted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(content: bytes) -> bytes:
        loop.call_soon_threadsafe(converted.set)
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1, b"x\r\n"), loop).result()

    async with FakeSmarthost(extensions=()) as host:
        settings = SmarthostConfig(host="127.0.0.1", port=host.port, tls="none", timeout="2s", max_connections=1)
        client = Smarthost(settings, "relay.test", to_seven_bit=slowly)
        mail = await client.begin("a@example.com", {})
        await mail.recipient(BOB)
        task = asyncio.create_task(mail.data(EIGHT_BIT))
        await converted.wait()
        await mail.abandon()
        assert (await client.deliver(copy("z@example.net")))[0].sent
        assert (await task).code == 503
        await client.close()
    assert [message.recipients for message in host.messages] == [[b"<z@example.net>"]]
    assert host.commands.count(b"DATA") == 1
