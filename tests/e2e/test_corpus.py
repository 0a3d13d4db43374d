"""Real mail through the running service: whatever arrives, nothing but links and pixel may differ, and each link must
lead where a browser would have gone."""

from __future__ import annotations

import asyncio
import base64
import quopri
import re

import lxml.html
import pytest

from tests.e2e.client import connected
from tests.e2e.harness import Tracepost, arrivals, queued_as, serving
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
        async with serving(tmp_path, smarthost) as running:
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
        ids = [queued_as(await asyncio.to_thread(client.send, mail)) for mail in mails]
    arrived = await arrivals(service, host, ids)
    verdicts = [judge(mail, message.content) for mail, message in zip(mails, arrived, strict=True)]
    for verdict in verdicts:
        await asyncio.to_thread(check_links, service, verdict)
    assert sum(len(verdict.changes) for verdict in verdicts) > 500
    assert sum(len(verdict.pixels) for verdict in verdicts) > 100


def wrapped(html: bytes, encoding: str) -> bytes:
    """A page as the HTML part of a mail beside a text part."""
    bodies = {"quoted-printable": quopri.encodestring, "base64": base64.encodebytes, "8bit": lambda octets: octets}
    head = "From: news@example.com\nMessage-ID: <page@example.com>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
    head += 'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary="=_b=="\n\n--=_b==\n'
    head += "Content-Type: text/plain\n\nhttps://example.org/\n--=_b==\nContent-Type: text/html; charset=utf-8\n"
    head += f"Content-Transfer-Encoding: {encoding}\n\n"
    return crlf(head.encode() + bodies[encoding](html) + b"\n--=_b==--\n")


def web_links(html: str) -> int:
    """Every http(s) a, area and VML href that lxml finds in a page and, one by one, in its conditional comments."""
    pages = [html, *re.findall(r"<!--\s*\[if(?:[^>]*)>(.*?)<!\[endif\]-->", html, re.S | re.I)]
    count = 0
    for page in pages:
        if not page.strip():
            continue
        parser = lxml.html.HTMLParser(encoding="utf-8")
        tree = lxml.html.document_fromstring(
            (page if page is html else f"<p>{page}").encode(), parser=parser, ensure_head_body=True
        )
        for element in tree.iter():
            if isinstance(element.tag, str) and (element.tag in ("a", "area") or element.tag.startswith("v:")):
                href = re.sub(r"[\t\r\n]", "", element.get("href") or "").strip().lower()
                count += href.startswith(("http://", "https://")) and "{{" not in href
    return count


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "8bit"])
async def test_every_page_of_the_corpus_is_tracked_and_whole(relay, corpus, encoding):
    service, host = relay
    pages = [path.read_bytes() for path in sorted((corpus / "html").rglob("*.html"))]
    pages = [page for page in pages if is_utf8(page)]
    mails = [wrapped(page, encoding) for page in pages]
    async with connected(service.smtp_port) as client:
        ids = [queued_as(await asyncio.to_thread(client.send, mail)) for mail in mails]
    arrived = await arrivals(service, host, ids)
    verdicts = [judge(mail, message.content) for mail, message in zip(mails, arrived, strict=True)]
    for verdict in verdicts[:: 1 if encoding == "base64" else 20]:
        await asyncio.to_thread(check_links, service, verdict)
    long_lines = [encoding == "8bit" and any(len(line) > 600 for line in page.splitlines()) for page in pages]
    wrong = [
        number
        for number, (page, verdict, long) in enumerate(zip(pages, verdicts, long_lines, strict=True))
        if not long and len(verdict.changes) != web_links(page.decode()) and page.strip()
    ]
    assert not wrong, [(pages[n][:60], len(verdicts[n].changes), web_links(pages[n].decode())) for n in wrong]
    assert sum(len(verdict.pixels) for verdict in verdicts) > len(pages) * 0.95


def is_utf8(octets: bytes) -> bool:
    try:
        return "\0" not in octets.decode()
    except UnicodeError:
        return False
