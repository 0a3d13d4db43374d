"""Quoted-printable: whole texts, and parts edited in place, whose lines without a link keep their octets. Pure.
Source: RFC 2045 section 6.7."""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Sequence
from typing import NamedTuple

from relay.rewriting.transfers import Edit, Fill, Template

_DOUBTFUL = re.compile(rb"=(?:[ \t]++(?:\r?\n|\Z)|\r(?!\n))")
_MARK_AND_BLANK = re.compile(rb"=[ \t]")
_BARE_CR = re.compile(rb"\r(?!\n)")
_SOFT_BREAKS = re.compile(rb"(?:=\r?\n)*+")
_ESCAPE = re.compile(rb"((?:=\r?\n)++)|==|=[0-9A-Fa-f]{2}|.", re.DOTALL)
_SPECIAL = re.compile(rb"[^ -<>-~]")
_WIDE = re.compile(rb"^[^\r\n]{77,}+", re.MULTILINE)
EASY = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x3D) + b"\r\n"
"""Octets that stand for themselves, blanks and line ends by their place."""
_ITSELF = EASY[:-2]
_SEVEN = bytes(range(0x80))
_WIDTH = 76
_MARK = 0x3D
_SHOWN = 8


class Quoted:
    """A quoted-printable part. ``data`` is what it holds; where an octet of it stands in the body is found out only
    where an edit is. Raises ValueError where blanks or a bare CR after a soft break make its reading doubtful."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.data = a2b_qp(body)
        # a blank behind an escape's mark shows in the data too, where there are fewer marks to look at
        if (_MARK_AND_BLANK.search(self.data) or _BARE_CR.search(body)) and _DOUBTFUL.search(body):
            raise ValueError("blanks or a bare CR after a soft break")
        self._eol = b"\r\n" if b"\r\n" in body or b"\n" not in body else b"\n"

    def template(self, edits: Sequence[Edit]) -> Template | None:
        """The encoded part with holes; None where what an edit replaces might be read in two ways."""
        body, data = self._body, self.data
        spans: list[tuple[int, int]] = []
        at = done = 0
        for edit in edits:
            first, last = edit.start, edit.end
            start = _end_of(body, at, first - done, data[first : first + _SHOWN])
            if body[start : start + 1] == b"=" and first < len(data):  # at the end a soft break stays before the edit
                start = _SOFT_BREAKS.match(body, start).end()  # type: ignore[union-attr]
            at = _end_of(body, start, last - first, data[last : last + 1])
            if b"==" in body[start:at]:
                return None
            spans.append((start, at))
            done = last
        return self._holes(spans, edits)

    def _holes(self, spans: list[tuple[int, int]], edits: Sequence[Edit]) -> Template:
        at, literals = 0, []
        for start, end in spans:
            literals.append(_literal(self._body[at:start], 1))
            at = end
        literals.append(_literal(self._body[at:], 0))
        return _Holes(literals, edits, self._eol)


def _end_of(body: bytes, at: int, octets: int, follows: bytes) -> int:
    """Where so many decoded octets end that begin at ``at``: mostly where ``follows``, which comes then, shows next."""
    if not octets:
        return at
    end = body.find(follows, at + octets, at + 3 * octets + _SHOWN)
    sure = end > 0 and body[end - 2] != _MARK and body[end - 1] not in b"=\n"
    if sure and len(a2b_qp(body[at:end])) == octets:
        return end
    return _strides(body, at, octets)


def _strides(body: bytes, at: int, octets: int) -> int:
    """The same, counted. None takes less than one encoded octet, so a stride as long as what is left is never too long;
    it ends before an escape, not in one."""
    while octets and at < len(body):
        end = at + octets
        mark = body.find(b"=", max(at, end - 2), end)
        if mark > at:
            end = mark if body[mark - 1] != _MARK else at + len(body[at:mark].rstrip(b"="))
        if mark == at or end == at:
            escape = _ESCAPE.match(body, at)
            assert escape is not None
            octets -= escape[1] is None
            at = escape.end()
        else:
            octets -= len(a2b_qp(body[at:end]))
            at = end
    return at


class _Literal(NamedTuple):
    """Encoded text between holes: its length up to the first line end, plus one where a hole must still fit a soft
    break behind it; and the length after the last line end, None where it has none."""

    text: bytes
    head: int
    tail: int | None


def _literal(text: bytes, holes: int) -> _Literal:
    """Text that so many holes follow."""
    first = text.find(b"\n")
    if first < 0:
        return _Literal(text, len(text) + holes, None)
    head = first - (1 if text[first - 1 : first] == b"\r" else 0)
    return _Literal(text, head, len(text) - text.rfind(b"\n") - 1)


class _Holes(NamedTuple):
    literals: list[_Literal]
    edits: Sequence[Edit]
    eol: bytes

    def render(self, fill: Fill) -> list[bytes]:
        (text, _, tail), *rest = self.literals
        out = [text]
        column = len(text) if tail is None else tail
        for edit, (text, head, tail) in zip(self.edits, rest, strict=True):
            column = _put(out, encode(fill(edit)), column, head, self.eol)
            out.append(text)
            column = column + len(text) if tail is None else tail
        return out


def encode(value: bytes) -> bytes:
    """Quoted-printable octets of a value, without soft breaks."""
    if not value.translate(None, _ITSELF):
        return value
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
