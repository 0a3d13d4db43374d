"""Scan a mail once, render a copy a recipient: bytes in, bytes out, by span. Pure.

``scan`` finds HTML leaves, decodes them, finds link values and the pixel's place, and prepares the mail as a row of
fixed pieces with holes; ``render`` fills the holes. All that is not a hole stays as it came (contract, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.rewriting import html, keeping, lines, links, message, page
from relay.rewriting.charsets import Charset, charset_of
from relay.rewriting.keeping import Leaf, Place
from relay.rewriting.message import Part
from relay.rewriting.quoted import Quoted
from relay.rewriting.transfers import Base64, Edit, Plain, Template, Transfer
from tracker.mirror import Document, Kind, Splice
from tracker.model import Link, LinkType

MAX_URL = 2000
"""Characters of a tracked URL; some clients cut longer ones."""
MAX_LINKS = 10_000
"""Links of one mail; past that it is left as it is."""

PIXEL_HEAD = b'<img src="'
PIXEL_TAIL = b'" width="1" height="1" alt="" style="display:block;position:absolute;border:0;width:1px;height:1px">'
_PIXEL_SPACE = 4
_TOKEN_OVERHEAD = 1 + 16 + 16 + 16 + 12
_PIXEL_TOKEN = 80
_SPECIAL = re.compile(r"[&\"'<>\s]")


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted. ``tracking_url`` is the base of all tracked URLs; ``measure`` gives the greatest length of the
    tracked URL for a target, and is asked where an upper bound of it is over the limit. ``shared``: one copy goes to
    all recipients, so that links which are one recipient's own stay untouched. ``signed``: mail that its app signed
    (DKIM) is worked on too; ``keep``: the HTML is wanted for a mirror page even where no link asks for one."""

    tracking_url: str
    open_tracking: bool
    click_tracking: bool
    measure: Callable[[str], int] | None = None
    shared: bool = False
    signed: bool = False
    keep: bool = False

    def length(self, target: str) -> int:
        """The greatest length of the tracked URL for a target, in characters."""
        bound = len(self.tracking_url) + 3 + (len(target) + _TOKEN_OVERHEAD + 2) // 3 * 4
        return bound if bound <= MAX_URL or self.measure is None else self.measure(target)


@dataclass(frozen=True, slots=True)
class _Hole:
    """An HTML leaf to be rendered."""

    template: Template
    charset: Charset


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a mail, and the mail ready for rendering. ``links``: every link in order, tracked or not;
    ``pixels``: whether a pixel will be added; ``instrumented``: whether anything will change; ``reason``: why not;
    ``notes``: parts left out and why; ``document``: the HTML, where it is to be kept."""

    links: tuple[Link, ...]
    pixels: bool
    instrumented: bool
    reason: str | None
    notes: tuple[str, ...]
    raw: bytes
    pieces: tuple[bytes | _Hole, ...] = ()
    document: Document | None = None

    def render(self, click: Callable[[Link], str], pixel: str) -> bytes:
        """The copy of one recipient: ``click`` gives the absolute tracked URL of a link, ``pixel`` is the pixel's URL.
        The same answers give the same bytes."""
        if not self.instrumented:
            return self.raw
        values = {link.position: _attribute(click(link)) for link in self.links if link.tracked}
        values[0] = _attribute(pixel)
        out: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                out.append(piece)
            else:
                out += piece.template.render(_filler(values, piece.charset))
        return b"".join(out)


def _attribute(url: str) -> bytes:
    """A URL as the text of an attribute, quoted or not."""
    if _SPECIAL.search(url):
        url = _SPECIAL.sub(lambda m: f"&#{ord(m[0])};" if m[0] != "&" else "&amp;", url)
    return url.encode("ascii", "xmlcharrefreplace")


def _filler(values: dict[int, bytes], charset: Charset) -> Callable[[Edit], bytes]:
    def fill(edit: Edit) -> bytes:
        value = edit.before if edit.index is None else edit.before + values[edit.index] + edit.after
        return value if charset.bytewise else charset.encode(value.decode("ascii"))

    return fill


def scan(raw: bytes, options: Options, is_ours: Callable[[str], bool]) -> Scan:
    """Look at a mail once. ``is_ours`` says that a URL is a valid tracking URL of ours. Never raises: where anything
    goes wrong the scan is not instrumented and its reason says so."""
    try:
        return _Scanner(raw, options, is_ours).run()
    except _Skip as skip:
        return Scan((), False, False, str(skip), (), raw)
    except Exception as error:  # tracking never costs a mail
        return Scan((), False, False, f"error: {type(error).__name__}", (), raw)


class _Skip(Exception):
    """A part or the whole mail stays as it is; the text is the reason."""


@dataclass(slots=True)
class _Candidate:
    """A link found, with its value's span in the text and in the octets."""

    anchor: page.Anchor
    link: Link
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """An HTML leaf as it was read."""

    text: str
    charset: Charset
    page: page.Page
    candidates: list[_Candidate]


