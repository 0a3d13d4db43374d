"""Looks at a mail once: finds HTML and text leaves, decodes them, finds link values and the pixel's place, and prepares
the mail as a row of fixed pieces with holes. Pure.

All that is not a hole stays as it came (contract, section 3). Positions count through the HTML leaves first, then
through the text: what is said of a URL in the HTML holds in the text too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from relay.rewriting import keeping, links, marks, message, page, placeholders, plaintext
from relay.rewriting.charsets import Charset, charset_of, decoding_charset_of
from relay.rewriting.decisions import Decider, Decision, Options, Sight, Way
from relay.rewriting.keeping import Leaf, Place
from relay.rewriting.leaves import Skip, has_pgp, open_leaf
from relay.rewriting.message import Part
from relay.rewriting.rendering import Hole, Scan, Slot, attribute
from relay.rewriting.splicing import Spot, splice
from relay.rewriting.transfers import Transfer
from tracker.mirror import Document
from tracker.model import Link, LinkType

MAX_LINKS = 10_000
"""Links of one mail; past that it is left as it is."""

_PIXEL_TOKEN = 80
_NO_TRACK = re.compile(re.escape(marks.NO_TRACK), re.IGNORECASE)


class _Candidate(NamedTuple):
    """A link found, what was decided, and the span that changes; ``markup``: it stands in an attribute."""

    link: Link
    way: Way | None
    spot: Spot
    markup: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """An HTML leaf as it was read."""

    text: str
    charset: Charset
    page: page.Page
    candidates: list[_Candidate]


class Scanner:
    def __init__(self, raw: bytes, options: Options, is_ours: Callable[[str], bool]) -> None:
        self.raw, self.options, self.is_ours = raw, options, is_ours
        self.decider = Decider(options, is_ours)
        self.links: list[Link] = []
        self.slots: list[Slot] = []
        self.notes: list[str] = []
        self.reasons: list[str] = []
        self.leaves: list[_Read | Part] = []
        self.said: dict[str, marks.Marked] = {}
        self.pixels = False

    def run(self) -> Scan:
        raw = self.raw
        structure = message.parse(raw, signed=self.options.signed)
        if structure.reason:
            raise Skip(structure.reason)
        if has_pgp(raw, structure.parts):
            raise Skip("pgp")
        found = [(part, self._part(part)) for part in structure.parts]
        texts = [self._text(part) if part.type == "text/plain" and not part.opaque else None for part, _ in found]
        pieces: list[bytes | Hole] = []
        at = 0
        for (part, markup), text in zip(found, texts, strict=True):
            hole = markup or text
            if hole is not None:
                pieces += (raw[at : part.start], hole)
                at = part.end
        pieces.append(raw[at:])
        changed = len(pieces) > 1
        return Scan(
            links=tuple(self.links),
            pixels=self.pixels,
            instrumented=changed,
            reason=None if changed else self._reason(),
            notes=tuple(self.notes),
            raw=raw,
            pieces=tuple(pieces),
            slots=tuple(self.slots),
            closed=any(part.opaque in ("signed", "encrypted") for part in structure.parts),
            document=self._document(structure.parts),
        )

    def _document(self, parts: tuple[Part, ...]) -> Document | None:
        """The HTML for the mirror page, from what was read already; None where nobody wants it."""
        mirrored = any(link.type is LinkType.MIRROR for link in self.links)
        if not self.leaves or not (mirrored or self.options.keep):
            return None
        changed = {slot.link.position for slot in self.slots}
        leaves = [
            keeping.leaf_as_it_is(each, self.raw[each.start : each.end])
            if isinstance(each, Part)
            else self._leaf(each, changed)
            for each in self.leaves
        ]
        return replace(keeping.document(self.raw, parts, leaves), tracking_url=self.options.tracking_url)

    def _leaf(self, read: _Read, changed: set[int]) -> Leaf:
        """A leaf cut at the links that change, and at pixels of ours that it came with, which are not to be loaded."""
        places = [
            Place(each.spot.start, each.spot.end, keeping.splice_of(each.way, each.link))
            for each in read.candidates
            if each.way is not None and each.link.position in changed
        ]
        places += [Place(*span, None) for span in read.page.images if self._is_pixel(read.text, *span)]
        return Leaf(read.text, read.charset, sorted(places, key=lambda place: place.start))

    def _reason(self) -> str:
        """Why nothing changes: what kept the first HTML part from it, else what there is not."""
        if self.reasons and not (self.links and self.reasons == ["no_html"]):
            return self.reasons[0]
        if not (self.options.open_tracking or self.options.click_tracking or self.options.text_tracking):
            return "tracking_off"
        return next((link.reason for link in self.links), "no_links")

    def _part(self, part: Part) -> Hole | None:
        if part.type != "text/html" and part.opaque in (None, "attachment", "message"):
            if part.type == "text/x-amp-html" or part.opaque == "message":
                self.notes.append(f"part {part.path} ({part.type}): {'message' if part.opaque else 'amp'}")
            if not self.reasons:
                self.reasons.append("no_html")
            return None
        try:
            if part.opaque:
                raise Skip(part.opaque)
            if self.reasons == ["no_html"]:
                self.reasons.clear()
            return self._html(part)
        except Skip as skip:
            self.notes.append(f"part {part.path} ({part.type}): {skip}")
            if self.reasons == ["no_html"]:
                self.reasons.clear()
            self.reasons.append(str(skip))
            if part.type == "text/html" and not part.opaque:
                self.leaves.append(part)
            return None

    # -- HTML --------------------------------------------------------------------------------------------------------

    def _html(self, part: Part) -> Hole | None:
        transfer = open_leaf(part, self.raw[part.start : part.end])
        data = transfer.data
        charset = charset_of(part.charset, data)
        text = charset.text(data) if charset else None
        if charset is None or text is None:
            raise Skip("charset_not_exact")
        if not text.strip():
            raise Skip("empty")
        try:
            found = page.read(text)
        except page.TooMany:
            raise Skip("too_many_links") from None
        candidates = self._anchors(text, found, charset)
        pixel = self.options.open_tracking and not self._has_pixel(text, found)
        hole = self._hole(part, text, transfer, charset, candidates, found.pixel_at if pixel else None)
        self.leaves.append(_Read(text, charset, found, candidates))
        return hole

    def _has_pixel(self, text: str, found: page.Page) -> bool:
        return any(self._is_pixel(text, start, end) for start, end in found.images)

    def _is_pixel(self, text: str, start: int, end: int) -> bool:
        return end - start > 20 and self.is_ours(links.url_of(text[start:end]))

    def _anchors(self, text: str, found: page.Page, charset: Charset) -> list[_Candidate]:
        encoding = links.query_encoding(charset)
        candidates: list[_Candidate] = []
        for anchor in found.anchors:
            start, end = anchor.href_start, anchor.href_end
            piece = text[start:end]
            url = None if anchor.attributes else links.usual(piece)
            decision = None if url is None else self.decider.usual(url)
            if url is None or decision is None:
                value = charset.read(piece)
                url = links.url_of(charset.read_loosely(piece) if value is None else value)
                decision = self._decide(url, value is None, text, anchor, charset, encoding)
            if decision is None:
                continue
            way = decision.way
            if way is Way.REMOVE:
                way, start, end = _no_track(piece, start)
            link = self._link(len(candidates), url, links.label_of(text, anchor, charset), decision)
            spot = Spot(link.position, start, end, (anchor.start, anchor.end))
            candidates.append(_Candidate(link, way, spot, True))
        return candidates

    def _decide(
        self, url: str, doubtful: bool, text: str, anchor: page.Anchor, charset: Charset, encoding: str
    ) -> Decision | None:
        """What becomes of a link in HTML, None for what is none; the text will be told what its attributes say."""
        if not (links.is_http(url) or placeholders.is_open(url)):
            return None
        marked = links.marked_by(text, anchor)
        doubt = "charset_not_exact" if doubtful else None
        visible = self.options.skip_visible and links.is_visible(links.text_of(text, anchor, charset))
        decision = self.decider.decide(Sight(url, encoding, marked, self.options.click_tracking, visible, doubt))
        if decision is not None and (marked is not None or decision.way is Way.REMOVE):
            self._remember(url, marked)
        return decision

    def _remember(self, url: str, marked: marks.Marked | None) -> None:
        """What the HTML says of a URL, for the text; ``never`` before all else."""
        if links.says_no_track(url):
            url = links.without_no_track(url)
            marked = marks.Marked(LinkType.NEVER, "scheme +notrack", True)
        if marked is not None and (url not in self.said or marked.type is LinkType.NEVER):
            self.said[url] = marked

    def _link(self, before: int, url: str, label: str, decision: Decision) -> Link:
        position = len(self.links) + before + 1
        if position > MAX_LINKS:
            raise Skip("too_many_links")
        return Link(position, url, decision.target, label, decision.type, decision.reason, decision.tracked)

    # -- plain text --------------------------------------------------------------------------------------------------

    def _text(self, part: Part) -> Hole | None:
        """A text leaf. Without ``text_tracking`` only what must not leave as it stands is changed."""
        wanted = self.options.text_tracking
        try:
            transfer = open_leaf(part, self.raw[part.start : part.end])
            wanted = wanted or plaintext.may_hold_placeholders(transfer.data)
            if not wanted:
                return None
            charset = decoding_charset_of(part.charset, transfer.data)
            text = charset.text(transfer.data) if charset else None
            if charset is None or text is None:
                raise Skip("charset_not_exact")
            return self._hole(part, text, transfer, charset, self._urls(part, text), None)
        except Skip as skip:
            if wanted:
                self.notes.append(f"part {part.path} ({part.type}): {skip}")
            return None

    def _urls(self, part: Part, text: str) -> list[_Candidate]:
        candidates: list[_Candidate] = []
        tracking = self.options.text_tracking
        for found in plaintext.find(text, part.del_sp):
            url = text[found.start : found.url_end]
            marked = marks.marked(found.marks) or self.said.get(url)
            sight = Sight(url, "utf_8", marked, tracking, doubt=None if found.whole else "doubtful_end")
            decision = self.decider.decide(sight)
            if decision is None or not (tracking or _must_change(url, found, decision)):
                continue
            way, start, end = decision.way, found.start, found.end
            if way is Way.REMOVE:
                way, start, end = _no_track(url, start)
            elif way is None and found.marks:
                way, start = Way.REMOVE, found.url_end
            label = marks.label(found.marks) or url[: page.LABEL_LENGTH]
            link = self._link(len(candidates), url, label, decision)
            # lines cannot be broken here: what stands open goes before what is only tracked
            spot = Spot(link.position, start, end, (start, start), way is not Way.CLICK)
            candidates.append(_Candidate(link, way, spot, False))
        return candidates

    # -- both --------------------------------------------------------------------------------------------------------

    def _hole(
        self,
        part: Part,
        text: str,
        transfer: Transfer,
        charset: Charset,
        candidates: list[_Candidate],
        pixel_at: int | None,
    ) -> Hole | None:
        """A leaf with holes for what changes in it, None where nothing does."""
        changing = {each.link.position: each for each in candidates if each.way is not None}
        spots = [each.spot for each in changing.values()]
        if pixel_at is not None:
            spots.append(Spot(0, pixel_at, pixel_at, (pixel_at, pixel_at)))
        sizes = partial(self._size, changing)
        found = splice(spots, sizes, text, transfer, charset, part.encoding == "binary")
        if found is None:
            raise Skip("charset_not_exact")
        template = transfer.template(found.edits) if found.edits else None
        if found.edits and template is None:
            raise Skip("encoding_not_exact")
        self._keep(candidates, found.dropped)
        if 0 in found.dropped:
            self.notes.append(f"part {part.path} ({part.type}): no pixel, line_too_long")
        if template is None:
            return None
        self.pixels = self.pixels or any(edit.number == 0 for edit in found.edits)
        return Hole(template, charset)

    def _keep(self, candidates: list[_Candidate], dropped: frozenset[int]) -> None:
        """Take note of the links of a leaf; those dropped would have made a line too long."""
        for each in candidates:
            link = each.link
            if link.position in dropped:
                link = replace(link, reason="line_too_long", tracked=False)
            elif each.way is not None:
                self.slots.append(Slot(link, each.way, each.markup))
            self.links.append(link)

    def _size(self, changing: Mapping[int, _Candidate], number: int) -> int:
        """The greatest length of what goes in place of a link, by its position; 0 is the pixel's URL."""
        options = self.options
        if not number:
            return len(options.tracking_url) + 3 + 4 + _PIXEL_TOKEN
        way, target, markup = changing[number].way, changing[number].link.target, changing[number].markup
        if way is Way.CLICK:
            return options.length(target)
        if way is Way.PLAIN:
            filled = options.filled_length(target) - len(target)
            return filled + len(attribute(target) if markup else target)
        return 0 if way is Way.REMOVE or way is None else options.own_length(way)


def _must_change(url: str, found: plaintext.Found, decision: Decision) -> bool:
    """Whether a URL of a text cannot leave as it stands, tracked or not."""
    return bool(found.marks) or placeholders.is_open(url) or decision.way in (Way.PLAIN, Way.REMOVE)


def _no_track(value: str, start: int) -> tuple[Way | None, int, int]:
    """The span of ``+notrack`` in a value that begins at ``start``; one written in references stays."""
    found = _NO_TRACK.search(value)
    return (Way.REMOVE, start + found.start(), start + found.end()) if found else (None, start, start)
