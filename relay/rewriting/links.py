"""What a link is, where it leads, what it is called and how it is tracked. Pure.

Sources: WHATWG HTML (attribute values), WHATWG URL sections 4.3 and 4.4 (what a browser makes of one), UTS 46.
"""

from __future__ import annotations

import re

import idna

from relay.rewriting import page
from relay.rewriting.charsets import Charset, query_encoding
from relay.rewriting.html import unescape
from relay.rewriting.marks import LABELS, mark
from relay.rewriting.page import Anchor
from tracker.model import LinkType

_EDGES = "".join(map(chr, range(33)))
_HTTP = re.compile(r"[hH][tT][tT][pP][sS]?:")
_PARTS = re.compile(r"([a-zA-Z]+):([/\\]*+)([^/\\?#]*+)([^?#]*+)(\?[^#]*+)?(#.*+)?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def url_of(value: str) -> str:
    """The URL that an attribute's text says: references decoded once, controls and blanks off its ends, tabs and line
    ends out of it."""
    decoded = unescape(value, attribute=True).replace("\0", "\ufffd").strip(_EDGES)
    return decoded.replace("\t", "").replace("\r", "").replace("\n", "")


def is_http(url: str) -> bool:
    """Whether a URL is one that links are made of."""
    return _HTTP.match(url) is not None


def has_placeholder(url: str) -> bool:
    """Whether a URL holds ``{{ … }}`` that somebody else was to fill in."""
    return "{{" in url and _PLACEHOLDER.search(url) is not None


def target_of(url: str, encoding: str) -> str:
    """The ASCII form that a redirect sends: what a browser would have followed. ASCII stays as it stands but for
    controls; ``encoding`` is that of the query (Python's name)."""
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


def type_of(text: str, anchor: Anchor) -> tuple[LinkType, str]:
    """How a link is tracked by its attributes, and why; the first attribute that speaks decides."""
    for each in anchor.attributes:
        found = mark(each.name, unescape(text[each.value_start : each.value_end], attribute=True))
        if found is not None:
            return found, f"attribute {each.name}"
    return LinkType.TRACKED, "default"


def label_of(text: str, anchor: Anchor, charset: Charset) -> str:
    """What a link is called: what an attribute says, else its visible text, white space collapsed and cut short."""
    for name in LABELS:
        for each in anchor.attributes:
            if each.name == name and each.value_end > each.value_start:
                return _tidy(charset.read_loosely(text[each.value_start : each.value_end]), attribute=True)
    found = page.label(text, anchor)
    if not found.strip() and anchor.tag.name == "area":
        found = next((text[e.value_start : e.value_end] for e in anchor.attributes if e.name == "alt"), "")
    return _tidy(charset.read_loosely(found), attribute=False)


def _tidy(text: str, *, attribute: bool) -> str:
    return " ".join(unescape(text, attribute=attribute).split())[: page.LABEL_LENGTH]


__all__ = ["has_placeholder", "is_http", "label_of", "query_encoding", "target_of", "type_of", "url_of"]