class _Scanner:
    def __init__(self, raw: bytes, options: Options, is_ours: Callable[[str], bool]) -> None:
        self.raw, self.options, self.is_ours = raw, options, is_ours
        self.links: list[Link] = []
        self.notes: list[str] = []
        self.reasons: list[str] = []
        self.leaves: list[_Read | Part] = []
        self.pixels = False

    def run(self) -> Scan:
        raw = self.raw
        structure = message.parse(raw, signed=self.options.signed)
        if structure.reason:
            raise _Skip(structure.reason)
        if _has_pgp(raw, structure.parts):
            raise _Skip("pgp")
        pieces: list[bytes | _Hole] = []
        at = 0
        for part in structure.parts:
            hole = self._part(part)
            if hole is not None:
                pieces += (raw[at : part.start], hole)
                at = part.end
        pieces.append(raw[at:])
        reason = None if pieces[1:] else self._reason()
        document = self._document(structure.parts)
        changed = bool(pieces[1:])
        return Scan(tuple(self.links), self.pixels, changed, reason, tuple(self.notes), raw, tuple(pieces), document)

    def _document(self, parts: tuple[Part, ...]) -> Document | None:
        """The HTML for the mirror page, from what was read already; None where nobody wants it."""
        mirrored = any(link.type is LinkType.MIRROR for link in self.links)
        if not self.leaves or not (mirrored or self.options.keep):
            return None
        leaves = [
            keeping.leaf_as_it_is(each, self.raw[each.start : each.end]) if isinstance(each, Part) else self._leaf(each)
            for each in self.leaves
        ]
        return replace(keeping.document(self.raw, parts, leaves), tracking_url=self.options.tracking_url)

    def _leaf(self, read: _Read) -> Leaf:
        """A leaf with its tracked links cut out, and pixels of ours that it came with, which are not to be loaded."""
        hrefs = [(each.anchor.href, each.link) for each in read.candidates if each.link.tracked]
        places = [
            Place(href.value_start, href.value_end, Splice(Kind.CLICK, link.target, link.position, link.type))
            for href, link in hrefs
        ]
        places += [Place(*span, None) for span in read.page.images if self._is_pixel(read.text, *span)]
        return Leaf(read.text, read.charset, sorted(places, key=lambda place: place.start))

    def _reason(self) -> str:
        """Why nothing changes: what kept the first HTML part from it, else what there is not."""
        if self.reasons:
            return self.reasons[0]
        if not self.options.open_tracking and not self.options.click_tracking:
            return "tracking_off"
        return next((link.reason for link in self.links), "no_links")

    def _part(self, part: Part) -> _Hole | None:
        if part.type != "text/html" and part.opaque in (None, "attachment", "message"):
            if part.type == "text/x-amp-html" or part.opaque == "message":
                self.notes.append(f"part {part.path} ({part.type}): {'message' if part.opaque else 'amp'}")
            if not self.reasons:
                self.reasons.append("no_html")
            return None
        try:
            if part.opaque:
                raise _Skip(part.opaque)
            if self.reasons == ["no_html"]:
                self.reasons.clear()
            return self._html(part)
        except _Skip as skip:
            self.notes.append(f"part {part.path} ({part.type}): {skip}")
            if self.reasons == ["no_html"]:
                self.reasons.clear()
            self.reasons.append(str(skip))
            if part.type == "text/html" and not part.opaque:
                self.leaves.append(part)
            return None

    def _html(self, part: Part) -> _Hole | None:
        transfer = _open(part, self.raw[part.start : part.end])
        data = transfer.data
        charset = charset_of(part.charset, data)
        text = charset.text(data) if charset else None
        if charset is None or text is None:
            raise _Skip("charset_not_exact")
        if not text.strip():
            raise _Skip("empty")
        try:
            found = page.read(text)
        except page.TooMany:
            raise _Skip("too_many_links") from None
        candidates = self._candidates(text, found, charset)
        pixel = self.options.open_tracking and not self._has_pixel(text, found)
        edits = self._edits(part, text, transfer, charset, candidates, found.pixel_at if pixel else None)
        template = transfer.template(edits) if edits else None
        if edits and template is None:
            raise _Skip("encoding_not_exact")
        self.links += [each.link for each in candidates]
        self.leaves.append(_Read(text, charset, found, candidates))
        if template is None:
            return None
        self.pixels = self.pixels or any(edit.index == 0 for edit in edits)
        return _Hole(template, charset)

    def _has_pixel(self, text: str, found: page.Page) -> bool:
        return any(self._is_pixel(text, start, end) for start, end in found.images)

    def _is_pixel(self, text: str, start: int, end: int) -> bool:
        return end - start > 20 and self.is_ours(links.url_of(text[start:end]))

    def _candidates(self, text: str, found: page.Page, charset: Charset) -> list[_Candidate]:
        encoding = links.query_encoding(charset)
        candidates: list[_Candidate] = []
        for anchor in found.anchors:
            piece = text[anchor.href.value_start : anchor.href.value_end]
            value = charset.read(piece)
            url = links.url_of(charset.read_loosely(piece) if value is None else value)
            if not links.is_http(url):
                continue
            position = len(self.links) + len(candidates) + 1
            if position > MAX_LINKS:
                raise _Skip("too_many_links")
            kind, reason = links.type_of(text, anchor)
            target = links.target_of(url, encoding)
            why = self._untouched(url, target, value is not None, kind, reason)
            label = links.label_of(text, anchor, charset)
            link = Link(position, url, target, label, kind, why or reason, why is None)
            candidates.append(_Candidate(anchor, link))
        return candidates

    def _untouched(self, url: str, target: str, readable: bool, kind: LinkType, reason: str) -> str | None:
        """Why a link stays as it is, None where it is tracked."""
        if not readable:
            return "charset_not_exact"
        if links.has_placeholder(url):
            return "placeholder"
        if self.is_ours(url):
            return "already_tracked"
        if kind is LinkType.NEVER:
            return reason
        if self.options.shared and kind in (LinkType.OPT_OUT, LinkType.MIRROR):
            return "shared_copy"
        if not self.options.click_tracking:
            return "click_tracking_off"
        return "url_too_long" if self.options.length(target) > MAX_URL else None

    def _edits(
        self,
        part: Part,
        text: str,
        transfer: Transfer,
        charset: Charset,
        candidates: list[_Candidate],
        pixel_at: int | None,
    ) -> list[Edit]:
        """The edits of a leaf in order; links that cannot stay within the line limit are marked so."""
        tracked = [each for each in candidates if each.link.tracked]
        tracked.sort(key=lambda each: each.anchor.href.value_start)
        cuts = [at for each in tracked for at in (each.anchor.href.value_start, each.anchor.href.value_end)]
        if pixel_at is not None:
            cuts = sorted([*cuts, pixel_at])
        offsets = charset.offsets(text, transfer.data, cuts)
        if offsets is None:
            raise _Skip("charset_not_exact")
        place = dict(zip(cuts, offsets, strict=True))
        for each in tracked:
            each.start = place[each.anchor.href.value_start]
            each.end = place[each.anchor.href.value_end]
        edits = [Edit(each.start, each.end, each.link.position) for each in tracked]
        if pixel_at is not None:
            edits.append(Edit(place[pixel_at], place[pixel_at], 0, PIXEL_HEAD, PIXEL_TAIL))
        edits.sort(key=lambda edit: (edit.start, edit.end))
        if isinstance(transfer, Plain) and (charset.bytewise or part.encoding != "binary"):
            return self._fitted(part, text, transfer.data, charset, tracked, edits)
        return edits

    def _fitted(
        self, part: Part, text: str, data: bytes, charset: Charset, tracked: list[_Candidate], edits: list[Edit]
    ) -> list[Edit]:
        by_position = {each.link.position: each for each in tracked}
        growths = [self._growth(edit, by_position, charset) for edit in edits]
        found = lines.fit(data, growths, lambda tag: _spaces(text, tag) if charset.bytewise else [])
        kept = [Edit(at, at + 1, None, eol) for at, eol in found.breaks]
        for number, edit in enumerate(edits):
            if number in found.dropped and edit.index:
                each = by_position[edit.index]
                each.link = replace(each.link, reason="line_too_long", tracked=False)
            elif number in found.dropped:
                self.notes.append(f"part {part.path} ({part.type}): no pixel, line_too_long")
            else:
                kept.append(_broken(edit, found.own.get(number, ())))
        return sorted(kept, key=lambda edit: (edit.start, edit.end))

    def _growth(self, edit: Edit, tracked: dict[int, _Candidate], charset: Charset) -> lines.Growth:
        width = 1 if charset.bytewise else len(charset.encode("aa")) // 2
        if edit.index == 0:
            url = len(self.options.tracking_url) + 3 + 4 + _PIXEL_TOKEN
            size = (len(PIXEL_HEAD) + url + len(PIXEL_TAIL)) * width
            own = (_PIXEL_SPACE, len(PIXEL_HEAD) + url + 1) if charset.bytewise else ()
            return lines.Growth(edit.start, edit.end, size, (edit.start, edit.start), own)
        each = tracked[edit.index or 0]
        size = self.options.length(each.link.target) * width
        return lines.Growth(edit.start, edit.end, size, (each.anchor.tag.start, each.anchor.tag.end))


