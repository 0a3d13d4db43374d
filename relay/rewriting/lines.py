"""Lines of 7bit and 8bit parts stay within 998 octets: which spaces inside tags become line ends, which links must stay
as they are. Pure. Source: RFC 5322 section 2.1.1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LIMIT = 998
"""Octets of a line, its CRLF not counted."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A span that is going to be at most ``size`` octets long. ``tag`` is the span of the tag it stands in;
    ``own`` the offsets inside the new text at which it may itself be broken (the pixel); ``needed``: what stands there
    must not leave as it is, so that others of its line make room for it."""

    start: int
    end: int
    size: int
    tag: tuple[int, int]
    own: tuple[int, ...] = ()
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """What to do so that lines fit: ``dropped`` growths (by number) cannot be; ``breaks`` are offsets of spaces that
    become ``eol``; ``own`` holds the breaks inside a growth's own text."""

    dropped: frozenset[int]
    breaks: tuple[tuple[int, bytes], ...]
    own: dict[int, tuple[int, ...]]


Spaces = Callable[[tuple[int, int]], list[int]]
"""The offsets of spaces in a tag that a line end may replace."""


def overlong(data: bytes) -> bool:
    """Whether a line is over the limit. Goes from one line end to the last that stands within the next line's room."""
    at = 0
    while len(data) - at > LIMIT:
        end = data.rfind(b"\r\n", at, at + LIMIT + 2)
        if end < 0:
            return True
        at = end + 2
    return False


def fit(data: bytes, growths: Sequence[Growth], spaces: Spaces) -> Fit:
    """Make lines fit; ``growths`` ascend and do not touch each other."""
    dropped: set[int] = set()
    breaks: list[tuple[int, bytes]] = []
    own: dict[int, tuple[int, ...]] = {}
    for start, end, numbers in _groups(data, growths):
        kept = list(numbers)
        text_end = end - 1 if data[end - 1 : end] == b"\r" else end
        eol = b"\n" if end < len(data) and text_end == end else b"\r\n"
        came_long = any(len(line.rstrip(b"\r")) > LIMIT for line in data[start:end].split(b"\n"))
        while kept:
            change = sum(growths[n].size - (growths[n].end - growths[n].start) for n in kept)
            if text_end - start + change <= LIMIT:
                break
            found, culprit = _break(growths, kept, start, text_end, spaces)
            if culprit is None:
                breaks += [(at, eol) for number, at in found if number is None]
                for n in kept:
                    inside = tuple(at for number, at in found if number == n)
                    if inside:
                        own[n] = inside
                break
            gone = kept if came_long or culprit < 0 else [_least(growths, kept, culprit)]
            dropped.update(gone)
            kept = [n for n in kept if n not in dropped]
    return Fit(frozenset(dropped), tuple(breaks), own)


def _least(growths: Sequence[Growth], kept: Sequence[int], culprit: int) -> int:
    """Which growth goes for a culprit's sake: itself, or where it is needed, the last before it that is not."""
    if not growths[culprit].needed:
        return culprit
    return next((n for n in reversed(kept) if n < culprit and not growths[n].needed), culprit)


def _groups(data: bytes, growths: Sequence[Growth]) -> list[tuple[int, int, list[int]]]:
    """Growths by the line, or run of lines joined by a value with line ends in it, on which they stand."""
    groups: list[tuple[int, int, list[int]]] = []
    for number, growth in enumerate(growths):
        if groups and growth.start <= groups[-1][1]:
            start, end, numbers = groups[-1]
            numbers.append(number)
            if growth.end > end:
                groups[-1] = (start, _line_end(data, growth.end), numbers)
            continue
        floor = groups[-1][1] if groups else 0
        start = max(data.rfind(b"\n", floor, growth.start) + 1, floor)
        groups.append((start, _line_end(data, growth.end), [number]))
    return groups


def _line_end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end


def _break(
    growths: Sequence[Growth], kept: list[int], start: int, end: int, spaces: Spaces
) -> tuple[list[tuple[int | None, int]], int | None]:
    """Break as late as possible. Gives the breaks (growth and offset inside it, or None and offset in the data), and
    the number of a growth that cannot be made to fit: None where all fit, -1 where no growth is to blame."""
    chosen: list[tuple[int | None, int]] = []
    column, since, candidate, blame = 0, 0, None, -1
    for at, length, possible, number in _atoms(growths, kept, start, end, spaces):
        column += length
        since += length
        if length and number is not None:
            blame = number
        if column > LIMIT:
            if candidate is None or since > LIMIT:
                return [], blame
            chosen.append(candidate)
            column, candidate = since, None
        if possible:
            candidate, since, blame = (number, at), 0, -1
            column += 1
    return chosen, None


def _atoms(
    growths: Sequence[Growth], kept: list[int], start: int, end: int, spaces: Spaces
) -> list[tuple[int, int, bool, int | None]]:
    """The line as a row of (offset, octets up to it, whether a break is possible there, growth)."""
    tags = {growths[n].tag for n in kept}
    free = {at for tag in tags for at in spaces(tag) if start <= at < end}
    marks: list[tuple[int, int | None]] = [(at, None) for at in free]
    marks += [(growths[n].start, n) for n in kept]
    atoms: list[tuple[int, int, bool, int | None]] = []
    pos = start
    for at, number in sorted(marks, key=lambda mark: (mark[0], mark[1] is None)):
        if number is None:
            atoms.append((at, at - pos, True, None))
            pos = at + 1
            continue
        growth = growths[number]
        atoms.append((at, at - pos, False, None))
        done = 0
        for inside in growth.own:
            atoms.append((inside, inside - done, True, number))
            done = inside + 1
        atoms.append((at, growth.size - done, False, number))
        pos = growth.end
    atoms.append((end, end - pos, False, None))
    return atoms
