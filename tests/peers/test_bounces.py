"""Real mail servers that cannot deliver: their own reports come back to us, and are counted for the right copy."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bounces.test_variants import FAILED, dsn
from tests.e2e.harness import Tracepost, eventually, free_port, tracepost
from tests.endurance.service import at
from tests.fakes.smarthost import FakeSmarthost, Message, Script
from tests.peers import exim, postfix
from tests.peers.conftest import skip_where
from tests.peers.sink import sink
from tests.test_docs import ROOT

SENDERS = """\
- match: "*@example.com"
  bounces: {address: "bounces+{token}@bounces.test"}
"""
MAIL = (
    b"From: News <news@example.com>\r\nTo: you@example.net\r\nSubject: Spring\r\nMessage-ID: <m@example.com>\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nContent-Type: text/html\r\n\r\n"
    b'<body><a href="https://example.org/">x</a></body>\r\n'
)
REFUSALS = {
    "eve": "550 5.1.1 There is no Eve here",
    "fay": "552 5.2.2 The mailbox of Fay is full",
    "gus": "554 5.4.4 No way to Gus",
}


@dataclass
class Chain:
    """An app's view: the relay, the mail server behind it, and where that hands its mail on to."""

    service: Tracepost
    host: FakeSmarthost

    def send(self, *people: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.service.smtp_port, timeout=30) as client:
            assert client.sendmail("app@example.com", list(people), MAIL) == {}

    def counted(self, **counts: int) -> dict:
        """The mail's row, once it has these counts."""
        seen: dict = {}

        def right() -> dict | None:
            seen.update(self.service.message("<m@example.com>"))
            return seen if all(seen[name] == count for name, count in counts.items()) else None

        try:
            return eventually(right, 60)
        finally:
            print({name: seen.get(name) for name in counts})

    def events(self, type: str) -> list[dict]:
        id = self.service.message("<m@example.com>")["id"]
        items = self.service.web.get(f"/api/v1/messages/{id}/events").json()["items"]
        return [each for each in items if each["type"] == type]

    def passed_on(self, count: int) -> list[Message]:
        """The reports that went on to the app's own reverse-path."""

        def there() -> list[Message]:
            return [each for each in self.host.messages if each.recipients == [b"<app@example.com>"]]

        eventually(lambda: len(there()) >= count, 60)
        return there()


@pytest.fixture(params=["postfix", "exim"])
def chain(request: pytest.FixtureRequest, tmp_path: Path, terms) -> Iterator[Chain]:
    skip_where({"postfix": postfix, "exim": exim}[request.param].missing())
    port = free_port()
    with sink() as host, behind(request.param, host, port, terms) as server:
        refuse = [Script(reply, when=naming(who)) for who, reply in REFUSALS.items()]
        host.script["rcpt"] = refuse
        try:
            with tracepost(tmp_path, at(server.port), senders=SENDERS, smtp_port=port) as service:
                yield Chain(service, host)
        finally:
            print(server.log[-6000:], (tmp_path / "log").read_text()[-6000:])


def naming(who: str):
    return lambda line: who.encode() in line


@contextmanager
def behind(name: str, host: FakeSmarthost, port: int, terms) -> Iterator[postfix.Postfix | exim.Exim]:
    """The mail server, which hands bounces to our port and all else to the sink."""
    if name == "postfix":
        settings = {"transport_maps": f"inline:{{bounces.test=smtp:[127.0.0.1]:{port}}}", "bounce_size_limit": "1000"}
        with postfix.postfix(host.port, settings=settings) as server:
            yield server
    else:
        routers = sample("exim", port).replace("remote_smtp", "onwards")
        with exim.exim(host.port, terms, routers) as server:
            yield server


def test_a_report_comes_back_to_the_right_copy(chain):
    chain.send("ann@example.net", "eve@example.net", "fay@example.net", "gus@example.net")
    row = chain.counted(sent=4, delivered=1, bounced=3, pending=0, errors=0)
    assert row["complaints"] == 0
    recipients = chain.service.web.get(f"/api/v1/messages/{row['id']}").json()["recipients_detail"]
    assert [each["status"] for each in recipients] == ["sent", "bounced", "bounced", "bounced"]
    found = {each["recipient"]: each for each in chain.events("bounced")}
    assert {who: each["kind"] for who, each in found.items()} == {
        "eve@example.net": "hard",
        "fay@example.net": "soft",
        "gus@example.net": "hard",
    }
    assert "5.1.1" in found["eve@example.net"]["reply"]
    assert "There is no Eve here" in found["eve@example.net"]["reply"]
    entries = chain.service.web.get("/api/v1/suppressions").json()["items"]
    assert {(each["address"], each["sender"], each["reason"]) for each in entries} == {
        ("eve@example.net", None, "does not exist"),
        ("gus@example.net", "news@example.com", "mail came back (5.4.4)"),
    }
    reports = chain.passed_on(3)
    assert len(reports) == 3
    for report in reports:
        assert report.mail.split(b" ")[0] == b"<>"
        assert b"(Tracepost) with ESMTP id" in report.content
        assert report.content.count(b"\r\nReceived: ") + report.content.startswith(b"Received: ") >= 2
    assert {re.search(rb"There is no Eve|mailbox of Fay|No way to Gus", each.content)[0] for each in reports} == {
        b"There is no Eve",
        b"mailbox of Fay",
        b"No way to Gus",
    }


SAMPLES = (ROOT / "docs" / "bounces.md").read_text()


def sample(language: str, port: int) -> str:
    """A sample of the documentation, for our domain and port."""
    text = re.search(rf"```{language}\n(.*?)```", SAMPLES, re.S)[1]
    return text.replace("bounces.example.com", "bounces.test").replace("2525", str(port))


@pytest.fixture
def fronted(tmp_path: Path) -> Iterator[tuple[postfix.Postfix, Chain]]:
    """A Postfix with the sample's settings, which trusts nobody here, before the relay."""
    skip_where(postfix.missing())
    port = free_port()
    settings = dict(line.split(" = ", 1) for line in sample("ini", port).splitlines())
    settings |= {
        "mynetworks": "192.0.2.0/24",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    }
    with (
        sink() as host,
        postfix.postfix(host.port, settings=settings) as server,
        tracepost(tmp_path, at(host.port), senders=SENDERS, smtp_port=port) as service,
    ):
        yield server, Chain(service, host)
        print(server.log[-4000:])


def test_postfix_as_the_documents_have_it_hands_bounces_on_and_nothing_else(fronted):
    server, chain = fronted
    chain.send("ann@example.net", "bob@example.net")
    chain.counted(sent=2, delivered=2)
    address = re.match(rb"<([^>]+)>", chain.host.messages[0].mail)[1].decode()
    report = dsn(FAILED % ("5.1.1", "550 5.1.1 no such user"))
    refused = [address.replace("+", "+a"), "bounces+x@bounces.test", "ann@example.net"]
    with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
        for bad in refused:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as error:
                client.sendmail("", [bad], report)
            assert error.value.recipients[bad][0] // 100 == 5
        assert client.sendmail("", [address], report) == {}
    chain.counted(sent=2, delivered=1, bounced=1)
    (mail,) = chain.passed_on(1)
    assert mail.content.endswith(report.partition(b"\r\n\r\n")[2])
