"""What leaves the running service is signed, and holds for dkimpy and OpenDKIM."""

from __future__ import annotations

import asyncio
import base64
import quopri
import signal
import smtplib
from pathlib import Path

import pytest

from tests.e2e.harness import Tracepost, eventually, in_time, serving, tracepost
from tests.e2e.test_main_job import delivered
from tests.fakes.smarthost import FakeSmarthost
from tests.verifiers import ED25519, RSA, Published, pem, signed_headers

SENDERS = """\
- {match: "*@rsa.test", dkim: {domain: rsa.test, selector: one, key_file: FOLDER/rsa.pem}}
- {match: "*@ed.test", dkim: {domain: ed.test, selector: two, key_file: FOLDER/ed.pem}}
- match: "*@resign.test"
  signed_mail: resign
  dkim: {domain: ed.test, selector: two, key_file: FOLDER/ed.pem}
- {match: "*@break.test", signed_mail: break}
- {match: "*@plain.test"}
"""
PUBLISHED = Published({("rsa.test", "one"): RSA, ("ed.test", "two"): ED25519, ("app.test", "app"): RSA})
HTML = '<html><body><p>Grüße {}</p><a href="https://example.org/a?x=1&amp;y=2">Read on</a></body></html>\r\n'
LONG = "long lines " * 80
BODIES = {
    "8bit": HTML.format("8bit").encode(),
    "quoted-printable": quopri.encodestring(HTML.format(LONG).encode()).replace(b"\n", b"\r\n"),
    "base64": base64.encodebytes(HTML.format("base64").encode()).replace(b"\n", b"\r\n"),
    "7bit": HTML.format(LONG).replace("ü", "u").replace("ß", "s").encode(),
    "binary": HTML.format("  two  spaces  \t\r\n\r\n").encode(),
}


