"""URLs and placeholders in plain text by span. Pure.

A URL is taken whole or marked as doubtful. Where it ends: RFC 3986 appendix C (delimiters), and as mail clients have
it, closing punctuation and brackets that were not opened inside it are not part of it. RFC 3676 (``format=flowed``)
puts soft line breaks at spaces, so only with ``DelSp=yes`` may a URL go on behind one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.rewriting import placeholders

_BRACES = r"\{\{[^{}\r\n]*+\}\}"
# what ends a URL beside ASCII: wide spaces, CJK punctuation, typographers' quotes, dashes and ellipses
_STOPS = (
    r"\u00a0\u00ab\u00bb\u2000-\u200b\u2010-\u2027\u2030-\u203e\u3000-\u303f"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_FOUND = re.compile(
    rf"(?P<open>{placeholders.LINK})"
    r"|(?<![A-Za-z0-9])(?P<url>https?(?:\+notrack)?://"
    rf"(?:{placeholders.LINK}|{_BRACES}|(?!\[\[data-msys-)[^\s<>\"\x00-\x20\x7f{_STOPS}])++)"
    r"(?P<marks>\[\[data-msys-[^\[\]\r\n]*+\]\])?",
    re.IGNORECASE | re.ASCII,
)
_HINTS = (b"{{", b"url%", b"*|", b"<%", b"+notrack", b"[[data-msys-", b"\0")
_HELD = re.compile(rf"{placeholders.LINK}|{_BRACES}", re.IGNORECASE)
_MARK = re.compile(r"([\w-]+)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|(\S++))")
_WRAPPED = re.compile(r"\s[^<>]{0,2000}>")
_CLOSING = ".,;:!?'\""
_LONGEST = 8192
_PAIRS = {")": "(", "]": "[", "}": "{"}
_EMPHASIS = "*_~|`'"


@dataclass(frozen=True, slots=True)
class Found:
    """A URL, or a placeholder that stands for one, from ``start`` to ``end``, SparkPost's ``marks`` behind it included:
    ``[[data-msys-clicktrack="0"]]``. ``url_end`` is where the URL alone ends. ``whole``: it surely ends there."""

    start: int
    url_end: int
    end: int
    marks: tuple[tuple[str, str], ...]
    whole: bool


def may_hold_placeholders(data: bytes) -> bool:
    """Whether there may be anything in the octets of a text that is to be filled in or taken out whatever else is
    wanted; octets of UTF-16 always may."""
    return any(hint in data for hint in _HINTS)


def find(text: str, del_sp: bool) -> Iterator[Found]:
    """The URLs and placeholders of a text in order; ``del_sp``: it is flowed with ``DelSp=yes``."""
    for match in _FOUND.finditer(text):
        start, end = match.span()
        if match["open"] is not None:
            yield Found(start, end, end, (), True)
            continue
        stop = match.end("url")
        if match["marks"] is not None:
            yield Found(start, stop, end, tuple(_marks(match["marks"])), True)
            continue
        bracketed = text[max(0, start - 5) : start].endswith(("<", "<URL:"))
        if not (bracketed and text[stop : stop + 1] == ">"):
            stop = _end(text, start, stop)
        wrapped = (bracketed and _WRAPPED.match(text, end)) or (del_sp and text[end : end + 3] == " \r\n")
        yield Found(start, stop, stop, (), not wrapped and stop - start <= _LONGEST and text[start:stop].isascii())


def _marks(text: str) -> Iterator[tuple[str, str]]:
    for found in _MARK.finditer(text):
        yield found[1].lower(), found[2] or found[3] or found[4] or ""


def _end(text: str, start: int, stop: int) -> int:
    """Where a URL ends that runs up to ``stop`` at most."""
    if stop - start > _LONGEST:
        return stop
    held = [match.end() for match in _HELD.finditer(text, start, stop)]
    floor = max([start + len("http://x"), *held])
    before = text[start - 1 : start]
    while stop > floor:
        last = text[stop - 1]
        opening = _PAIRS.get(last)
        unopened = opening is not None and text.count(last, start, stop) > text.count(opening, start, stop)
        if last in _CLOSING or unopened or (last in _EMPHASIS and last == before):
            stop -= 1
        else:
            break
    return stop
