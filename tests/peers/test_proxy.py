"""``delivery: proxy``: what the client hears is what Postfix or Exim said."""

from __future__ import annotations

import re
import smtplib

import pytest

from bench.mails import newsletter
from tests.e2e.harness import tracepost
from tests.peers.sink import arrived


@pytest.fixture
def proxy(peer, certificate, tmp_path):
    """The service, in front of a real server."""
    login = f"username: {peer.terms.user}, password: {peer.terms.password}"
    smarthost = f"{{host: 127.0.0.1, port: {peer.server.port}, ca_file: {certificate.authority}, {login}}}"
    with tracepost(tmp_path, smarthost, relay="delivery: proxy") as service:
        yield service


def queue_id(reply: bytes) -> str:
    """The name that the server gave the mail: ``queued as ID`` of Postfix, ``id=ID`` of Exim."""
    found = re.search(rb"(?:queued as |id=)([\w-]+)", reply)
    assert found, reply
    return found[1].decode()


def test_the_reply_to_the_data_is_the_servers_own(proxy, peer):
    with smtplib.SMTP("127.0.0.1", proxy.smtp_port, timeout=30) as client:
        client.ehlo()
        client.mail("news@example.com")
        client.rcpt("ann@example.net")
        code, text = client.data(newsletter())
    assert code == 250
    arrived(peer.sink)
    assert queue_id(text) in peer.server.log


def test_each_recipient_is_judged_in_the_session(proxy, peer):
    with smtplib.SMTP("127.0.0.1", proxy.smtp_port, timeout=30) as client:
        client.ehlo()
        client.mail("news@example.com")
        replies = {name: client.rcpt(f"{name}@example.net") for name in ("ann", "bob", "cat")}
        code, _ = client.data(newsletter())
    assert {name: reply[0] for name, reply in replies.items()} == {"ann": 250, "bob": 550, "cat": 450}
    assert replies["bob"][1].startswith(b"5.1.1 ")
    assert replies["bob"][1].endswith(b"There is no Bob here")
    assert replies["cat"][1].startswith(b"4.2.1 ")
    assert replies["cat"][1].endswith(b"Cat is asleep")
    assert code == 250
    (message,) = arrived(peer.sink)
    assert message.recipients == [b"<ann@example.net>"]


def test_the_clients_password_is_judged_by_the_server(peer, certificate, tmp_path):
    smarthost = f"{{host: 127.0.0.1, port: {peer.server.port}, ca_file: {certificate.authority}}}"
    relay = "delivery: proxy\nauth: {passthrough: true}\n"
    with tracepost(tmp_path, smarthost, relay=relay) as service:
        with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login(peer.terms.user, "guessed")
            assert refused.value.smtp_code == 535
            client.login(peer.terms.user, peer.terms.password)
            client.sendmail("news@example.com", ["ann@example.net"], newsletter())
        (message,) = arrived(peer.sink)
        assert re.search(rb"(?i)\bwith esmtpsa\b", message.content.partition(b"Tracepost")[0])
        assert peer.terms.password not in (service.folder / "log").read_text()
