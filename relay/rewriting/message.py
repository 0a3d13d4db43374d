"""MIME by byte span: where headers and leaves stand in a mail, and nothing that would have to be written back.

Tolerant of what real mail holds (bare LF, an mbox ``From `` line, missing close delimiters, unquoted parameters) and
bounded in depth, parts and header size, in linear time. Sources: RFC 5322 section 2.2, RFC 2045 section 5, RFC 2046
section 5.1, RFC 2231, RFC 2183. Every function is pure and takes and gives bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from urllib.parse import unquote_to_bytes

MAX_DEPTH = 100
"""Multiparts inside one another; a mail past that is not looked into."""
MAX_PARTS = 1000
"""Parts of a mail, containers included."""
MAX_HEADER = 256 * 1024
"""Octets of one header block."""
PGP = re.compile(rb"-----BEGIN PGP (?:SIGNED )?MESSAGE-----")
"""A text that is signed or encrypted inline begins so (RFC 9580 sections 6.2.1 and 7)."""
PLAIN = ("", "7bit", "8bit", "binary")
"""Transfer encodings that are none."""
MAX_SELECTED = 1000
"""Headers of a mail that are selected."""
_MAX_DASHED_LINES = 200_000
_MAX_VALUE = 8192

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_LINE = re.compile(rb"[^\n]*+(?:\n|\Z)")
_BLANK = re.compile(rb"\r?\n")
_BLOCK_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_DASHED = re.compile(rb"\n--([^\n]*+)")
_PARAMETER = re.compile(
    rb'[;\s]++|([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+))|[^\s=;"]++|.', re.DOTALL | re.ASCII
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_TYPE = re.compile(rb"\s*+([^\s;()\"]++)")
_WANTED = frozenset((b"content-type", b"content-transfer-encoding", b"content-disposition"))
_WANTED_ON_TOP = _WANTED | {b"dkim-signature", b"auto-submitted"}


@dataclass(frozen=True, slots=True)
class Header:
    """One header field: its name as it stands, its raw value (folds kept), and its span, line end included."""

    name: str
    value: bytes
    start: int
    end: int


def header_end(raw: bytes) -> int:
    """Where the header block ends: the offset of the blank line, or the end of the mail where there is none."""
    if _BLANK.match(raw):
        return 0
    end = _BLOCK_END.search(raw)
    return end.start() + 1 if end else len(raw)


def headers(raw: bytes) -> Iterator[Header]:
    """The header fields of a mail in order; lines that are none (an mbox ``From ``, junk) are passed over."""
    pos, end = 0, header_end(raw)
    while pos < end:
        field = _FIELD.match(raw, pos, end)
        if field is not None:
            yield Header(field[1].decode("ascii"), field[2].rstrip(b"\r"), pos, field.end())
        pos = field.end() if field is not None else max(pos + 1, _line_end(raw, pos, end))


def get(raw: bytes, name: str) -> str | None:
    """The first value of a header, unfolded, or None. Octets that are not UTF-8 are read as Latin-1."""
    found = _fields((name,)).search(raw, 0, header_end(raw))
    return None if found is None else text(found[2])


def select(raw: bytes, names: Iterable[str]) -> list[tuple[str, str]]:
    """The headers of these names in order, unfolded, each with its name as it stands, up to ``MAX_SELECTED``; a name
    that ends in ``*`` stands for all that begin so."""
    found = _fields(tuple(names)).finditer(raw, 0, header_end(raw))
    return [(each[1].decode("ascii"), text(each[2])) for each in islice(found, MAX_SELECTED)]


def remove(raw: bytes, names: Iterable[str]) -> bytes:
    """The mail less every header of these names; all other octets as they are. A name that ends in ``*`` stands for all
    that begin so."""
    wanted = tuple(names)
    end = header_end(raw)
    if not wanted:
        return raw
    head = raw[:end]
    kept = _fields(wanted).sub(b"", head)
    return raw if len(kept) == len(head) else kept + raw[end:]


def prepend(raw: bytes, lines: Iterable[bytes]) -> bytes:
    """The mail with whole header fields put on top; each may be folded and gets its CRLF here."""
    return b"".join([line.rstrip(b"\r\n") + b"\r\n" for line in lines]) + raw


def text(value: bytes) -> str:
    """A raw header value as text: unfolded, stripped, UTF-8 or else Latin-1."""
    flat = _FOLD.sub(b"", value).strip(b" \t\r\n")
    try:
        return flat.decode("utf-8")
    except UnicodeDecodeError:
        return flat.decode("latin-1")


def _line_end(raw: bytes, pos: int, end: int) -> int:
    line = _LINE.match(raw, pos, end)
    return line.end() if line else end


@lru_cache(maxsize=256)
def _fields(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """A pattern for whole fields of these names; lines that continue a field begin with a blank, so ``^`` is safe."""
    any_of = b"|".join(map(_name_pattern, names))
    return re.compile(
        rb"^(" + any_of + rb")[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)", re.IGNORECASE | re.MULTILINE
    )


def _name_pattern(name: str) -> bytes:
    pattern = re.escape(name.removesuffix("*").encode("ascii"))
    return pattern + rb"[!-9;-~]*+" if name.endswith("*") else pattern


@dataclass(slots=True)
class Part:
    """A leaf, or a subtree that is not looked into. ``path`` counts from 1 at each level (``"1.2"``; a mail without
    parts is ``"1"``); the header block is ``raw[header:start]``, the body ``raw[start:end]``. ``type`` is lower case,
    ``charset`` and ``encoding`` as declared, empty where absent. ``opaque`` says why it is never touched. ``del_sp``:
    the space before a soft line break is not part of the text (RFC 3676 section 4.1)."""

    path: str
    header: int
    start: int
    end: int
    type: str
    charset: str
    encoding: str
    opaque: str | None
    del_sp: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A multipart that is looked into: its header block is ``raw[header:start]``, ``encoding`` as declared; ``path`` is
    that of its children less their own numbers, empty for the mail itself."""

    path: str
    header: int
    start: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Structure:
    """The leaves of a mail in order; ``reason`` says why the whole mail must stay as it is, None where it need not;
    ``containers``: the multiparts around the leaves, in order of their headers."""

    parts: tuple[Part, ...]
    reason: str | None
    containers: tuple[Container, ...] = ()


