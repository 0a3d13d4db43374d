"""What the client is told when the smarthost does not take a mail, and what is counted then."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.client import connected
from tests.e2e.harness import eventually, tracepost
from tests.fakes.smarthost import FakeSmarthost, Script

MAIL = (
    b"From: news@example.com\r\nMessage-ID: <%s@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b'Content-Type: text/html\r\n\r\n<a href="https://example.org/">x</a>\r\n'
)
PEOPLE = ("ann@example.net", "bob@example.net", "cat@example.net")


async def submit(service, name: bytes, people=PEOPLE) -> bytes:
    async with connected(service.smtp_port) as client:

        def say() -> bytes:
            client.command(b"MAIL FROM:<news@example.com>")
            for person in people:
                client.command(b"RCPT TO:<" + person.encode() + b">")
            client.command(b"DATA")
            client.raw(MAIL % name)
            return client.command(b".")

        return await asyncio.to_thread(say)


@pytest.fixture
async def relay(tmp_path):
    async with FakeSmarthost() as host:
        with tracepost(tmp_path, f"{{host: 127.0.0.1, port: {host.port}, tls: none, timeout: 2s}}") as running:
            yield running, host


def rows(service) -> dict[str, dict]:
    return {row["message_id"]: row for row in service.web.get("/api/v1/messages").json()["items"]}


async def test_each_recipient_gets_a_copy_of_its_own(relay):
    service, host = relay
    assert (await submit(service, b"all")).startswith(b"250 2.0.0 Ok: queued as ")
    assert sorted(message.recipients for message in host.messages) == [[b"<%s>" % who.encode()] for who in PEOPLE]
    assert len({message.content for message in host.messages}) == 3
    row = eventually(lambda: rows(service).get("<all@example.com>"))
    assert (row["recipients"], row["sent"], row["delivered"]) == (3, 3, 3)


async def test_a_mail_that_is_not_tracked_goes_out_once_for_all(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        with tracepost(tmp_path, smarthost, senders='- match: "*@other.test"\n') as service:
            assert (await submit(service, b"plain")).startswith(b"250")
            assert [len(message.recipients) for message in host.messages] == [3]
            assert host.messages[0].content.endswith(MAIL % b"plain")
            row = eventually(lambda: rows(service).get("<plain@example.com>"))
            assert (row["instrumented"], row["reason"], row["sent"]) == (False, "no_profile", 3)


async def test_refused_for_good_names_the_recipients(relay):
    service, host = relay
    host.script["rcpt"] = Script("550 5.1.1 unknown here", when=lambda line: b"bob@" in line)
    reply = await submit(service, b"bounced")
    assert reply.startswith(b"554 5.1.1")
    assert b"bob@example.net" in reply
    assert b"ann@" not in reply
    row = eventually(lambda: rows(service).get("<bounced@example.com>"))
    assert (row["recipients"], row["sent"], row["bounced"], row["errors"]) == (3, 2, 1, 0)


async def test_any_temporary_failure_is_451(relay):
    service, host = relay
    host.script["rcpt"] = Script("452 4.2.2 full", when=lambda line: b"bob@" in line)
    assert (await submit(service, b"deferred")).startswith(b"451 4.2.2")
    row = eventually(lambda: rows(service).get("<deferred@example.com>"))
    assert (row["recipients"], row["sent"], row["errors"], row["pending"]) == (3, 2, 1, 0)


@pytest.mark.parametrize("act", ["drop", "hang", "554 5.3.2 not now", "garbage"])
async def test_a_smarthost_in_trouble_is_451_and_nothing_is_counted(relay, act):
    service, host = relay
    host.script["greeting"] = Script(act)
    assert (await submit(service, b"trouble")).startswith(b"451 4.")
    assert not rows(service)


async def test_mail_in_circles_is_refused(relay):
    service, host = relay
    async with connected(service.smtp_port) as client:
        looping = b"Received: from a by b\r\n" * 51 + MAIL % b"loop"
        assert (await asyncio.to_thread(client.send, looping)).startswith(b"554 5.4.6")
        assert (await asyncio.to_thread(client.send, looping[24:])).startswith(b"250")
    assert len(host.messages) == 1


async def test_nothing_secret_is_logged(relay):
    service, host = relay
    await submit(service, b"quiet")
    token = host.messages[0].content.split(b"http://track.test/c/")[1].split(b'"')[0].decode()
    service.web.get(f"/c/{token}")
    service.web.get(f"/c/{token}x")
    log = (service.folder / "log").read_text()
    assert token not in log
    assert "example.org" not in log
