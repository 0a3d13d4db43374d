"""From spans of a part's text to edits of its octets, so that lines stay within their limit. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from relay.rewriting import html, lines
from relay.rewriting.charsets import Charset
from relay.rewriting.transfers import Edit, Plain, Transfer

PIXEL_HEAD = b'<img src="'
PIXEL_TAIL = b'" width="1" height="1" alt="" style="display:block;position:absolute;border:0;width:1px;height:1px">'
_PIXEL_SPACE = 4


class Spot(NamedTuple):
    """A span of the text and the ``number`` of what goes in its place; ``tag`` is the span of the tag around it;
    ``needed``: where a line has not room for all, others of it stay as they are. Number 0 is the pixel."""

    number: int
    start: int
    end: int
    tag: tuple[int, int]
    needed: bool = False


_BY_PLACE = itemgetter(1, 2)
Sizes = Callable[[int], int]
"""The greatest length of what goes in place of a spot, by its number, in characters; of the pixel that of its URL."""


@dataclass(frozen=True, slots=True)
class Splice:
    """The edits of a part in order, and the numbers of the spots that would have made a line too long."""

    edits: list[Edit]
    dropped: frozenset[int]


def splice(
    spots: Sequence[Spot], sizes: Sizes, text: str, transfer: Transfer, charset: Charset, binary: bool
) -> Splice | None:
    """The edits for spots that do not overlap; None where the text does not lead back to the very same octets.
    ``binary``: the part's lines have no limit."""
    spots = sorted(spots, key=_BY_PLACE)
    cuts = [at for each in spots for at in (each.start, each.end)]
    offsets = charset.offsets(text, transfer.data, cuts)
    if offsets is None:
        return None
    edits = [
        Edit(start, end, spot.number) if spot.number else Edit(start, end, 0, PIXEL_HEAD, PIXEL_TAIL)
        for spot, start, end in zip(spots, offsets[::2], offsets[1::2], strict=True)
    ]
    if not isinstance(transfer, Plain) or (binary and not charset.bytewise):
        return Splice(edits, frozenset())
    growths = [_growth(spot, edit, sizes(spot.number), charset) for spot, edit in zip(spots, edits, strict=True)]
    found = lines.fit(transfer.data, growths, lambda tag: _spaces(text, tag) if charset.bytewise else [])
    kept = [Edit(at, at + 1, None, eol) for at, eol in found.breaks]
    kept += [_broken(edit, found.own.get(n, ())) for n, edit in enumerate(edits) if n not in found.dropped]
    kept.sort(key=lambda edit: (edit.start, edit.end))
    return Splice(kept, frozenset(spots[n].number for n in found.dropped))


def _growth(spot: Spot, edit: Edit, size: int, charset: Charset) -> lines.Growth:
    width = 1 if charset.bytewise else len(charset.encode("aa")) // 2
    if spot.number:
        return lines.Growth(edit.start, edit.end, size * width, spot.tag, needed=spot.needed)
    own = (_PIXEL_SPACE, len(PIXEL_HEAD) + size + 1) if charset.bytewise else ()
    whole = (len(PIXEL_HEAD) + size + len(PIXEL_TAIL)) * width
    return lines.Growth(edit.start, edit.end, whole, (edit.start, edit.start), own)


def _broken(edit: Edit, own: tuple[int, ...]) -> Edit:
    """The pixel with line ends in place of its own spaces."""
    before, after = edit.before, edit.after
    for at in own:
        if at == _PIXEL_SPACE:
            before = before.replace(b" ", b"\r\n", 1)
        else:
            after = after.replace(b" ", b"\r\n", 1)
    return edit if not own else edit._replace(before=before, after=after)


def _spaces(text: str, tag: tuple[int, int]) -> list[int]:
    """Spaces between the attributes of a start tag; none where there is no tag."""
    if tag[0] == tag[1]:
        return []
    name = re.compile(r"[^\s/>]*+").match(text, tag[0] + 1, tag[1])
    pos = name.end() if name else tag[0]
    found: list[int] = []
    token = html.Token(html.START, tag[0], tag[1], text[tag[0] + 1 : pos])
    for attribute in html.attributes(text, token):
        found += [at for at in range(pos, attribute.start) if text[at] == " "]
        pos = attribute.end
    return found
