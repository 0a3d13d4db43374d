"""What becomes of a mail once its client was told 250: what arrives, what is counted, what its sender hears."""

from __future__ import annotations

import asyncio
import email

import pytest

from tests.e2e.client import connected
from tests.e2e.harness import Tracepost, arrivals, in_time, queued_as, serving
from tests.fakes.smarthost import FakeSmarthost, Message, Script

MAIL = (
    b"From: news@example.com\r\nMessage-ID: <%s@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b'Content-Type: text/html\r\n\r\n<a href="https://example.org/">x</a>\r\n'
)
PEOPLE = ("ann@example.net", "bob@example.net", "cat@example.net")
RETRY = "retry: {first: 1s, longest: 2s, give_up_after: 1h}"


async def submit(service, name: bytes, people=PEOPLE) -> str:
    async with connected(service.smtp_port) as client:

        def say() -> bytes:
            client.command(b"MAIL FROM:<news@example.com>")
            for person in people:
                client.command(b"RCPT TO:<" + person.encode() + b">")
            client.command(b"DATA")
            client.raw(MAIL % name)
            return client.command(b".")

        return queued_as(await asyncio.to_thread(say))


@pytest.fixture
async def relay(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none, timeout: 2s}}"
        async with serving(tmp_path, smarthost, relay=RETRY) as running:
            yield running, host


def copies(host: FakeSmarthost) -> list[str]:
    """For whom the copies are that the smarthost took, notifications aside."""
    return sorted(who.decode()[1:-1] for each in host.messages if each.mail[:2] != b"<>" for who in each.recipients)


def notices(host: FakeSmarthost) -> list[Message]:
    """The notifications that the smarthost took."""
    return [each for each in host.messages if each.mail[:2] == b"<>"]


async def counted(service: Tracepost, name: str, **expected: object) -> None:
    """Wait until the API's row of a mail shows these figures."""

    def shown() -> bool:
        row = service.message(f"<{name}@example.com>")
        return {column: row[column] for column in expected} == expected

    await in_time(shown)


async def test_each_recipient_gets_a_copy_of_its_own(relay):
    service, host = relay
    await submit(service, b"all")
    await in_time(service.settled)
    assert sorted(message.recipients for message in host.messages) == [[b"<%s>" % who.encode()] for who in PEOPLE]
    assert len({message.content for message in host.messages}) == 3
    await counted(service, "all", recipients=3, sent=3, delivered=3)


async def test_a_mail_that_is_not_tracked_goes_out_once_for_all(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        async with serving(tmp_path, smarthost, senders='- match: "*@other.test"\n') as service:
            (message,) = await arrivals(service, host, [await submit(service, b"plain")])
            assert len(message.recipients) == 3
            assert message.content.endswith(MAIL % b"plain")
            await counted(service, "plain", instrumented=False, reason="no_profile", sent=3)


async def test_of_those_refused_for_good_the_sender_is_told_once(relay):
    service, host = relay
    host.script["rcpt"] = Script("550 5.1.1 unknown here", when=lambda line: b"bob@" in line)
    await submit(service, b"bounced")
    await in_time(service.settled)
    assert copies(host) == ["ann@example.net", "cat@example.net"]
    (notice,) = notices(host)
    assert notice.recipients == [b"<news@example.com>"]
    report = email.message_from_bytes(notice.content)
    assert report.get_content_type() == "multipart/report"
    about = report.get_payload(1).as_string()
    assert "Final-Recipient: rfc822; bob@example.net" in about
    assert "Action: failed" in about
    assert "Status: 5.1.1" in about
    assert about.count("Final-Recipient") == 1
    await counted(service, "bounced", recipients=3, sent=2, bounced=1, errors=0, pending=0)


async def test_a_temporary_failure_is_tried_again_for_that_recipient_alone(relay):
    service, host = relay
    host.script["rcpt"] = Script("452 4.2.2 full", when=lambda line: b"bob@" in line)
    await submit(service, b"deferred")
    await counted(service, "deferred", recipients=3, sent=2, errors=0, pending=1)
    assert copies(host) == ["ann@example.net", "cat@example.net"]
    host.script.clear()
    await counted(service, "deferred", sent=3, bounced=0, errors=0, pending=0)
    await in_time(service.settled)
    assert copies(host) == sorted(PEOPLE)
    assert not notices(host)


@pytest.mark.parametrize("act", ["drop", "hang", "554 5.3.2 not now", "garbage"])
async def test_a_smarthost_in_trouble_is_waited_for(relay, act):
    service, host = relay
    host.script["greeting"] = Script(act)
    await submit(service, b"trouble")
    await in_time(lambda: service.metric("smarthosts_failing") == 1)
    await counted(service, "trouble", recipients=3, sent=0, bounced=0, errors=0, pending=3)
    assert service.metric("queue_recipients") == 3
    assert not host.messages
    host.script.clear()
    await in_time(service.settled)
    assert service.metric("smarthosts_failing") == 0
    assert copies(host) == sorted(PEOPLE)
    assert not notices(host)
    await counted(service, "trouble", recipients=3, sent=3, bounced=0, errors=0, pending=0)


async def test_mail_in_circles_is_refused(relay):
    service, host = relay
    async with connected(service.smtp_port) as client:
        looping = b"Received: from a by b\r\n" * 51 + MAIL % b"loop"
        assert (await asyncio.to_thread(client.send, looping)).startswith(b"554 5.4.6")
        id = queued_as(await asyncio.to_thread(client.send, looping[24:]))
    await arrivals(service, host, [id])


async def test_nothing_secret_is_logged(relay):
    service, host = relay
    await submit(service, b"quiet")
    await in_time(service.settled)
    token = host.messages[0].content.split(b"http://track.test/c/")[1].split(b'"')[0].decode()
    service.web.get(f"/c/{token}")
    service.web.get(f"/c/{token}x")
    log = (service.folder / "log").read_text()
    assert token not in log
    assert "example.org" not in log