def _broken(edit: Edit, own: tuple[int, ...]) -> Edit:
    """The pixel with line ends in place of its own spaces."""
    before, after = edit.before, edit.after
    for at in own:
        if at == _PIXEL_SPACE:
            before = before.replace(b" ", b"\r\n", 1)
        else:
            after = after.replace(b" ", b"\r\n", 1)
    return edit if not own else replace(edit, before=before, after=after)


def _spaces(text: str, tag: tuple[int, int]) -> list[int]:
    """Spaces between the attributes of a start tag."""
    name = re.compile(r"[^\s/>]*+").match(text, tag[0] + 1, tag[1])
    pos = name.end() if name else tag[0]
    found: list[int] = []
    token = html.Token(html.START, tag[0], tag[1], text[tag[0] + 1 : pos])
    for attribute in html.attributes(text, token):
        found += [at for at in range(pos, attribute.start) if text[at] == " "]
        pos = attribute.end
    return found


def _open(part: Part, body: bytes) -> Transfer:
    """Decode a part's transfer encoding. Raises _Skip where that is not exact."""
    try:
        if part.encoding in message.PLAIN:
            return Plain(body)
        if part.encoding == "quoted-printable":
            return Quoted(body)
        if part.encoding == "base64":
            return Base64(body)
    except ValueError:
        raise _Skip("encoding_not_exact") from None
    raise _Skip("encoding_unknown")


def _has_pgp(raw: bytes, parts: tuple[Part, ...]) -> bool:
    """Whether a text body holds an inline PGP message; a mail with one is never touched."""
    somewhere = b"-----BEGIN PGP " in raw
    for part in parts:
        if part.opaque or not part.type.startswith("text/"):
            continue
        body = raw[part.start : part.end]
        if part.encoding == "base64":
            try:
                body = Base64(body).data
            except ValueError:
                continue
        elif not somewhere:
            continue
        if message.PGP.search(body):
            return True
    return False
