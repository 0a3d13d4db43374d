"""A picture of a mail with the clicks on its links: its kept HTML, each link with its number and its count. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from itertools import count

from tracker.mirror import Document, Kind, Splice
from tracker.reading.cage import NOWHERE, Shown, caged

SHADES = ("#e7eeec", "#c3e6df", "#86d3c4", "#3fae9c", "#0f766e")
"""How a link is coloured by its share of the clicks, none to most."""

_DARK_INK, _LIGHT_INK = "#10302b", "#ffffff"
_BASE = "all:initial!important;"
_MARK = (
    _BASE + "position:relative!important;display:inline-block!important;width:0!important;height:0!important;"
    "vertical-align:top!important;z-index:2147483647!important"
)
_PILL = (
    _BASE + "position:absolute!important;left:-10px!important;top:-16px!important;display:flex!important;"
    "border-radius:9px!important;overflow:hidden!important;white-space:nowrap!important;"
    "font:600 11px/18px system-ui,sans-serif!important;box-shadow:0 0 0 1px #fff,0 1px 4px #0006!important"
)
_CELL = _BASE + "font:inherit!important;padding:0 6px!important;"


def picture(document: Document, clicks: Mapping[int, int]) -> str:
    """The page. ``clicks`` are those on each link of ours by position; the numbers shown are the positions."""
    text, mark = _marked(document)
    most = max(clicks.values(), default=0)

    def on_link(href: str) -> Shown:
        found = re.fullmatch(rf"#{mark}([0-9]+)", href)
        if found is None:
            return Shown()
        position = int(found[1])
        return Shown(f"{href}", _badge(position, clicks.get(position, 0), most))

    rules = "".join(
        f'[href="#{mark}{position}"]{{outline:2px solid {SHADES[max(1, shade(number, most))]}!important;'
        "outline-offset:1px}"
        for position, number in clicks.items()
    )
    return caged(text, on_link, rules)


def plain(document: Document) -> str:
    """The same without numbers."""
    return caged(_marked(document)[0])


def text_of(document: Document) -> str:
    """The HTML with its pictures, every link of ours leading nowhere."""
    return _marked(document)[0]


def shade(clicks: int, most: int) -> int:
    """Which of the shades: by the share of the link that was clicked most."""
    if clicks <= 0 or most <= 0:
        return 0
    return min(len(SHADES) - 1, 1 + (len(SHADES) - 1) * clicks // (most + 1))


def _badge(position: int, clicks: int, most: int) -> str:
    level = shade(clicks, most)
    ink = _LIGHT_INK if level == len(SHADES) - 1 else _DARK_INK
    number = f"{_CELL}background:#16211f!important;color:#fff!important"
    counted = f"{_CELL}background:{SHADES[level]}!important;color:{ink}!important"
    return (
        f'<span style="{_MARK}"><span style="{_PILL}"><span style="{number}">{position}</span>'
        f'<span style="{counted}">{_short(clicks)}</span></span></span>'
    )


def _short(clicks: int) -> str:
    """A count in few characters."""
    if clicks < 10_000:
        return f"{clicks:,}".replace(",", "\u202f")
    return f"{clicks / 1000:.0f}k" if clicks < 1_000_000 else f"{clicks / 1_000_000:.1f}M"


def _marked(document: Document) -> tuple[str, str]:
    """The HTML, where each link of ours leads to ``#`` and a mark and its position; the mark stands nowhere else."""
    texts = "".join(piece for part in document.parts for piece in part if isinstance(piece, str))
    mark = next(each for each in (f"link{number}-" for number in count()) if each not in texts)
    return "".join(_values(document, mark)), mark


def _values(document: Document, mark: str) -> Iterator[str]:
    pictures = {name: f"data:{each.type};base64,{each.data}" for name, each in document.pictures.items()}
    for part in document.parts:
        for piece in part:
            if isinstance(piece, str):
                yield piece
            elif piece.kind is Kind.PICTURE:
                yield pictures.get(piece.url, "")
            else:
                yield _href(piece, mark)


def _href(splice: Splice, mark: str) -> str:
    # what stands in the mail as the app wrote it is none of ours, and a whole URL may be part of a longer value
    return html.escape(NOWHERE if splice.kind is Kind.PLAIN else f"#{mark}{splice.position}")
