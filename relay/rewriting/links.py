"""What a link is, where it leads, what it is called and how it is tracked. Pure.

Sources: WHATWG HTML (attribute values), WHATWG URL sections 4.3 and 4.4 (what a browser makes of one), UTS 46.
"""

from __future__ import annotations

import re

import idna

from relay.rewriting import page
from relay.rewriting.charsets import Charset, query_encoding
from relay.rewriting.html import unescape
from relay.rewriting.marks import LABELS, MARKS, Marked, marked
from relay.rewriting.page import Anchor

_EDGES = "".join(map(chr, range(33)))
_HTTP = re.compile(r"[hH][tT][tT][pP][sS]?(\+[nN][oO][tT][rR][aA][cC][kK])?:")
_USUAL = re.compile(r"https?://[!#$'-).0-;=?-\[\]-z|~](?:[!#$'-)+-;=?-z|~]++|&amp;|&[a-zA-Z][a-zA-Z0-9]*+=)*+")
_PLAIN = re.compile(r"https?://[!-.0-\[\]-~][ -~]*+")
_PARTS = re.compile(r"([a-zA-Z]+):([/\\]*+)([^/\\?#]*+)([^?#]*+)(\?[^#]*+)?(#.*+)?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_VISIBLE = re.compile(r"(?:https?://|www\.)\S+|(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,}(?::\d+)?(?:[/?#]\S*)?", re.I)


def usual(value: str) -> str | None:
    """The URL of an attribute's text that is written as most are: of http, in ASCII, nothing encoded in it or standing
    for something else, no references but ampersands. None for any other, for which ``url_of`` is to be asked."""
    return value.replace("&amp;", "&") if _USUAL.fullmatch(value) else None


def url_of(value: str) -> str:
    """The URL that an attribute's text says: references decoded once, controls and blanks off its ends, tabs and line
    ends out of it."""
    decoded = unescape(value, attribute=True).replace("\0", "\ufffd").strip(_EDGES)
    return decoded.replace("\t", "").replace("\r", "").replace("\n", "")


def is_http(url: str) -> bool:
    """Whether a URL is one that links are made of."""
    return url.startswith(("https://", "http://")) or _HTTP.match(url) is not None


def says_no_track(url: str) -> bool:
    """Whether a URL's scheme ends in ``+notrack``."""
    if "+" not in url[4:6]:
        return False
    found = _HTTP.match(url)
    return found is not None and found[1] is not None


def without_no_track(url: str) -> str:
    """A URL less the ``+notrack`` of its scheme."""
    found = _HTTP.match(url)
    return url if found is None or found[1] is None else url[: found.start(1)] + url[found.end(1) :]


def is_visible(text: str) -> bool:
    """Whether the text of a link is itself a URL, or reads like the beginning of one: ``www.example.com``,
    ``example.com/offers``."""
    return _VISIBLE.fullmatch(text) is not None


def target_of(url: str, encoding: str) -> str:
    """The ASCII form that a redirect sends: what a browser would have followed. ASCII stays as it stands but for
    controls; ``encoding`` is that of the query (Python's name)."""
    if _PLAIN.fullmatch(url):
        return url
    match = _PARTS.fullmatch(url)
    if match is None:
        return _percent(url)
    scheme, slashes, authority, path, query, fragment = match.groups(default="")
    if url.isascii():
        rest = url[match.end(2) :]
        target = url if slashes == "//" else f"{scheme}://{rest}"
        return _CONTROLS.sub(lambda m: f"%{ord(m[0]):02X}", target)
    return _percent(f"{scheme}://{_authority(authority)}{path}") + _query(query, encoding) + _percent(fragment)


def _percent(text: str) -> str:
    """UTF-8 percent-encoding of what is not ASCII, and of controls."""
    text = _NOT_ASCII.sub(lambda m: "".join(f"%{octet:02X}" for octet in m[0].encode("utf-8", "replace")), text)
    return _CONTROLS.sub(lambda m: f"%{ord(m[0]):02X}", text)


def _authority(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    name, colon, port = host.partition(":") if host.count(":") == 1 else (host, "", "")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError, IndexError):
            name = _percent(name)
    return f"{user}{at}{name}{colon}{port}"


def _query(query: str, encoding: str) -> str:
    def encoded(match: re.Match[str]) -> str:
        return "".join(_query_piece(match[0], encoding))

    return _CONTROLS.sub(lambda m: f"%{ord(m[0]):02X}", _NOT_ASCII.sub(encoded, query))


def _query_piece(text: str, encoding: str) -> str:
    """A run of characters in the document's encoding; what it lacks goes as a percent-encoded reference."""
    try:
        octets = text.encode(encoding)
    except (UnicodeError, LookupError):
        if len(text) == 1:
            return f"%26%23{ord(text)}%3B"
        return "".join(_query_piece(character, encoding) for character in text)
    keep = "\"#<>'"
    return "".join(chr(o) if 0x20 < o < 0x7F and chr(o) not in keep else f"%{o:02X}" for o in octets)


def marked_by(text: str, anchor: Anchor) -> Marked | None:
    """What the attributes of a link say of its type."""
    if not anchor.attributes:
        return None
    said = [(each.name, text[each.value_start : each.value_end]) for each in anchor.attributes if each.name in MARKS]
    return marked(said) if said else None


def label_of(text: str, anchor: Anchor, charset: Charset) -> str:
    """What a link is called: what an attribute says, else its visible text, white space collapsed and cut short."""
    if not anchor.attributes:
        usual = text[anchor.inside : anchor.outside]
        if usual.isascii() and "<" not in usual and "&" not in usual:
            return " ".join(usual.split())[: page.LABEL_LENGTH]
    for name in LABELS if anchor.attributes else ():
        for each in anchor.attributes:
            if each.name == name and each.value_end > each.value_start:
                return _tidy(charset.read_loosely(text[each.value_start : each.value_end]), attribute=True)
    return text_of(text, anchor, charset)


def text_of(text: str, anchor: Anchor, charset: Charset) -> str:
    """The visible text of a link, white space collapsed and cut short."""
    found = page.label(text, anchor)
    if not found.strip() and anchor.name == "area":
        found = next((text[e.value_start : e.value_end] for e in anchor.attributes if e.name == "alt"), "")
    return _tidy(charset.read_loosely(found), attribute=False)


def _tidy(text: str, *, attribute: bool) -> str:
    return " ".join(unescape(text, attribute=attribute).split())[: page.LABEL_LENGTH]


__all__ = [
    "is_http",
    "is_visible",
    "label_of",
    "marked_by",
    "query_encoding",
    "says_no_track",
    "target_of",
    "text_of",
    "url_of",
    "usual",
    "without_no_track",
]
