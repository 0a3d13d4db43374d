"""Postfix with Tracepost as its ``relayhost``: the most careful client there is, with a queue of its own."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.mails import LINKS, newsletter
from tests.e2e.client import Client
from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.fakes.smarthost import FakeSmarthost
from tests.peers import postfix
from tests.peers.conftest import skip_where
from tests.peers.postfix import Postfix
from tests.peers.sink import arrived, sink

SETTINGS = {
    "hopcount_limit": "100",
    "minimal_backoff_time": "1h",
    "maximal_backoff_time": "1h",
    "bounce_size_limit": "1000",
}
"""Patience beyond ours with hops, nothing tried again by itself while a test looks on, reports without the mail."""


@contextmanager
def chain(folder: Path, relay: str = "") -> Iterator[tuple[Postfix, Tracepost, FakeSmarthost]]:
    """Postfix, then Tracepost, then the sink."""
    skip_where(postfix.missing())
    with (
        sink() as host,
        tracepost(folder, f"{{host: 127.0.0.1, port: {host.port}, tls: none}}", relay=relay) as service,
        postfix.postfix(service.smtp_port, settings=SETTINGS) as server,
    ):
        yield server, service, host


@pytest.fixture
def plain(tmp_path):
    with chain(tmp_path) as parts:
        yield parts


def hand_over(server: Postfix, mail: bytes, people: list[str], times: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        for _ in range(times):
            assert client.sendmail("news@example.com", people, mail) == {}


def reasons(server: Postfix) -> list[str]:
    """Why each recipient's mail still waits in Postfix's queue."""
    waiting = [recipient for line in server.queue() for recipient in json.loads(line)["recipients"]]
    return [recipient.get("delay_reason", "") for recipient in waiting]


def empty(server: Postfix) -> bool:
    return not server.queue()


def test_the_queue_drains_through_us(plain):
    server, service, host = plain
    hand_over(server, newsletter(), ["ann@example.net"], 50)
    messages = arrived(host, 50, 60)
    assert all(message.content.count(b"http://track.test/c/") == LINKS for message in messages)
    eventually(lambda: empty(server))
    row = eventually(lambda: (row := service.message("<the-week@example.com>"))["delivered"] and row)
    assert row["instrumented"] is True


def test_it_keeps_what_we_do_not_take_now(tmp_path):
    with chain(tmp_path, "limits: {connections: 1}") as (server, service, host):
        visitor = Client(service.smtp_port)
        hand_over(server, newsletter(), ["ann@example.net"])
        (reason,) = eventually(lambda: [reason for reason in reasons(server) if reason])
        assert "421 4.7.0 Too many connections" in reason
        assert host.messages == []
        visitor.close()
        eventually(lambda: try_again(server, host))
        assert arrived(host)[0].recipients == [b"<ann@example.net>"]
        eventually(lambda: empty(server))


def test_recipients_too_many_for_one_mail_come_in_the_next(tmp_path):
    people = ["ann@example.net", "bob@example.net", "cat@example.net"]
    with chain(tmp_path, "max_recipients: 2") as (server, _, host):
        hand_over(server, newsletter(), people)
        eventually(lambda: len(host.messages) >= 2)
        eventually(lambda: try_again(server, host, 3))
        assert sorted(message.recipients for message in arrived(host, 3)) == [[f"<{who}>".encode()] for who in people]
        eventually(lambda: empty(server))


def try_again(server: Postfix, host: FakeSmarthost, count: int = 1) -> bool:
    """Flush until so many have come: a flush passes by what is being tried just now."""
    if len(host.messages) < count:
        server.flush()
    return len(host.messages) >= count


def test_what_we_refuse_for_good_is_returned_by_its_own_report(plain):
    server, service, host = plain
    looping = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 51 + newsletter()
    hand_over(server, looping, ["ann@example.net"])
    (report,) = arrived(host)
    assert (report.mail.split(b" ")[0], report.recipients) == (b"<>", [b"<news@example.com>"])
    assert b"Content-Type: multipart/report; report-type=delivery-status;" in report.content
    assert b"Status: 5.4.6" in report.content
    assert b"Diagnostic-Code: smtp; 554 5.4.6 Too many hops" in report.content
    assert b"Final-Recipient: rfc822; ann@example.net" in report.content
    assert b"http://track.test/" not in report.content
    eventually(lambda: empty(server))
    (row,) = eventually(lambda: service.web.get("/api/v1/messages").json()["items"])
    assert (row["instrumented"], row["recipients"]) == (False, 1)


def test_a_mail_larger_than_we_take_is_returned(tmp_path):
    with chain(tmp_path, "max_message_size: 20KB") as (server, _, host):
        hand_over(server, newsletter(), ["ann@example.net"])
        (report,) = arrived(host)
        assert report.mail.split(b" ")[0] == b"<>"
        assert b"Status: 5.3.4" in report.content
        eventually(lambda: empty(server))