@dataclass(slots=True)
class _Level:
    boundary: bytes
    path: str
    type: str
    children: int = 0


class _Bound(Exception):
    """A bound was passed; the text is the reason."""


def parse(raw: bytes, *, automatic: bool = False, signed: bool = False) -> Structure:
    """Find the leaves of a mail, of an automatic reply only where ``automatic`` wants it, of one with a DKIM signature
    only where ``signed`` does. Never raises; past a bound there are no parts but a reason."""
    try:
        return _Walk(raw, automatic, signed).run()
    except _Bound as bound:
        return Structure((), str(bound))


class _Walk:
    """One pass over the lines that begin with two dashes, with the open multiparts on a stack."""

    def __init__(self, raw: bytes, automatic: bool, signed: bool) -> None:
        self.raw, self.automatic, self.signed = raw, automatic, signed
        self.stack: list[_Level] = []
        self.containers: list[Container] = []
        self.active: dict[bytes, int] = {}
        self.parts: list[Part] = []
        self.leaf: Part | None = None
        self.begun = 0

    def run(self) -> Structure:
        raw = self.raw
        start = _line_end(raw, 0, len(raw)) if raw.startswith((b"From ", b">From ")) else 0
        fields, body = _block(raw, start, len(raw), _WANTED_ON_TOP)
        reason = _whole_mail(fields, self.automatic, self.signed)
        if reason:
            return Structure((), reason)
        self._begin(fields, start, body, "", "")
        self._delimiters(max(0, body - 1))
        self._finish(len(raw))
        return Structure(tuple(self.parts), None, tuple(self.containers))

    def _delimiters(self, pos: int) -> None:
        raw, dashed = self.raw, 0
        while self.stack:
            found = _DASHED.search(raw, pos)
            if found is None:
                return
            pos = found.end()
            dashed += 1
            if dashed > _MAX_DASHED_LINES:
                raise _Bound("too_many_parts")
            line = found[1].rstrip(b" \t\r")
            depth, close = self.active.get(line), False
            if depth is None and line.endswith(b"--"):
                depth, close = self.active.get(line[:-2].rstrip(b" \t")), True
            if depth is not None:
                pos = self._delimiter(found.start() + 1, min(pos + 1, len(raw)), depth, close)

    def _delimiter(self, at: int, after: int, depth: int, close: bool) -> int:
        """A delimiter line of an open multipart at ``at``; gives where to look on."""
        self._finish(at)
        del self.stack[depth + (0 if close else 1) :]
        self._index()
        if close:
            return after - 1
        level = self.stack[depth]
        level.children += 1
        fields, body = _block(self.raw, after, len(self.raw), _WANTED)
        path = f"{level.path}.{level.children}" if level.path else str(level.children)
        self._begin(fields, after, body, path, level.type)
        return max(after, body) - 1

    def _begin(self, fields: dict[bytes, bytes], header: int, body: int, path: str, parent: str) -> None:
        self.begun += 1
        if self.begun > MAX_PARTS:
            raise _Bound("too_many_parts")
        default = "message/rfc822" if parent == "multipart/digest" else "text/plain"
        kind, parameters = content_type(fields.get(b"content-type", b""), default)
        opaque = _opaque(kind, parameters)
        boundary = parameters.get("boundary", b"").rstrip()
        encoding = fields.get(b"content-transfer-encoding", b"").decode("latin-1").strip().lower()
        if kind.startswith("multipart/") and not opaque and boundary:
            if len(self.stack) >= MAX_DEPTH:
                raise _Bound("too_deep")
            self.stack.append(_Level(boundary, path, kind))
            self.containers.append(Container(path, header, body, encoding))
            self._index()
            return
        if not opaque and _is_attachment(fields.get(b"content-disposition", b""), parameters, parent):
            opaque = "attachment"
        charset = parameters.get("charset", b"").decode("latin-1")
        del_sp = parameters.get("delsp", b"").lower() == b"yes"
        self.leaf = Part(path or "1", header, body, len(self.raw), kind, charset, encoding, opaque, del_sp)

    def _finish(self, at: int) -> None:
        """End the open leaf before ``at``; the line end before a delimiter belongs to the delimiter."""
        if self.leaf is None:
            return
        if at < len(self.raw) or self.raw.startswith(b"--", at):
            at -= 1
            if self.raw[at - 1 : at] == b"\r":
                at -= 1
        if at < self.leaf.start:
            # the blank line of the headers is the delimiter's own: there is no body to put anything into
            self.leaf.opaque = self.leaf.opaque or "empty"
        self.leaf.end = max(self.leaf.start, at)
        self.parts.append(self.leaf)
        self.leaf = None

    def _index(self) -> None:
        # the innermost of two equal boundaries wins
        self.active = {level.boundary: depth for depth, level in enumerate(self.stack)}


