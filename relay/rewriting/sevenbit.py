"""The same mail for a host without 8BITMIME: leaves that need eight bits are encoded, nothing else changes. Pure.

Sources: RFC 6152 section 3 (the client must convert, or give the mail back), RFC 2045 sections 2.7 and 6, RFC 2046
sections 5.1.1 (multiparts take no encoding, their preamble and epilogue are ignored) and 5.2.1 (nor do messages).

Headers stay as they came, those of parts too: no transfer encoding holds for them, and whether they may have eight bits
is a question of SMTPUTF8. What is signed is never changed, so where it needs eight bits there is no other form of it.
Long lines and NUL stay where nothing may be encoded: a host with 8BITMIME would get them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.rewriting import message
from relay.rewriting.lines import overlong
from relay.rewriting.message import Container, Part, Structure
from relay.rewriting.quoted import EASY, encode_text, mend
from relay.rewriting.transfers import base64_lines

MAX_MESSAGES = 10
"""Messages inside one another that are looked into."""

_CTE = "content-transfer-encoding"
_EIGHT = ("8bit", "binary")
_ENCODED = ("quoted-printable", "base64")
_CLOSE = re.compile(rb"(?:\A|(?<=\n))\r?\n\Z")
_MASK = bytes(octet if 0 < octet < 128 else 0x3F for octet in range(256))


def to_seven_bit(raw: bytes) -> bytes | None:
    """The mail with every body in seven bits and in lines of at most 998 octets; the same object where it is so
    already. ``raw`` has the line ends of transfer, CRLF. None where octets over 127 stand in what is signed or
    encrypted (DKIM, multipart, inline PGP), in what may not be encoded (RFC 2046), in an encoding that is unknown or is
    not what it says, below a broken header, or past a bound of the parser."""
    try:
        return _converted(raw, MAX_MESSAGES)
    except _Impossible:
        return None


class _Impossible(Exception):
    """Something needs eight bits and must stay as it is."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part as it goes out; ``encoding`` is what its header is to say, None where that stays."""

    part: Part | Container
    end: int
    encoding: str | None
    body: bytes | None


def _converted(raw: bytes, depth: int) -> bytes:
    """A message in seven bits, the same object where it is so already. Raises _Impossible."""
    if not _needy(raw):
        return raw
    structure = message.parse(raw, automatic=True)
    if structure.reason is None and depth > 0:
        out = _joined(raw, list(_pieces(raw, structure, depth)))
        if out is raw or _shape(message.parse(out, automatic=True)) == _shape(structure):
            return out
    return _as_it_is(raw, raw[message.header_end(raw) :])


def _needy(data: bytes) -> bool:
    """Whether these octets are not what 7bit may hold (RFC 2045 section 2.7)."""
    return not data.isascii() or b"\0" in data or overlong(data)


def _as_it_is(whole: bytes, body: bytes) -> bytes:
    """The whole, where this body of it can stay. Raises _Impossible."""
    if not body.isascii():
        raise _Impossible
    return whole


def _shape(structure: Structure) -> list[object]:
    return [*((part.path, part.type) for part in structure.parts), len(structure.containers), structure.reason]


def _pieces(raw: bytes, structure: Structure, depth: int) -> Iterator[_Piece]:
    """Leaves and containers in the order in which they stand. Raises _Impossible."""
    parts: list[Part | Container] = sorted([*structure.parts, *structure.containers], key=lambda part: part.header)
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        label = "7bit" if part.encoding in _EIGHT else None
        if isinstance(part, Container):
            if following is None or not following.path.startswith(part.path and f"{part.path}."):
                # no part of it was found: what stands there may be read as its text
                _as_it_is(raw, raw[part.start : following.header if following else len(raw)])
            yield _Piece(part, part.start, label, None)
            continue
        body = raw[part.start : part.end]
        encoding, new = _leaf(part, raw[part.header : part.start], body, depth) if _needy(body) else (None, body)
        if encoding == "base64" and part.end == len(raw):
            new += b"\r\n"
        if part.type in ("multipart/signed", "multipart/encrypted"):
            label = None
        yield _Piece(part, part.end, encoding or label, None if new is body else new)


def _leaf(part: Part, block: bytes, body: bytes, depth: int) -> tuple[str | None, bytes]:
    """The encoding and the octets of a leaf that is not 7bit; without an encoding its own label holds. Raises
    _Impossible."""
    plain, text = part.encoding in message.PLAIN, part.type.startswith("text/")
    if part.type == "message/rfc822" and plain:
        return None, _converted(body, depth - 1)
    # RFC 6532 section 3.7 lets message/global be encoded
    composite = part.type.startswith(("multipart/", "message/")) and not part.type.startswith("message/global")
    # a header that breaks off is read by some readers to its end: there is no telling where the body begins
    if composite or (text and message.PGP.search(body)) or not _CLOSE.search(block):
        return None, _as_it_is(body, body)
    if plain:
        # escapes for half the octets make it half as long again as base64
        easy = text and 2 * len(body.translate(None, EASY)) <= len(body)
        return ("quoted-printable", encode_text(body)) if easy else ("base64", base64_lines(body))
    mended = mend(body) if part.encoding == "quoted-printable" and not body.isascii() else None
    return None, mended or _as_it_is(body, body)


def _joined(raw: bytes, pieces: list[_Piece]) -> bytes:
    """The mail with its pieces; ``raw`` itself where none is new."""
    starts, ends = [piece.part.header for piece in pieces], [piece.end for piece in pieces]
    between = [raw[at:end] for at, end in zip([starts[0], *ends], [*starts, len(raw)], strict=True)]
    if all(piece.body is None for piece in pieces) and all(text.translate(_MASK) == text for text in between):
        return raw
    # without it readers may take an encoding for text (RFC 2045 section 4)
    encoded = any(piece.encoding in _ENCODED for piece in pieces)
    more = b"MIME-Version: 1.0\r\n" if encoded and message.get(raw, "MIME-Version") is None else b""
    out = [raw[: starts[0]]]
    for text, piece in zip(between, pieces, strict=False):
        head = _head(raw[piece.part.header : piece.part.start], piece.encoding, more)
        body = raw[piece.part.start : piece.end] if piece.body is None else piece.body
        # preamble and epilogue are no text of the mail; their lines stay, so that nothing moves
        out += (text.translate(_MASK), head, body)
        more = b""
    return b"".join([*out, between[-1].translate(_MASK)])


def _head(block: bytes, encoding: str | None, more: bytes) -> bytes:
    """A header block that says this encoding, where it said one, else at its end, and there ``more`` as well."""
    out, at = [], 0
    if encoding is not None:
        line = f"{encoding}\r\n".encode("ascii")
        for header in message.headers(block):
            if header.name.lower() == _CTE:
                out += [block[at : header.start], header.name.encode("ascii"), b": ", line]
                at = header.end
        more += b"" if out else b"Content-Transfer-Encoding: " + line
    close = _CLOSE.search(block, at)
    end = close.start() if close else len(block)
    return b"".join([*out, block[at:end], more, block[end:]])
