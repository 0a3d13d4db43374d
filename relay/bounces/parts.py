"""What a mail that came back holds: the leaves that speak, decoded as far as they are looked at. Pure.

Whoever has a bounce address can write to it, so all is bounded: depth, parts and header size by ``message.parse``, and
here how many leaves are opened, and how much of each.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass, replace

from relay.rewriting import message
from relay.rewriting.charsets import read_loosely

LONGEST = 64 * 1024
"""Octets of a leaf that are looked at."""
MOST_LEAVES = 20

_SPEAKING = re.compile(
    r"text/(?:plain|html)|message/(?:global-)?delivery-status|message/feedback-report"
    r"|message/(?:global-)?disposition-notification"
)
_RETURNED = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
_TAG = re.compile(r"<[^<>]*+>")
_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf that speaks: its media type and its text, line ends made LF, HTML without its tags."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What a mail holds: the leaves that speak, in order, and whether it returns another mail or its header."""

    leaves: tuple[Leaf, ...]
    returns: bool


def holding(content: bytes) -> Holding:
    """What a mail holds; nothing where it is past the bounds of ``message.parse``. Never raises."""
    content = content.removeprefix(codecs.BOM_UTF8)
    parts = message.parse(content, automatic=True, signed=True).parts
    if len(parts) == 1 and parts[0].type.startswith("multipart/"):
        # Its boundary got lost, and whatever it holds stands here as one.
        whole = _leaf(content, parts[0])
        return Holding((replace(whole, type="text/plain"), replace(whole, type="message/delivery-status")), True)
    speaking = [part for part in parts if _SPEAKING.fullmatch(part.type)][:MOST_LEAVES]
    return Holding(tuple(_leaf(content, part) for part in speaking), any(part.type in _RETURNED for part in parts))


def _leaf(content: bytes, part: message.Part) -> Leaf:
    octets = _decoded(content[part.start : min(part.end, part.start + LONGEST)], part.encoding)
    text = read_loosely(part.charset, octets).replace("\r\n", "\n").replace("\r", "\n")
    return Leaf(part.type, _TAG.sub(" ", text) if part.type == "text/html" else text)


def _decoded(body: bytes, encoding: str) -> bytes:
    """A body out of its transfer encoding, damaged ones as far as they go."""
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == "base64":
        plain = _BASE64.sub(b"", body)
        try:
            return binascii.a2b_base64(plain[: len(plain) // 4 * 4])
        except binascii.Error:
            return body
    return body