def _block(raw: bytes, pos: int, end: int, wanted: frozenset[bytes]) -> tuple[dict[bytes, bytes], int]:
    """The first fields of the wanted names, and where the body begins. As in Postfix and the standard library a line
    that is no header ends the block; a delimiter line does so too."""
    start = pos
    fields: dict[bytes, bytes] = {}
    while pos < end:
        field = None if raw.startswith(b"--", pos) else _FIELD.match(raw, pos, end)
        if field is None:
            blank = _BLANK.match(raw, pos, end)
            return fields, blank.end() if blank else pos
        if raw[field.end(1)] != 0x3A:
            # a blank before the colon: obsolete syntax, which some take for the body's first line
            return fields, pos
        name = field[1].lower()
        if name in wanted and name not in fields:
            fields[name] = field[2]
        pos = field.end()
        if pos - start > MAX_HEADER:
            raise _Bound("header_too_large")
    return fields, pos


def content_type(value: bytes, default: str = "text/plain") -> tuple[str, dict[str, bytes]]:
    """Media type in lower case and parameters of a raw Content-Type or Content-Disposition value. RFC 2231 pieces are
    joined and decoded; the first of equal names counts. A value without a slash gives the default, as RFC 2045
    section 5.2 says (for a disposition pass ``default=""``: then any token counts)."""
    if not value:
        return default, {}
    flat = _FOLD.sub(b"", value[:_MAX_VALUE])
    head = _TYPE.match(flat)
    if head is None:
        return default, {}
    kind = head[1].decode("latin-1").lower()
    if default and kind.count("/") != 1:
        kind = default
    found: dict[str, bytes] = {}
    for match in _PARAMETER.finditer(flat, head.end()):
        if match[1] is None:
            continue
        quoted = match[2]
        plain = match[3].strip() if quoted is None else quoted
        if quoted is not None and b"\\" in quoted:
            plain = _QUOTED_PAIR.sub(rb"\1", quoted)
        found.setdefault(match[1].decode("latin-1").lower(), plain)
    return kind, _joined(found) if any("*" in name for name in found) else found


