"""Recipients of one mail that fare differently, clients that leave, domains that do not wait for each other."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from tests.fakes.smarthost import FakeSmarthost, Script
from tests.faults.client import stuffed
from tests.faults.conftest import Site, soon
from tests.faults.episode import command
from tests.faults.notice import mails

ANN, BOB, CAT = PEOPLE = ("<ann@example.net>", "<bob@example.net>", "<cat@example.net>")
UNTRACKED = "X-Track-Opens: no\r\nX-Track-Clicks: no\r\n"


def mail(site: Site, name: str, headers: str = "", text: str = "") -> bytes:
    """A newsletter of this site."""
    return (
        f"From: news@{site.domain}\r\nMessage-ID: <{name}@{site.domain}>\r\n"
        f"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: {name}\r\n{headers}"
        f'Content-Type: text/html; charset=utf-8\r\n\r\n<a href="https://example.org/">{text}</a>\r\n'
    ).encode()


def moods(mild: int = 0) -> list[Script]:
    """RCPT, to which Bob is refused for good and Cat once for now; ``mild`` RCPTs for each go through before."""

    def after(person: bytes) -> list[Script]:
        return [Script("250 2.1.5 fine", when=lambda line: person in line, times=mild)]

    refused = Script("550 5.7.1 unknown here", when=lambda line: b"bob@" in line)
    deferred = Script("451 4.2.2 mailbox full", when=lambda line: b"cat@" in line, times=1)
    return [*after(b"bob@"), *after(b"cat@"), refused, deferred]


def copies(host: FakeSmarthost) -> dict[str, list[bytes]]:
    """The contents that each recipient got."""
    found: dict[str, list[bytes]] = {}
    for message in mails(host):
        for recipient in message.recipients:
            found.setdefault(recipient.decode(), []).append(message.content)
    return found


def tells(row: dict, **counts: int) -> bool:
    """Whether these are all the recipients of a row."""
    names = ("recipients", "sent", "delivered", "bounced", "errors", "pending")
    return {name: row[name] for name in names} == {**dict.fromkeys(names, 0), **counts}


@pytest.mark.parametrize("headers", ["", UNTRACKED], ids=["a copy each", "one copy"])
async def test_in_the_queue_each_recipient_goes_its_own_way(queue_house, headers):
    async with queue_house.site(script={"rcpt": moods()}) as site:
        await site.submit(mail(site, "mixed", headers), people=PEOPLE)
        await soon(lambda: copies(site.host).get(ANN))
        row = await site.row("mixed")
        await site.done()
    got = copies(site.host)
    assert {who: len(contents) for who, contents in got.items()} == {ANN: 1, CAT: 1}
    assert (got[ANN] == got[CAT]) == bool(headers)
    (notice,) = site.notices
    assert [each["Final-Recipient"] for each in notice.recipients] == ["rfc822; bob@example.net"]
    assert notice.said == ("failed", "5.7.1", "smtp; 550 5.7.1 unknown here")
    assert tells(row, recipients=3, sent=2, delivered=2, bounced=1)


@pytest.mark.parametrize("headers", ["", UNTRACKED], ids=["a copy each", "one copy"])
async def test_through_the_proxy_each_recipient_is_judged_in_the_session(proxy_house, headers):
    async with proxy_house.site(script={"rcpt": moods()}) as site:
        heard = await site.submit(mail(site, "mixed", headers), people=PEOPLE)
        row = await site.row("mixed")
    assert heard.replies == [
        "250 2.1.0 Ok",
        "250 2.1.5 Ok",
        "550 5.7.1 unknown here",
        "451 4.2.2 mailbox full",
        heard.replies[4],
        "250 2.0.0 Ok: taken",
    ]
    assert list(copies(site.host)) == [ANN]
    assert not site.notices
    assert tells(row, recipients=2, sent=1, delivered=1, bounced=1)  # Cat is the client's to try again


async def test_what_a_proxied_session_cannot_say_is_spooled_or_told(proxy_house):
    async with proxy_house.site(script={"rcpt": moods(mild=1)}) as site:
        heard = await site.submit(mail(site, "late"), " ENVID=QQ314159 RET=HDRS", PEOPLE)
        assert heard.queue_id
        row = await site.row("late")
        await site.done()
    got = copies(site.host)
    assert {who: len(contents) for who, contents in got.items()} == {ANN: 1, CAT: 1}
    assert got[ANN] != got[CAT]
    (notice,) = site.notices
    assert [each["Final-Recipient"] for each in notice.recipients] == ["rfc822; bob@example.net"]
    assert notice.said == ("failed", "5.7.1", "smtp; 550 5.7.1 unknown here")
    assert notice.about["Original-Envelope-Id"] == "QQ314159"
    assert tells(row, recipients=3, sent=2, delivered=2, bounced=1)


async def test_a_refusal_of_the_content_is_told_once_for_all(queue_house):
    refusing = Script("554 5.6.0 no such content", when=lambda line: b"<>" not in line)
    async with queue_house.site(script={"after": refusing}) as site:
        await site.submit(mail(site, "content", UNTRACKED), people=PEOPLE)
        row = await site.row("content")
        await site.done()
    (notice,) = site.notices
    assert [notice.said_of(each) for each in range(3)] == [("failed", "5.6.0", "smtp; 554 5.6.0 no such content")] * 3
    assert tells(row, recipients=3, bounced=3)


@pytest.mark.parametrize("farewell", ["close", "reset"])
async def test_a_client_that_leaves_after_the_dot_has_sent_its_mail_once(house, farewell):
    async with house.site() as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
        for line in (b"EHLO c.test", f"MAIL FROM:<news@{site.domain}>".encode(), b"RCPT TO:" + ANN.encode(), b"DATA"):
            writer.write(line + b"\r\n")
            while (await reader.readline())[3:4] == b"-":
                pass
        await asyncio.sleep(0.2)
        writer.write(stuffed(mail(site, "gone")) + b".\r\n")
        await writer.drain()
        if farewell == "reset":
            await asyncio.sleep(0.001)
            handle = writer.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        row = await site.row("gone")
        await site.done()
    assert len(mails(site.host)) == 1
    assert tells(row, recipients=1, sent=1, delivered=1)


async def test_a_dead_smarthost_holds_up_nobody_else(queue_house):
    async with queue_house.site(listening=False) as dead, queue_house.site() as well:
        for number in range(30):
            await dead.submit(mail(dead, f"dead-{number}"))
        began = time.monotonic()
        await well.submit(mail(well, "well"))
        await soon(lambda: mails(well.host))
        assert time.monotonic() - began < 10
        listed = await asyncio.to_thread(command, queue_house.service, "queue", "list")
        reason = "451 4.4.1 The smarthost cannot be used now (connect): "
        assert any(
            line.startswith(f"Smarthost of *@{dead.domain} not usable since ")
            and ", tried again at " in line
            and reason in line
            for line in listed.splitlines()
        )
        assert f"Smarthost of *@{well.domain}" not in listed
        waiting = await dead.queue()
        assert len(waiting) == 30
        assert all(each["next_at"] is not None for each in waiting)
        await dead.host.listen()
        await asyncio.to_thread(command, queue_house.service, "queue", "retry")
        await soon(lambda: len(mails(dead.host)) == 30)


@pytest.mark.long
async def test_what_a_proxied_session_waits_too_long_for_is_spooled(proxy_house):
    async with proxy_house.site() as site:
        site.host.script["after"] = Script("trickle", times=1, pace=1.1)  # some 23 s; ten timeouts are 30
        began = time.monotonic()
        heard = await site.submit(mail(site, "slow"), people=(ANN, BOB))
        assert 19.0 < time.monotonic() - began < 24.0
        assert heard.queue_id
        row = await site.row("slow")
        await site.done()
        await soon(lambda: len(mails(site.host)) == 2)
    assert {who: len(contents) for who, contents in copies(site.host).items()} == {ANN: 1, BOB: 1}
    assert tells(row, recipients=2, sent=2, delivered=2)
    assert not site.notices
