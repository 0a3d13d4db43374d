"""Postfix and Exim as the smarthost: what reaches them is the mail as it was sent, tracked, by TLS and AUTH."""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from bench.mails import LINKS, newsletter
from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.e2e.judge import followed, judge
from tests.peers import postfix
from tests.peers.conftest import Certificate, Peer, skip_where
from tests.peers.sink import arrived, sink

RECEIVED = rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
MAIL_FROM = "news@example.com"
WAYS = {"none": b"ESMTP", "starttls": b"ESMTPSA", "implicit": b"ESMTPSA"}
"""How the smarthost is reached, and what its Received header says of that (RFC 3848)."""


def smarthost(peer: Peer, certificate: Certificate, tls: str, password: str | None = None) -> str:
    """``relay.smarthost`` for this peer; AUTH goes with TLS."""
    port = peer.server.tls_port if tls == "implicit" else peer.server.port
    login = f", username: {peer.terms.user}, password: {password or peer.terms.password}" if tls != "none" else ""
    return f"{{host: 127.0.0.1, port: {port}, tls: {tls}, ca_file: {certificate.authority}{login}}}"


def submit(service: Tracepost, people: list[str]) -> None:
    """Send the newsletter. A temporary refusal is as good as 250 here: what became of each copy is asked later."""
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        client.ehlo()
        client.mail(MAIL_FROM)
        for person in people:
            client.rcpt(person)
        code, text = client.data(newsletter())
        assert code in (250, 451), text


def without_received(content: bytes) -> tuple[bytes, bytes]:
    """The topmost Received header, and the mail below it."""
    top = re.match(RECEIVED, content)
    assert top, content[:200]
    return top[0], content[top.end() :]


@pytest.mark.parametrize("tls", WAYS)
def test_a_tracked_newsletter_arrives_whole(peer, certificate, tmp_path, tls):
    with tracepost(tmp_path, smarthost(peer, certificate, tls)) as service:
        submit(service, ["ann@example.net"])
        (message,) = arrived(peer.sink)
        row = eventually(lambda: (row := service.message("<the-week@example.com>"))["delivered"] and row)
    assert message.recipients == [b"<ann@example.net>"]
    assert message.mail.split(b" ")[0] == b"<news@example.com>"
    added, rest = without_received(message.content)
    assert re.search(rb"(?i)\bwith (\S+)", added)[1].upper() == WAYS[tls]
    verdict = judge(newsletter(), rest)
    assert len(verdict.changes) == LINKS
    assert [followed(change.before) for change in verdict.changes] == [
        f"https://www.example.com/stories/{n}?utm_source=newsletter&id={n * 7919}" for n in range(1, LINKS + 1)
    ]
    assert len(verdict.pixels) == 1
    assert (row["recipients"], row["sent"], row["delivered"]) == (1, 1, 1)


def test_a_mail_that_is_not_tracked_arrives_as_it_was(peer, certificate, tmp_path):
    odd = (
        b"From: news@example.com\r\nMessage-ID: <odd@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n.\r\n..\r\n \r\n<a href=https://example.org/>gr\xc3\xbcn</a> \t\r\n"
    )
    with tracepost(tmp_path, smarthost(peer, certificate, "starttls"), senders='- match: "*@other.test"') as service:
        with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
            client.sendmail(MAIL_FROM, ["ann@example.net"], odd, mail_options=["BODY=8BITMIME"])
        (message,) = arrived(peer.sink)
    _, rest = without_received(message.content)
    trace, own = without_received(rest)
    assert b"Tracepost" in trace
    assert own == odd


def test_login_serves_where_plain_is_not_offered(certificate, terms, tmp_path):
    skip_where(postfix.missing())
    with sink() as host, postfix.postfix(host.port, terms, {"smtpd_sasl_mechanism_filter": "login"}) as server:
        with tracepost(tmp_path, smarthost(Peer(server, terms, host), certificate, "starttls")) as service:
            submit(service, ["ann@example.net"])
            arrived(host)
        assert "sasl_method=LOGIN, sasl_username=tracepost" in server.log


def test_each_recipient_has_its_own_fate(peer, certificate, tmp_path):
    with tracepost(tmp_path, smarthost(peer, certificate, "starttls")) as service:
        submit(service, ["ann@example.net", "bob@example.net", "cat@example.net"])

        def settled() -> dict | None:
            row = service.message("<the-week@example.com>")
            return row if (row["sent"], row["bounced"]) == (1, 1) else None

        row = eventually(settled)
    assert (row["recipients"], row["errors"] + row["pending"]) == (3, 1)
    copies = eventually(lambda: [each for each in peer.sink.messages if each.mail.startswith(b"<news@")])
    assert [copy.recipients for copy in copies] == [[b"<ann@example.net>"]]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_check_connects_as_the_service_does(peer, certificate, tmp_path, tls):
    right = smarthost(peer, certificate, tls)
    with tracepost(tmp_path, right, public_url="http://127.0.0.1:{http}"):
        code, said = checked(tmp_path, right, right)
        assert code == 0, said
        code, said = checked(tmp_path, right, smarthost(peer, certificate, tls, password="not-the-word"))
        assert (code, "535" in said, "not-the-word" in said) == (1, True, False), said
        code, said = checked(tmp_path, right, right.replace(str(certificate.authority), "null"))
        assert (code, "certificate" in said.lower()) == (1, True), said


def checked(folder: Path, before: str, smarthost: str) -> tuple[int, str]:
    """What ``tracepost check --connect`` says of the running service's configuration with another smarthost."""
    file = folder / "other.yaml"
    file.write_text((folder / "config.yaml").read_text().replace(before, smarthost))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACEPOST_")}
    command = [sys.executable, "-m", "relay.cli", "check", "-c", str(file), "--connect"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    return run.returncode, run.stdout + run.stderr