def _joined(found: dict[str, bytes]) -> dict[str, bytes]:
    """Parameters with RFC 2231 pieces put together; a plain parameter wins over pieces of the same name."""
    plain = {name: value for name, value in found.items() if "*" not in name}
    names = {name.split("*", 1)[0] for name in found if "*" in name}
    for name in names - plain.keys():
        if f"{name}*" in found:
            plain[name] = _extended(found[f"{name}*"])
            continue
        pieces = []
        for number in range(len(found)):
            if f"{name}*{number}*" in found:
                piece = found[f"{name}*{number}*"]
                pieces.append(_extended(piece) if number == 0 else unquote_to_bytes(piece))
            elif f"{name}*{number}" in found:
                pieces.append(found[f"{name}*{number}"])
            else:
                break
        plain[name] = b"".join(pieces)
    return plain


def _extended(value: bytes) -> bytes:
    """``charset'language'percent-encoded`` less its first two pieces."""
    return unquote_to_bytes(value.split(b"'", 2)[-1])


def _whole_mail(fields: dict[bytes, bytes], automatic: bool, signed: bool) -> str | None:
    if b"dkim-signature" in fields and not signed:
        return "dkim_signed"
    if automatic:
        return None
    submitted = re.match(r"[\w-]*", text(fields.get(b"auto-submitted", b"")).lower())
    return "auto_submitted" if submitted and submitted[0] in ("auto-replied", "auto-notified") else None


def _opaque(kind: str, parameters: dict[str, bytes]) -> str | None:
    """Why a part of this type is never looked into."""
    if kind == "multipart/signed":
        return "signed"
    if kind == "multipart/encrypted":
        return "encrypted"
    if kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        return "signed" if parameters.get("smime-type", b"").lower() == b"signed-data" else "encrypted"
    if kind.startswith("message/"):
        return "message"
    return None


def _is_attachment(disposition: bytes, parameters: dict[str, bytes], parent: str) -> bool:
    """RFC 2183: an unknown disposition is an attachment. One that is named like a file is one too, unless it is the
    body by its place."""
    kind, more = content_type(disposition, "")
    if kind not in ("", "inline"):
        return True
    named = bool(parameters.get("name") or more.get("filename"))
    return named and parent not in ("", "multipart/alternative", "multipart/related")
