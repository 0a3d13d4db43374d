"""Quoted-printable edited in place: lines without a link keep their octets. Pure. Source: RFC 2045 section 6.7."""

from __future__ import annotations

import re
from binascii import a2b_qp
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from relay.rewriting.transfers import Edit, Fill, Template

_LINES = re.compile(rb"[^\n]*+\n|[^\n]++")
_PADDED = re.compile(rb"=[ \t]++(\r?\n|\Z)")
_HEX = re.compile(rb"[0-9A-Fa-f]{2}")
_SOFT = (b"\r\n", b"\n", b"")
_SPECIAL = re.compile(rb"[^ -<>-~]")
_WIDTH = 76
_BLOCK = 4096


class Quoted:
    """A quoted-printable part. ``data`` is what it holds; offsets are mapped line by line, in detail only where an
    edit is. Raises ValueError where blanks after a soft break make its reading doubtful."""

    def __init__(self, body: bytes) -> None:
        if (b"= " in body or b"=\t" in body) and _PADDED.search(body):
            raise ValueError("blanks after a soft break")
        self._body = body
        # blocks of whole lines: a bomb of bare line ends makes few objects, and only blocks with an edit are split
        blocks, at = [], 0
        while at < len(body):
            end = body.find(b"\n", at + _BLOCK) + 1 or len(body)
            blocks.append(body[at:end])
            at = end
        decoded = list(map(a2b_qp, blocks))
        self.data = b"".join(decoded)
        self._starts = list(accumulate(map(len, decoded), initial=0))
        self._at = list(accumulate(map(len, blocks), initial=0))
        self._blocks: dict[int, _Lines | None] = {}
        self._eol = b"\r\n" if b"\r\n" in body or b"\n" not in body else b"\n"

    def template(self, edits: Sequence[Edit]) -> Template | None:
        """The encoded part with holes; None where a line with an edit does not decode as it should."""
        spans = []
        for edit in edits:
            empty = edit.start == edit.end
            # the end of the last character, so that a soft break after it stays
            end = None if empty and edit.start < len(self.data) else self._span(edit.end - 1)
            start = self._span(edit.start) if edit.start < len(self.data) else end
            if edit.start == 0 == len(self.data):
                start = end = (0, 0)
            if start is None or (end is None and not empty):
                return None
            if empty:
                at = start[0] if edit.start < len(self.data) else start[1]
                spans.append((at, at))
            else:
                assert end is not None
                spans.append((start[0], end[1]))
        return self._holes(spans, edits)

    def _holes(self, spans: list[tuple[int, int]], edits: Sequence[Edit]) -> Template:
        at, literals = 0, []
        for start, end in spans:
            literals.append(self._body[at:start])
            at = end
        literals.append(self._body[at:])
        last = len(literals) - 1
        return _Holes([_literal(piece, number < last) for number, piece in enumerate(literals)], edits, self._eol)

    def _span(self, offset: int) -> tuple[int, int] | None:
        """Where one decoded octet stands in the encoded body."""
        if offset < 0:
            return None
        number = bisect_right(self._starts, offset) - 1
        start, size = self._starts[number], self._starts[number + 1] - self._starts[number]
        if number not in self._blocks:
            lines = _Lines(self._body[self._at[number] : self._at[number + 1]])
            self._blocks[number] = lines if lines.starts[-1] == size else None
        block = self._blocks[number]
        span = block.span(offset - start) if block else None
        return (self._at[number] + span[0], self._at[number] + span[1]) if span else None


class _Lines:
    """The lines of one block, with the offset of each, decoded and encoded."""

    def __init__(self, block: bytes) -> None:
        self.lines: list[bytes] = _LINES.findall(block)
        self.decoded = list(map(a2b_qp, self.lines))
        self.starts = list(accumulate(map(len, self.decoded), initial=0))
        self.at = list(accumulate(map(len, self.lines), initial=0))
        self._details: dict[int, list[int] | None] = {}

    def span(self, offset: int) -> tuple[int, int] | None:
        """Where one decoded octet stands in the encoded block; None where its line is not what it seems."""
        number = bisect_right(self.starts, offset) - 1
        if number not in self._details:
            self._details[number] = _escapes(self.lines[number], self.decoded[number])
        escapes = self._details[number]
        if escapes is None:
            return None
        inside = offset - self.starts[number]
        before = bisect_left(escapes, inside)
        start = self.at[number] + inside + 2 * before
        return start, start + (3 if inside in escapes[before : before + 1] else 1)


def _escapes(line: bytes, decoded: bytes) -> list[int] | None:
    """The octets of a line that are written as escapes; None where the line is not what it seems."""
    first, *pieces = line.split(b"=")
    if pieces and pieces[-1] in _SOFT:
        pieces.pop()
    found, octets = [], bytearray(first)
    for piece in pieces:
        if _HEX.match(piece):
            found.append(len(octets))
            octets.append(int(piece[:2], 16))
            octets += piece[2:]
        else:
            octets += b"=" + piece
    return found if octets == decoded else None


@dataclass(frozen=True, slots=True)
class _Literal:
    """Encoded text between holes: its length up to the first line end, plus one where a hole must still fit a soft
    break behind it; and the length after the last line end, None where it has none."""

    text: bytes
    head: int
    tail: int | None


def _literal(text: bytes, hole_follows: bool) -> _Literal:
    first = text.find(b"\n")
    if first < 0:
        return _Literal(text, len(text) + (1 if hole_follows else 0), None)
    head = first - (1 if text[first - 1 : first] == b"\r" else 0)
    return _Literal(text, head, len(text) - text.rfind(b"\n") - 1)


@dataclass(frozen=True, slots=True)
class _Holes:
    literals: list[_Literal]
    edits: Sequence[Edit]
    eol: bytes

    def render(self, fill: Fill) -> list[bytes]:
        first = self.literals[0]
        out = [first.text]
        column = len(first.text) if first.tail is None else first.tail
        for edit, literal in zip(self.edits, self.literals[1:], strict=True):
            column = _put(out, encode(fill(edit)), column, literal.head, self.eol)
            out.append(literal.text)
            column = column + len(literal.text) if literal.tail is None else literal.tail
        return out


def encode(value: bytes) -> bytes:
    """Quoted-printable octets of a value, without soft breaks."""
    return _SPECIAL.sub(lambda m: b"=%02X" % m[0][0], value)


def _put(out: list[bytes], value: bytes, column: int, following: int, eol: bytes) -> int:
    """Append an encoded value from ``column`` on, with soft breaks; gives the column where ``following`` octets fit."""
    soft = b"=" + eol
    at, length = 0, len(value)
    while column + length - at + following > _WIDTH:
        if at == length and column == 0:
            break
        if length - at + column <= _WIDTH - 1:
            # the value fits, what follows does not
            out += (value[at:], soft)
            return 0
        room = max(0, _WIDTH - 1 - column)
        end = at + room
        # an escape is never cut
        mark = value.rfind(b"=", max(at, end - 2), end)
        if mark >= 0:
            end = mark
        out += (value[at:end], soft)
        at, column = end, 0
    out.append(value[at:])
    return column + length - at
