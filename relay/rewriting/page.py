"""What a page holds that concerns us: link elements, images, and the place for the pixel, by span. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.rewriting import html
from relay.rewriting.html import Attribute, Token

MAX_ELEMENTS = 100_000
"""Links, images and conditional comments of one page; past that nobody wrote it for people."""
_LABEL_SOURCE = 4000
LABEL_LENGTH = 200
"""Characters of a label."""
_SPACED = frozenset(
    ("br", "p", "div", "td", "th", "tr", "table", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "center")
)


class TooMany(Exception):
    """The page holds more elements than the bound."""


@dataclass(slots=True)
class Anchor:
    """A start tag that may be a link: ``a``, ``area`` or VML, with the span of its first ``href``. ``attributes`` are
    those that may say more of it, at least; ``inside`` and ``outside`` are where its content begins and ends."""

    name: str
    start: int
    end: int
    href_start: int
    href_end: int
    attributes: Sequence[Attribute]
    inside: int
    outside: int


@dataclass(slots=True)
class Page:
    """A page by span. ``pixel_at``: just before the last ``</body>``, else the last ``</html>``, else the end or what
    the end leaves unfinished."""

    anchors: list[Anchor] = field(default_factory=list)
    images: list[tuple[int, int]] = field(default_factory=list)
    pixel_at: int = 0


def read(text: str) -> Page:
    """Find links, images and the pixel's place. Raises TooMany."""
    return _Reader(text).run()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.page = Page()
        self.open: dict[tuple[str, bool], Anchor] = {}
        self.ends = {"body": -1, "html": -1}
        # before the line end that closes the part, which stays its last octets
        self.unfinished = len(text.rstrip("\t\r\n "))
        self.seen = 0

    def run(self) -> Page:
        self._read(0, len(self.text), False)
        for anchor in self.open.values():
            anchor.outside = min(len(self.text), anchor.inside + _LABEL_SOURCE)
        body, root = self.ends["body"], self.ends["html"]
        self.page.pixel_at = body if body >= 0 else root if root >= 0 else self._end()
        return self.page

    def _end(self) -> int:
        """The end of the page, before its last line end: a pixel behind that would need a line end of its own."""
        if self.unfinished < len(self.text):
            return self.unfinished
        return len(self.text.removesuffix("\n").removesuffix("\r")) if self.text.endswith("\n") else len(self.text)

    def _read(self, start: int, end: int, hidden: bool) -> None:
        text, pos = self.text, start
        while (at := html.after(html.LINKS, text, pos, end)) < end:
            self.seen += 1
            if self.seen > MAX_ELEMENTS:
                raise TooMany
            link = html.WHOLE_LINK.match(text, at, end)
            if link is not None:
                self._whole(link, hidden)
                pos = link.end()
                continue
            for token in html.markup(text, at, end):
                self._take(token, hidden)
                pos = token.end

    def _whole(self, link: re.Match[str], hidden: bool) -> None:
        """A link with its content and its end."""
        at, (inside, outside) = link.start(), link.span(2)
        self._close("a", hidden, at)
        outside = min(outside, inside + _LABEL_SOURCE)
        self.page.anchors.append(Anchor("a", at, inside, *link.span(1), (), inside, outside))

    def _take(self, token: Token, hidden: bool) -> None:
        kind = token.kind
        if kind == html.START:
            self._start(token, hidden)
        elif kind == html.END:
            if token.name in self.ends and not hidden:
                self.ends[token.name] = token.start
            else:
                self._close(token.name, hidden, token.start)
        elif kind == html.COMMENT and not hidden:
            inside = html.condition(self.text, token)
            if inside and _HINT.search(self.text, *inside):
                self._read(*inside, True)
        elif kind == html.UNFINISHED and not hidden:
            self.unfinished = token.start

    def _start(self, token: Token, hidden: bool) -> None:
        name = token.name
        if name == "img":
            for each in html.attributes(self.text, token):
                if each.name == "src":
                    self.page.images.append((each.value_start, each.value_end))
                    break
        elif name in ("a", "area") or name.startswith("v:"):
            self._close(name, hidden, token.start)
            attributes = html.attributes(self.text, token)
            href = next((each for each in attributes if each.name == "href"), None)
            if href is not None and href.value_end > href.value_start:
                span = (href.value_start, href.value_end)
                anchor = Anchor(name, token.start, token.end, *span, attributes, token.end, token.end)
                self.page.anchors.append(anchor)
                if name != "area":
                    self.open[name, hidden] = anchor

    def _close(self, name: str, hidden: bool, at: int) -> None:
        anchor = self.open.pop((name, hidden), None) if self.open else None
        if anchor is not None:
            anchor.outside = min(at, anchor.inside + _LABEL_SOURCE)


_HINT = re.compile(r"<(?:[aA]|[vV]:)")


def label(text: str, anchor: Anchor) -> str:
    """The visible text of a link, in the page's own octets; else what its image or itself says instead (``alt``)."""
    start, end = anchor.inside, anchor.outside
    if "<" not in text[start:end]:
        return text[start:end]
    pieces, alternatives = [], []
    for token in html.walk(text, start, end):
        if token.kind == html.TEXT:
            pieces.append(text[token.start : token.end])
        elif token.name in _SPACED:
            pieces.append(" ")
        elif token.kind == html.START and token.name == "img":
            alternatives += [text[e.value_start : e.value_end] for e in html.attributes(text, token) if e.name == "alt"]
    found = "".join(pieces)
    return found if found.strip() else " ".join(alternatives)
