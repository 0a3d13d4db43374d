"""The HTML of a mail as it is kept for its mirror page: decoded text cut at the links that were rewritten and at the
mail's own pictures. Pure.

It works on what the scan has read already. Pictures are found by ``cid:`` URLs in attributes and CSS (RFC 2392).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from relay.rewriting import message
from relay.rewriting.charsets import Charset, read_loosely
from relay.rewriting.decisions import Way
from relay.rewriting.html import unescape
from relay.rewriting.message import Part
from tracker.mirror import Document, Kind, Picture, Piece, Splice
from tracker.model import Link

MAX_PICTURES = 5_000_000
"""Octets of pictures on one page, each counted as often as it is shown; those past that are left out."""

_CID = re.compile(r"(?<=[\"'(=;\s])cid:((?:(?!&(?:quot|apos|#))[^\s\"'<>()])++)", re.IGNORECASE)
_BEFORE = re.compile(r"(?:=|\()\s*+(?:[\"']|&(?:quot|apos|#0*3[49]|#x2[27]);)?+\s*+\Z", re.IGNORECASE)
_PADDED = re.compile(rb"=[ \t]++(\r?\n)")
_IMAGE = re.compile(r"image/[a-z0-9][a-z0-9.+-]*+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A span of a text in whose place ``splice`` goes, or with None nothing."""

    start: int
    end: int
    splice: Splice | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """An HTML leaf as it was read: the tokenised text, and the places in it, in order."""

    text: str
    charset: Charset
    places: Sequence[Place] = ()


READ = Charset("utf_8", False)
"""Of text that was read already."""


def splice_of(way: Way, link: Link) -> Splice | None:
    """What goes in place of a link; None: nothing."""
    return None if way is Way.REMOVE else Splice(Kind(way.value), link.target, link.position, link.type)


def leaf_as_it_is(part: Part, body: bytes) -> Leaf:
    """A leaf that nothing was done to, read as well as it can be."""
    return Leaf(read_loosely(part.charset, _decoded(part, body)), READ)


def document(raw: bytes, parts: Sequence[Part], leaves: Sequence[Leaf]) -> Document:
    """What is kept of a mail."""
    album = _Album(raw, parts)
    rows = tuple(tuple(_merged(_pieces(leaf, album))) for leaf in leaves)
    return Document(rows, album.used)


def _decoded(part: Part, body: bytes) -> bytes:
    """What a body holds, as far as that can be read."""
    try:
        if part.encoding == "base64":
            return binascii.a2b_base64(body + b"==")  # more than enough does no harm
        return binascii.a2b_qp(_PADDED.sub(rb"=\1", body)) if part.encoding == "quoted-printable" else body
    except ValueError:
        return b""


def _pieces(leaf: Leaf, album: _Album) -> Iterator[Piece]:
    at = 0
    for place in leaf.places:
        yield from album.cut(_read(leaf, at, place.start))
        if place.splice is not None:
            yield place.splice
        at = place.end
    yield from album.cut(_read(leaf, at, len(leaf.text)))


def _read(leaf: Leaf, start: int, end: int) -> str:
    """Text that UTF-8 can hold."""
    return leaf.charset.read_loosely(leaf.text[start:end]).encode("utf-8", "replace").decode("utf-8")


def _merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same with neighbouring texts in one."""
    texts: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if texts:
            yield "".join(texts)
            texts.clear()
        yield piece
    if texts:
        yield "".join(texts)


class _Album:
    """The pictures of a mail; ``used`` are those that its text shows, as far as there is room."""

    def __init__(self, raw: bytes, parts: Sequence[Part]) -> None:
        self.used: dict[str, Picture] = {}
        self._raw = raw
        self._parts = parts
        self._known: dict[str, Part] | None = None
        self._left_out: set[str] = set()
        self._room = MAX_PICTURES

    def cut(self, text: str) -> Iterator[Piece]:
        """A text cut at its pictures."""
        at = 0
        for match in _CID.finditer(text) if "cid:" in text.lower() else ():
            if not _BEFORE.search(text, max(at, match.start() - 40), match.start()):
                continue
            name = unquote(unescape(match[1], attribute=True))
            if self._take(name):
                yield text[at : match.start()]
                yield Splice(Kind.PICTURE, name)
                at = match.end()
        yield text[at:]

    def _take(self, name: str) -> bool:
        """Whether there is such a picture, and room for showing it once more."""
        if name in self._left_out:
            return False
        picture = self.used.get(name) or self._picture(name)
        size = len(picture.data) // 4 * 3 if picture is not None else 0
        if picture is None or size > self._room:
            self._left_out.add(name)
            return False
        self.used[name] = picture
        self._room -= size
        return True

    def _picture(self, name: str) -> Picture | None:
        if self._known is None:
            self._known = dict(self._by_id())
        part = self._known.get(name)
        if part is None:
            return None
        octets = _decoded(part, self._raw[part.start : part.end])
        return Picture(part.type, base64.b64encode(octets).decode("ascii")) if octets else None

    def _by_id(self) -> Iterator[tuple[str, Part]]:
        for part in reversed(self._parts):
            if _IMAGE.fullmatch(part.type):
                found = message.get(self._raw[part.header : part.start], "Content-ID")
                if found:
                    yield found.strip("<> \t"), part
