"""An independent judge of what was done to a mail: the standard library reads both versions, and all that differs must
be a rewritten link value or the pixel. Nothing here shares code with the relay."""

from __future__ import annotations

import email
import email.message
import re
from dataclasses import dataclass

import lxml.html

TRACKED = re.compile(r"""http://track\.test/c/([A-Za-z0-9_-]+)""")
PIXEL = re.compile(r"""<img[ \r\n][^<>]*?src="http://track\.test/o/([A-Za-z0-9_-]+)\.gif"[^<>]*>""")
RECEIVED = rb"Received: [^\r\n]*\r\n\t[^\r\n]*\r\n\t[^\r\n]*\r\n"
NEVER_LEAVES = re.compile(
    rb"(?im)^(?:bcc|x-track-[a-z]+|x-mailgun-(?:track(?:-opens|-clicks)?|tag|variables)|x-pm-(?:trackopens|tracklinks|tag)"
    rb"|x-pm-metadata-[^ \t:]+|x-smtpapi|x-mc-(?:track|tags|metadata)|x-msys-api|x-ses-message-tags)"
    rb"[ \t]*:(?:[^\r\n]|\r\n[ \t])*\r\n"
)


@dataclass(frozen=True)
class Change:
    """One link value before, as it stood in the decoded HTML, and the token that stands there now."""

    before: str
    token: str


@dataclass(frozen=True)
class Verdict:
    """What was found changed in a mail."""

    changes: tuple[Change, ...]
    pixels: tuple[str, ...]


def judge(before: bytes, after: bytes) -> Verdict:
    """Compare a mail as it was sent with what arrived. AssertionError for any change that is not ours to make."""
    before = without_own_headers(before)
    missing = [name for name in (b"Message-ID", b"Date") if not re.search(rb"(?im)^%s[ \t]*:" % name, head(before))]
    trace = re.match(RECEIVED + b"".join(rb"%s: [^\r\n]*\r\n" % name for name in missing), after)
    assert trace, "no trace header on top"
    rest = after[trace.end() :]
    if rest == before:
        return Verdict((), ())
    assert head(rest) == head(before), "the header block differs"
    old, new = leaves(before), leaves(rest)
    assert len(old) == len(new), "the MIME structure differs"
    changes: list[Change] = []
    pixels: list[str] = []
    for a, b in zip(old, new, strict=True):
        assert a.items() == b.items(), "the headers of a part differ"
        if a.is_multipart() and b.is_multipart():
            assert (a.preamble, a.epilogue) == (b.preamble, b.epilogue), "what stands around parts differs"
            continue
        if a.get_payload() == b.get_payload():
            continue
        assert a.get_content_type() == "text/html", f"a {a.get_content_type()} part differs"
        found = compare_html(text_of(a), text_of(b))
        changes += found.changes
        pixels += found.pixels
    assert long_lines(rest) <= long_lines(before), "a line grew past 998 octets"
    return Verdict(tuple(changes), tuple(pixels))


def compare_html(before: str, after: str) -> Verdict:
    """The same for two versions of one HTML text. A space may have become a line break, to keep lines short."""
    pixels = tuple(PIXEL.findall(after))
    texts = TRACKED.split(PIXEL.sub("", after))
    texts, tokens = [flat(text) for text in texts[0::2]], texts[1::2]
    whole = flat(before)
    changes = []
    at = 0
    for text, token, following in zip(texts, tokens, texts[1:], strict=False):
        assert whole.startswith(text, at), (
            f"differs before link {len(changes) + 1}: {first_difference(whole[at:], text)}"
        )
        start = at + len(text)
        at = whole.find(following[:60], start)
        assert at >= 0, f"the text after link {len(changes) + 1} is gone"
        changes.append(Change(original(before, start, at), token))
    assert whole[at:] == texts[-1], f"differs after the last link: {first_difference(whole[at:], texts[-1])}"
    return Verdict(tuple(changes), pixels)


def flat(text: str) -> str:
    return text.replace("\r\n", " ")


def original(text: str, start: int, end: int) -> str:
    """The part of ``text`` that stands from ``start`` to ``end`` of its flat form."""
    breaks = [m.start() - n for n, m in enumerate(re.finditer("\r\n", text))]
    return text[start + sum(b < start for b in breaks) : end + sum(b < end for b in breaks)]


def first_difference(a: str, b: str) -> str:
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"{a[max(0, at - 30) : at + 30]!r} became {b[max(0, at - 30) : at + 30]!r}"


def without_own_headers(raw: bytes) -> bytes:
    top = head(raw)
    return NEVER_LEAVES.sub(b"", top) + raw[len(top) :]


def head(raw: bytes) -> bytes:
    """The header block, its line ends included."""
    if raw.startswith(b"\r\n"):
        return b""
    end = raw.find(b"\r\n\r\n")
    return raw if end < 0 else raw[: end + 2]


def leaves(raw: bytes) -> list[email.message.Message]:
    return list(email.message_from_bytes(raw).walk())


def text_of(part: email.message.Message) -> str:
    """The HTML of a leaf; charsets that the standard library does not know are read octet by octet."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    for charset in (str(part.get_content_charset() or "latin-1"), "latin-1"):
        try:
            return payload.decode(charset)
        except (LookupError, UnicodeError):
            continue
    raise AssertionError("unreachable")


def long_lines(raw: bytes) -> set[bytes]:
    return {line for line in raw.split(b"\r\n") if len(line) > 998}


def followed(value: str) -> str:
    """What a browser makes of an attribute's text, as far as ASCII goes: references decoded, blanks and breaks off."""
    return re.sub(r"[\t\r\n]", "", html_attribute(value)).strip("".join(map(chr, range(33))))


def html_attribute(value: str) -> str:
    """References decoded as lxml's HTML parser does in an attribute."""
    quote = "'" if '"' in value else '"'
    tree = lxml.html.fragment_fromstring(f"<a href={quote}{value}{quote}>x</a>")
    return str(tree.get("href"))
