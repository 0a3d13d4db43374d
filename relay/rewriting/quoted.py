"""Quoted-printable: whole texts, and parts edited in place, whose lines without a link keep their octets. Pure.
Source: RFC 2045 section 6.7."""

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
_SOFT = re.compile(rb"=(?:\r?\n|\Z)")
_SPECIAL = re.compile(rb"[^ -<>-~]")
_WIDE = re.compile(rb"^[^\r\n]{77,}+", re.MULTILINE)
EASY = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x3D) + b"\r\n"
"""Octets that stand for themselves, blanks and line ends by their place."""
_SEVEN = bytes(range(0x80))
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
        self._details: dict[int, _Detail | None] = {}

    def span(self, offset: int) -> tuple[int, int] | None:
        """Where one decoded octet stands in the encoded block; None where its line is not what it seems."""
        number = bisect_right(self.starts, offset) - 1
        if number not in self._details:
            self._details[number] = _detail(self.lines[number], self.decoded[number])
        detail = self._details[number]
        if detail is None:
            return None
        start, end = detail.span(offset - self.starts[number])
        return self.at[number] + start, self.at[number] + end


class _Detail:
    """Where the decoded octets of one line stand; ``escapes`` are the offsets of those that are escaped."""

    def __init__(self, escapes: list[int]) -> None:
        self._escapes = escapes

    def span(self, offset: int) -> tuple[int, int]:
        """Where one octet stands in the encoded line."""
        before = bisect_left(self._escapes, offset)
        start = offset + 2 * before
        escaped = before < len(self._escapes) and self._escapes[before] == offset
        return start, start + (3 if escaped else 1)


def _detail(line: bytes, decoded: bytes) -> _Detail | None:
    """The places of a line's octets; None where the line is not what it seems."""
    soft = _SOFT.search(line)
    first, *rest = (line[: soft.start()] if soft else line).split(b"=")
    octets, escapes, at = [first], [], len(first)
    for piece in rest:
        if _HEX.match(piece):
            escapes.append(at)
            octets += (bytes([int(piece[:2], 16)]), piece[2:])
            at += len(piece) - 1
        else:
            octets += (b"=", piece)
            at += len(piece) + 1
    return _Detail(escapes) if b"".join(octets) == decoded else None


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


def encode_text(data: bytes) -> bytes:
    """A whole text in quoted-printable: its CRLF stay line ends, longer lines get soft breaks, all else decodes to the
    same octets. No line that was not one before begins like a delimiter."""
    # with every NUL escaped one can stand for a line end
    text = _escaped(data, EASY).replace(b"\r\n", b"\0").replace(b"\r", b"=0D").replace(b"\n", b"=0A")
    text = text.replace(b" \0", b"=20\0").replace(b"\0", b"\r\n")
    text = text[:-1] + b"=20" if text.endswith(b" ") else text
    return _WIDE.sub(_broken, text)


def mend(body: bytes) -> bytes | None:
    """A quoted-printable part with those octets over 127 escaped that should have been, and lines that are too long
    broken; None where it would not decode to the same octets."""
    mended = _WIDE.sub(_broken, _escaped(body, _SEVEN))
    return mended if a2b_qp(mended) == a2b_qp(body) else None


def _escaped(data: bytes, keep: bytes) -> bytes:
    """All octets but these escaped, value by value: a call for each octet would cost ten times the memory."""
    values = set(data.translate(None, keep))
    for value in sorted(values, key=lambda value: value != 0x3D):
        data = data.replace(bytes([value]), b"=%02X" % value)
    return data


def _broken(line: re.Match[bytes]) -> bytes:
    """An encoded line with soft breaks."""
    value, out = line[0], []
    at, lead, length = 0, b"", len(value)
    while length - at + len(lead) > _WIDTH:
        end = _cut(value, at, _WIDTH - 1 - len(lead))
        out.append(lead + value[at:end])
        # two dashes at the start of a line might be a delimiter, which they were not in its midst
        lead = b"=2D" if value.startswith(b"--", end) else b""
        at = end + 1 if lead else end
    return b"=\r\n".join([*out, lead + value[at:]])


def _cut(value: bytes, at: int, room: int) -> int:
    """Where a line of encoded octets that begins at ``at`` is broken: an escape is never cut."""
    end = at + room
    mark = value.rfind(b"=", max(at, end - 2), end)
    return mark if mark >= 0 else end


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
        end = _cut(value, at, max(0, _WIDTH - 1 - column))
        out += (value[at:end], soft)
        at, column = end, 0
    out.append(value[at:])
    return column + length - at
