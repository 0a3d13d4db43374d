"""A mail that was scanned, and the copies that are made of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from relay.rewriting import placeholders
from relay.rewriting.charsets import Charset
from relay.rewriting.decisions import Way
from relay.rewriting.transfers import Edit, Fill, Template
from tracker.mirror import Document
from tracker.model import Link, LinkType

Click = Callable[[Link, str], str]
"""The absolute tracked URL of a link for a target."""
Value = Callable[[str], str]
"""What a name of ``placeholders.OPEN`` stands for."""

_SPECIAL = re.compile(r"[&\"'<>\s]")


class Hole(NamedTuple):
    """A leaf to be rendered."""

    template: Template
    charset: Charset


class Slot(NamedTuple):
    """A link in whose place something goes; ``way`` says what. ``markup``: it stands in an attribute."""

    link: Link
    way: Way
    markup: bool

    @property
    def personal(self) -> bool:
        """Whether it is one recipient's own."""
        own = placeholders.names(self.link.target) & placeholders.OF_ONE_RECIPIENT
        return bool(own) or (self.way is Way.CLICK and self.link.type is not LinkType.TRACKED)


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a mail, and the mail ready for rendering. ``links``: every link in order, tracked or not;
    ``pixels``: whether a pixel will be added; ``instrumented``: whether anything will change; ``reason``: why not;
    ``notes``: parts left out and why; ``closed``: the mail is signed, encrypted or doubtful as a whole, so that
    nothing may be added to it either; ``slots``: the links that change; ``document``: the HTML, where it is to be
    kept."""

    links: tuple[Link, ...]
    pixels: bool
    instrumented: bool
    reason: str | None
    notes: tuple[str, ...]
    raw: bytes
    pieces: tuple[bytes | Hole, ...] = ()
    slots: tuple[Slot, ...] = ()
    closed: bool = False
    document: Document | None = None

    def render(self, click: Click, pixel: str, value: Value) -> bytes:
        """The copy of one recipient, whose pixel's URL is ``pixel``. The same answers give the same bytes."""
        if not self.instrumented:
            return self.raw
        values = {link.position: _filling(link, way, markup, click, value) for link, way, markup in self.slots}
        values[0] = attribute(pixel)
        out: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                out.append(piece)
            else:
                out += piece.template.render(_filler(values, piece.charset))
        return b"".join(out)


def _filling(link: Link, way: Way, markup: bool, click: Click, value: Value) -> bytes:
    """What goes in place of a link."""
    if way is Way.CLICK:
        url = click(link, placeholders.filled(link.target, value))
    elif way is Way.PLAIN:
        url = placeholders.filled(link.target, value)
    elif way is Way.REMOVE:
        return b""
    else:
        url = value(placeholders.OPT_OUT if way is Way.OPT_OUT else placeholders.MIRROR)
    return attribute(url) if markup else url.encode("ascii")


def attribute(url: str) -> bytes:
    """A URL as the text of an attribute, quoted or not."""
    if _SPECIAL.search(url):
        url = _SPECIAL.sub(lambda m: f"&#{ord(m[0])};" if m[0] != "&" else "&amp;", url)
    return url.encode("ascii", "xmlcharrefreplace")


def _filler(values: dict[int, bytes], charset: Charset) -> Fill:
    def fill(edit: Edit) -> bytes:
        value = edit.before if edit.number is None else edit.before + values[edit.number] + edit.after
        return value if charset.bytewise else charset.encode(value.decode("ascii"))

    return fill
