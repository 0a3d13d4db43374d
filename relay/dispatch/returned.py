"""What a notification returns of the mail that it is about: all of it, or its header (RFC 6522 section 4). Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

HEADER_LIMIT = 64 * 1024
"""Octets of header fields that are returned at most."""

_EXAMINED = 4 * HEADER_LIMIT
_LONGEST_VALUE = 1000
_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_LUMP = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)")
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_OVERLONG_LINE = re.compile(rb"(?:\A|\n)[^\r\n]{999}")


class Returned(NamedTuple):
    """The last part of a notification: media type, transfer encoding, and the octets as they stand in the mail."""

    kind: str
    encoding: str
    body: bytes


def returned(content: bytes, whole: bool, international: bool) -> Returned:
    """The mail to return, ``whole`` if it may travel so. Where an address is ``international`` or the header holds
    UTF-8, the types are those of RFC 6533.

    A whole mail is never encoded (RFC 2046 section 5.2.1), so one with NUL, a bare CR or LF or a line over 998 octets
    cannot stand in a mail that is valid; its header alone can, in quoted-printable where need be, exact all the same.
    """
    header = b"".join(fields(content))
    internationalized = _is_utf8(header) and (international or not header.isascii())
    encoding = _encoding(content) if whole else None
    if encoding is not None:
        return Returned("message/global" if internationalized else "message/rfc822", encoding, content)
    kind = "message/global-headers" if internationalized else "text/rfc822-headers"
    encoding = _encoding(header)
    if encoding is None:
        return Returned(kind, "quoted-printable", _quoted_printable(header))
    return Returned(kind, encoding, header)


def fields(content: bytes) -> Iterator[bytes]:
    """The fields of the header, each with its folded lines and line end, in order. One that would pass HEADER_LIMIT
    in all is left out whole, and so is what is no field."""
    room = HEADER_LIMIT
    for lump in _lumps(content):
        field = lump if lump.endswith(b"\n") else lump + b"\r\n"
        if _NAME.match(field) and len(field) <= room:
            room -= len(field)
            yield field


def field_value(content: bytes, name: str) -> bytes | None:
    """The value of the first field of that name, unfolded and cut to 1000 octets; None without one."""
    for field in fields(content):
        found = _NAME.match(field)
        if found and found[1].lower() == name.lower().encode():
            return b" ".join(field[found.end() :][:_LONGEST_VALUE].split())
    return None


def _lumps(content: bytes) -> list[bytes]:
    """The lines of the header, folded ones together. Only so much is looked at: a header may be as large as a mail."""
    blank = _BLANK_LINE.search(content, 0, _EXAMINED)
    end = blank.start() + 1 if blank else _EXAMINED
    lumps = _LUMP.findall(content[:end])
    cut = not blank and len(content) > _EXAMINED
    return lumps[:-2] if cut else lumps  # the very last is the empty match at the end


def _encoding(body: bytes) -> str | None:
    """How octets may stand in a mail as they are (RFC 2045 section 2); None where they may not."""
    pairs = body.count(b"\r\n")
    if b"\0" in body or not body.count(b"\r") == body.count(b"\n") == pairs or _OVERLONG_LINE.search(body):
        return None
    return "7bit" if body.isascii() else "8bit"


def _quoted_printable(body: bytes) -> bytes:
    """RFC 2045 section 6.7, only CRLF being a line end."""
    lines = (binascii.b2a_qp(line, istext=False) for line in body.split(b"\r\n"))
    return b"\r\n".join(line.replace(b"\n", b"\r\n") for line in lines)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