def mail(sender: str, encoding: str = "8bit", more: str = "") -> bytes:
    head = (
        f"{more}From: News <{sender}>\r\nTo: ann@example.net\r\nSubject: News\r\nMessage-ID: <{encoding}@{sender}>\r\n"
        "List-Unsubscribe: <https://app.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + BODIES[encoding]


def signed_by_the_app(sender: str) -> bytes:
    from relay.rewriting.signature import sign

    return sign(mail(sender), PUBLISHED.identity("app.test", "app"), 1_790_000_000)


def send(service: Tracepost, sender: str, content: bytes, people: tuple[str, ...] = ("ann@example.net",)) -> None:
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        client.sendmail(sender, list(people), content)


def configured(folder: Path) -> str:
    (folder / "rsa.pem").write_bytes(pem(RSA))
    (folder / "ed.pem").write_bytes(pem(ED25519))
    return SENDERS.replace("FOLDER", str(folder))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dkim")
    with tracepost(folder, senders=configured(folder)) as running:
        yield running


def arrived(service: Tracepost, sender: str, content: bytes, people: tuple[str, ...] = ("ann@example.net",)):
    return delivered(service, lambda: send(service, sender, content, people))


@pytest.mark.parametrize("domain", ["rsa.test", "ed.test"])
@pytest.mark.parametrize("encoding", BODIES)
def test_every_copy_is_tracked_and_then_signed(service, tmp_path, domain, encoding):
    people = ("ann@example.net", "bob@example.net", "cat@example.net")
    copies = arrived(service, f"news@{domain}", mail(f"news@{domain}", encoding), people)
    assert len(set(copies)) == 3
    for each in copies:
        assert each.startswith(b"DKIM-Signature:")
        assert PUBLISHED.dkimpy(each)
        assert PUBLISHED.opendkim(each, tmp_path) == [("pass", domain)]
        body = each.partition(b"\r\n\r\n")[2]
        decoded = {"base64": base64.b64decode, "quoted-printable": quopri.decodestring}.get(encoding, bytes)(body)
        assert b"http://track.test/c/" in decoded
        assert b"http://track.test/o/" in decoded
    names = signed_headers(copies[0])
    assert {"list-unsubscribe", "list-unsubscribe-post", "message-id", "date"} <= set(names)
    assert "received" not in names


def test_text_mail_is_signed_too(service):
    content = b"From: a@rsa.test\r\nSubject: x\r\n\r\nHello\r\n"
    (copy,) = arrived(service, "a@rsa.test", content)
    assert copy.endswith(content)
    assert PUBLISHED.dkimpy(copy)
    assert {"message-id", "date"} <= set(signed_headers(copy))


def test_mail_that_the_app_signed_is_untouched_and_gets_nothing(service):
    content = signed_by_the_app("news@rsa.test")
    (copy,) = arrived(service, "news@rsa.test", content)
    assert copy.startswith(b"Received:")
    assert copy.endswith(content)
    assert copy.count(b"DKIM-Signature:") == 1
    assert PUBLISHED.dkimpy(copy)


def test_resigned_mail_is_tracked_and_bears_our_signature_alone(service, tmp_path):
    content = b"DomainKey-Signature: a=rsa-sha1\r\n" + signed_by_the_app("news@resign.test")
    (copy,) = arrived(service, "news@resign.test", content)
    assert copy.count(b"DKIM-Signature:") == 1
    assert b"DomainKey" not in copy
    assert b"http://track.test/c/" in copy
    assert PUBLISHED.dkimpy(copy)
    assert PUBLISHED.opendkim(copy, tmp_path) == [("pass", "ed.test")]


def test_broken_mail_is_tracked_and_keeps_a_signature_that_does_not_hold(service):
    (copy,) = arrived(service, "news@break.test", signed_by_the_app("news@break.test"))
    assert copy.startswith(b"Received:")
    assert copy.count(b"DKIM-Signature:") == 1
    assert b"http://track.test/c/" in copy
    assert not PUBLISHED.dkimpy(copy)


@pytest.mark.parametrize("sender", ["news@plain.test", "news@nobody.test"])
def test_others_mail_is_not_signed(service, sender):
    (copy,) = arrived(service, sender, mail(sender))
    assert copy.startswith(b"Received:")
    assert b"DKIM-Signature" not in copy


def test_a_mail_that_cannot_be_signed_goes_without(service):
    content = mail("news@rsa.test", more="From me, in the midst of headers\r\n")
    (copy,) = arrived(service, "news@rsa.test", content)
    assert copy.startswith(b"Received:")
    assert b"DKIM-Signature" not in copy
    assert b"lines among its headers" in (service.folder / "log").read_bytes()


@pytest.mark.parametrize("delivery", ["queue", "proxy"])
async def test_a_smarthost_without_8bitmime_gets_signed_seven_bits(tmp_path, delivery):
    async with FakeSmarthost(extensions=()) as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        async with serving(tmp_path, smarthost, configured(tmp_path), f"delivery: {delivery}") as service:
            for people in (("ann@example.net",), ("ann@example.net", "bob@example.net")):
                await asyncio.to_thread(send, service, "news@rsa.test", mail("news@rsa.test"), people)
            await in_time(lambda: len(host.messages) == 3)
    for each in host.messages:
        assert each.content.isascii()
        assert b"Content-Transfer-Encoding: quoted-printable" in each.content
        assert PUBLISHED.dkimpy(each.content)
        assert PUBLISHED.opendkim(each.content, tmp_path) == [("pass", "rsa.test")]


async def test_a_notification_of_ours_is_not_signed(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        async with serving(tmp_path, smarthost, configured(tmp_path)) as service:
            people = ("ann@example.net", "nobody@a\x7f.test")
            await asyncio.to_thread(send, service, "news@rsa.test", mail("news@rsa.test"), people[:1])
            await in_time(service.settled)
            host.script["rcpt"] = script_for("bob@")
            await asyncio.to_thread(send, service, "news@rsa.test", mail("news@rsa.test"), ("bob@example.net",))
            await in_time(lambda: len(host.messages) == 2)
    signed, notice = host.messages
    assert PUBLISHED.dkimpy(signed.content)
    assert notice.mail.startswith(b"<>")
    assert notice.content.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:") == 0


def script_for(who: str):
    from tests.fakes.smarthost import Script

    return Script("550 5.1.1 unknown here", when=lambda line: who.encode() in line)


def test_keys_are_read_again_at_sighup(tmp_path):
    with tracepost(tmp_path, senders=configured(tmp_path)) as service:
        (copy,) = arrived(service, "news@rsa.test", mail("news@rsa.test"))
        assert b"a=rsa-sha256" in copy
        (tmp_path / "rsa.pem").write_bytes(b"not a key")
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: b"holds no private key" in (tmp_path / "log").read_bytes())
        (copy,) = arrived(service, "news@rsa.test", mail("news@rsa.test"))
        assert PUBLISHED.dkimpy(copy)
        (tmp_path / "rsa.pem").write_bytes(pem(ED25519))
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: b"the configuration is reloaded" in (tmp_path / "log").read_bytes())
        (copy,) = arrived(service, "news@rsa.test", mail("news@rsa.test"))
        assert b"a=ed25519-sha256" in copy
        assert Published({("rsa.test", "one"): ED25519}).dkimpy(copy)
