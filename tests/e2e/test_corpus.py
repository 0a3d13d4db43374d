"""Real mail through the running service: whatever arrives, nothing but links and pixel may differ, and each link must
lead where a browser would have gone."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.e2e.client import connected
from tests.e2e.harness import Tracepost, tracepost
from tests.e2e.judge import Verdict, followed, judge
from tests.fakes.smarthost import FakeSmarthost

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def crlf(raw: bytes) -> bytes:
    """The mail as it must stand on the wire: every line ends in CRLF."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", raw) if raw.endswith((b"\n", b"\r")) else crlf(raw + b"\r\n")


@pytest.fixture
async def relay(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        with tracepost(tmp_path, smarthost) as running:
            yield running, host


def check_links(service: Tracepost, verdict: Verdict) -> None:
    for change in verdict.changes:
        answer = service.web.get(f"/c/{change.token}", headers={"User-Agent": BROWSER})
        assert answer.status_code == 302
        assert same_place(answer.headers.raw, followed(change.before)), (change.before, answer.headers["location"])


def same_place(headers: list[tuple[bytes, bytes]], expected: str) -> bool:
    """Whether a redirect leads to ``expected``: ASCII to the letter; other letters may stand percent-encoded, in any
    charset, and hosts in punycode."""
    location = next(value for name, value in headers if name.lower() == b"location").decode("ascii")
    if expected.isascii():
        return location == expected
    fixed = [re.escape(part) for part in re.split(r"[^\x00-\x7f]+", expected)]
    host = re.match(r"https?://[^/?#]*", expected, re.I)
    if host and not host[0].isascii():
        return "xn--" in location or "%" in location
    return re.fullmatch("(?:%[0-9A-F]{2}|[ -~])+?".join(fixed), location) is not None


async def test_every_mail_of_the_corpus_arrives_whole(relay, corpus):
    service, host = relay
    mails = [crlf(path.read_bytes()) for path in sorted((corpus / "eml").rglob("*.eml"))]
    async with connected(service.smtp_port) as client:
        for mail in mails:
            assert (await asyncio.to_thread(client.send, mail)).startswith(b"250")
    assert len(host.messages) == len(mails)
    verdicts = [judge(mail, arrived.content) for mail, arrived in zip(mails, host.messages, strict=True)]
    for verdict in verdicts:
        await asyncio.to_thread(check_links, service, verdict)
    assert sum(len(verdict.changes) for verdict in verdicts) > 500
    assert sum(len(verdict.pixels) for verdict in verdicts) > 100
