"""A mail's HTML as it is kept for its mirror page, and as one of its recipients got it. Pure.

What is kept is decoded text, cut wherever something goes in for each recipient: text and splices in turn. Nothing of
it is anybody's own, so it is kept once a message.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote
from uuid import UUID

import zstandard
from pydantic import TypeAdapter

from tracker.model import LinkType
from tracker.tokens import Click, Keyring, Mirror, OptOut

NOWHERE = "#"
"""Where a link leads that cannot be made for this viewer."""

_OPEN = re.compile(r"\{\{(recipient\.email|message\.id|unsubscribe_url|mirror_url)\}\}")


class Kind(StrEnum):
    """What goes in place of a splice."""

    CLICK = "click"
    """A tracked URL, which redirects to the splice's own."""
    OPT_OUT = "opt_out"
    """The reader's own opt-out page."""
    MIRROR = "mirror"
    """The reader's own mirror page."""
    PLAIN = "plain"
    """The splice's URL itself, with what was open in it filled in."""
    PICTURE = "picture"
    """One of the mail's own pictures."""


@dataclass(frozen=True, slots=True)
class Splice:
    """A place in an attribute's value. ``url`` may hold ``{{recipient.email}}`` and its like; of a picture it is the
    Content-ID. ``position`` and ``type`` are the link's."""

    kind: Kind
    url: str = ""
    position: int = 0
    type: LinkType = LinkType.TRACKED


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the mail: its media type, its octets in base64."""

    type: str
    data: str


Piece = str | Splice


@dataclass(frozen=True, slots=True)
class Document:
    """The HTML of a mail, a row of pieces a part, and the pictures in it by Content-ID. ``tracking_url`` is the base
    of its tracked URLs, ``key`` the id of the key that seals them."""

    parts: tuple[tuple[Piece, ...], ...]
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    tracking_url: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads: a recipient by ordinal, None where one copy went to all. ``sender`` and ``address`` are None where
    they are not known any more."""

    message: UUID
    recipient: int | None
    sender: str | None = None
    address: str | None = None


_RECORD = TypeAdapter(Document)


def pack(document: Document) -> bytes:
    """The document as it is kept."""
    return zstandard.compress(_RECORD.dump_json(document))


def unpack(octets: bytes) -> Document:
    """The document that was packed. Raises ValueError for anything else."""
    try:
        return _RECORD.validate_json(zstandard.decompress(octets))
    except zstandard.ZstdError as error:
        raise ValueError("not a packed document") from error


def rewritten(octets: bytes, change: Callable[[str], str]) -> bytes:
    """A packed document with ``change`` made to each of its texts and URLs. Raises ValueError for anything else."""
    document = unpack(octets)
    parts = tuple(
        tuple(change(piece) if isinstance(piece, str) else replace(piece, url=change(piece.url)) for piece in part)
        for part in document.parts
    )
    return octets if parts == document.parts else pack(replace(document, parts=parts))


def fill(document: Document, viewer: Viewer, keyring: Keyring) -> str:
    """The HTML as this viewer got it: the same links with the same tokens, the mail's pictures inside, no pixel."""
    filler = _Filler(document, viewer, keyring)
    return "".join(
        piece if isinstance(piece, str) else filler.value(piece) for part in document.parts for piece in part
    )


class _Filler:
    """Says what goes in place of each splice."""

    def __init__(self, document: Document, viewer: Viewer, keyring: Keyring) -> None:
        self._document = document
        self._viewer = viewer
        self._keyring = keyring
        self._pictures = {
            name: f"data:{picture.type};base64,{picture.data}" for name, picture in document.pictures.items()
        }

    def value(self, splice: Splice) -> str:
        """The text of an attribute's value."""
        if splice.kind is Kind.PICTURE:
            return self._pictures.get(splice.url, "")
        return html.escape(self._url(splice))

    def _url(self, splice: Splice) -> str:
        viewer = self._viewer
        if splice.kind is Kind.OPT_OUT:
            return self._named("unsubscribe_url") or NOWHERE
        if splice.kind is Kind.MIRROR:
            return self._named("mirror_url")
        target = _OPEN.sub(lambda match: quote(self._named(match[1]), safe="", errors="replace"), splice.url)
        if splice.kind is Kind.PLAIN:
            return target
        return self._sealed("c", Click(viewer.message, viewer.recipient, splice.position, target, splice.type))

    def _named(self, name: str) -> str:
        """What a name stands for; empty where that is not known any more."""
        viewer = self._viewer
        if name == "message.id":
            return str(viewer.message)
        if name == "mirror_url":
            return self._sealed("m", Mirror(viewer.message, viewer.recipient))
        if name == "recipient.email":
            return viewer.address or ""
        if viewer.sender is None or viewer.address is None:
            return ""
        return self._sealed("u", OptOut(viewer.message, viewer.recipient, viewer.sender, viewer.address))

    def _sealed(self, letter: str, claim: Click | Mirror | OptOut) -> str:
        return f"{self._document.tracking_url}/{letter}/{self._keyring.seal(claim, self._document.key)}"
