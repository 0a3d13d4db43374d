"""Transfer encodings: the octets of a part behind 7bit, 8bit, base64 or quoted-printable, and edits put back in the
same encoding. Pure. Source: RFC 2045 section 6."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Edit(NamedTuple):
    """Put ``before``, the value of that ``number`` and ``after`` in place of ``data[start:end]`` of the decoded
    part; without a number only ``before``."""

    start: int
    end: int
    number: int | None
    before: bytes = b""
    after: bytes = b""


Fill = Callable[[Edit], bytes]
"""The octets that go in place of an edit's span."""


class Template(Protocol):
    """A part with holes."""

    def render(self, fill: Fill) -> list[bytes]:
        """The part's octets, in pieces, with every hole filled."""


class Transfer(Protocol):
    """A decoded part: ``data`` is what it holds."""

    data: bytes

    def template(self, edits: Sequence[Edit]) -> Template | None:
        """The part with holes for these edits (ascending, apart); None where they cannot be mapped exactly."""


def segments(data: bytes, edits: Sequence[Edit]) -> list[bytes]:
    """What stands before, between and after the edits."""
    found, at = [], 0
    for edit in edits:
        found.append(data[at : edit.start])
        at = edit.end
    return [*found, data[at:]]


def base64_lines(data: bytes, width: int = 76, eol: bytes = b"\r\n") -> bytes:
    """Octets as base64, in lines of ``width``; without a line end after the last."""
    whole = binascii.b2a_base64(data, newline=False)
    return eol.join([whole[at : at + width] for at in range(0, len(whole), width)])


class Plain:
    """7bit, 8bit, binary or none: edited in place."""

    def __init__(self, body: bytes) -> None:
        self.data = body

    def template(self, edits: Sequence[Edit]) -> Template:
        """In place."""
        return _Spliced(segments(self.data, edits), edits)


@dataclass(frozen=True, slots=True)
class _Spliced:
    literals: list[bytes]
    edits: Sequence[Edit]

    def render(self, fill: Fill) -> list[bytes]:
        out = [self.literals[0]]
        for edit, literal in zip(self.edits, self.literals[1:], strict=True):
            out += (fill(edit), literal)
        return out


class Base64:
    """base64, strictly: alphabet, line ends, padding at the end alone. Raises ValueError for anything else."""

    def __init__(self, body: bytes) -> None:
        stripped = body.rstrip(b"\r\n")
        self._body, self._tail = stripped, body[len(stripped) :]
        joined = stripped.replace(b"\r\n", b"\n").replace(b"\n", b"")
        self.data = binascii.a2b_base64(joined, strict_mode=True)
        if binascii.b2a_base64(self.data, newline=False) != joined:
            raise ValueError("not the canonical encoding")
        first = stripped.find(b"\n")
        self._eol = b"\r\n" if first < 0 or stripped[first - 1 : first] == b"\r" else b"\n"
        width = first - len(self._eol) + 1
        self._width = width if 4 <= width <= 998 else 76

    def template(self, edits: Sequence[Edit]) -> Template:
        """Lines before the first change stay as they came; from there on all is encoded anew at the same width."""
        kept, octets, at, start = 0, 0, 0, 0
        limit = edits[0].start
        while (line := self._body.find(b"\n", at)) >= 0:
            length = line - at - (1 if self._body[line - 1 : line] == b"\r" else 0)
            octets += length
            if octets // 4 * 3 > limit:
                break
            at = line + 1
            if octets % 4 == 0:
                kept, start = at, octets // 4 * 3
        pieces = _Spliced(segments(self.data, edits), edits)
        pieces.literals[0] = pieces.literals[0][start:]
        return _Wrapped(self._body[:kept], pieces, self._width, self._eol, self._tail)


@dataclass(frozen=True, slots=True)
class _Wrapped:
    head: bytes
    pieces: _Spliced
    width: int
    eol: bytes
    tail: bytes

    def render(self, fill: Fill) -> list[bytes]:
        return [self.head, base64_lines(b"".join(self.pieces.render(fill)), self.width, self.eol), self.tail]
