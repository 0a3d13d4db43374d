"""An independent look at what rewriting did: the standard library decodes, lxml reads."""

from __future__ import annotations

import email
import re

import lxml.html

from relay.rewriting.instrument import Options, scan

BASE = "http://track.test"
OPTIONS = Options(BASE, True, True)
OURS = re.compile(r"http://track\.test/(?:c/([0-9]+)-x*z|[um]/own)")
PIXEL = re.compile(r'<img\s+src="http://track\.test/o/p\.gif"\s+width="1" [^<>]*>')


def never(url):
    return False


def click(link, target):
    """As long as a tracked URL may be."""
    head = f"{BASE}/c/{link.position}-"
    return head + "x" * (OPTIONS.length(link.target) - len(head) - 1) + "z"


def value(name):
    """What is one recipient's own."""
    own = {"unsubscribe_url": f"{BASE}/u/own", "mirror_url": f"{BASE}/m/own", "recipient.email": "ann+x@example.net"}
    return own.get(name, "0192f0c1-0000-7000-8000-000000000000")


def render(raw, options=OPTIONS, is_ours=never):
    found = scan(raw, options, is_ours)
    assert not (found.reason or "").startswith("error"), found.reason
    return found, found.render(click, f"{BASE}/o/p.gif", value)


def crlf(raw):
    return re.sub(rb"\r\n|\r|\n", b"\r\n", raw)


def html_of(part):
    payload = part.get_payload(decode=True)
    for charset in (str(part.get_content_charset() or "latin-1").strip("'\""), "latin-1"):
        try:
            return payload.decode(charset)
        except (LookupError, UnicodeError):
            continue
    raise AssertionError


def flat(text):
    return text.replace("\r\n", " ")


def original(text, start, end):
    """The part of ``text`` that stands from ``start`` to ``end`` of its flat form."""
    breaks = [m.start() - n for n, m in enumerate(re.finditer("\r\n", text))]
    return text[start + sum(b < start for b in breaks) : end + sum(b < end for b in breaks)]


def followed(value):
    """What lxml's HTML parser reads in an attribute, as a browser would follow it."""
    quote = "'" if '"' in value else '"'
    href = lxml.html.fragment_fromstring(f"<a href={quote}{value}{quote}>x</a>").get("href")
    return re.sub(r"[\t\r\n]", "", href).strip("".join(map(chr, range(33))))


def compare(before, after, links):
    """Every difference of two HTML texts is a link value or the pixel; gives (original value, position) pairs."""
    found, at, changes = OURS.split(PIXEL.sub("", after)), 0, []
    whole = flat(before)
    texts = [flat(text) for text in found[0::2]]
    for number, (text, position) in enumerate(zip(texts, found[1::2], strict=False)):
        assert whole.startswith(text, at), (whole[at : at + 200], text[:200])
        at += len(text)
        rest = texts[number + 1]
        # a value ends at the quote that its rest begins with, or where the rest goes on
        to = whole.find(rest[:40], at)
        assert to >= at
        changes.append((original(before, at, to), int(position)))
        at = to
    assert whole[at:] == texts[-1], (whole[at : at + 200], texts[-1][:200])
    return changes


def judge(raw):
    """Scan and render a mail and check all that may be checked from outside. Gives the scan and the copy."""
    found, out = render(raw)
    if not found.instrumented:
        assert out == raw
        return found, out
    before, after = list(email.message_from_bytes(raw).walk()), list(email.message_from_bytes(out).walk())
    assert len(before) == len(after)
    links = {link.position: link for link in found.links}
    seen = []
    for a, b in zip(before, after, strict=True):
        assert a.items() == b.items()
        assert (a.preamble, a.epilogue, a.defects.__len__()) == (b.preamble, b.epilogue, b.defects.__len__())
        if a.is_multipart() or a.get_payload() == b.get_payload():
            continue
        assert a.get_content_type() == "text/html"
        for value, position in compare(html_of(a), html_of(b), links):
            seen.append(position)
            if value.isascii() and "\0" not in value:
                assert followed(value) == links[position].url
        lines(a, b)
    assert seen == [link.position for link in found.links if link.tracked]
    return found, out


def lines(a, b):
    """No line grew past its encoding's limit."""
    encoding = str(a.get("content-transfer-encoding", "")).lower()
    limit = 76 if encoding in ("quoted-printable", "base64") else 998
    old, new = (
        [len(line.encode("utf-8", "surrogateescape")) for line in part.get_payload().split("\r\n")] for part in (a, b)
    )
    longest = max(old)
    assert max(new) <= max(limit, longest)
    assert sum(n > limit for n in new) <= sum(n > limit for n in old) * (2 if limit == 76 else 1)
