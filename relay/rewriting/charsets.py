"""Charsets of mail: which are read octet by octet, which must be decoded, and that it comes out the same.

A superset of ASCII in which no octet of markup (``< > " ' = & /``) is ever part of another character is worked on as
it stands; only link values and labels are decoded. All others (UTF-16, UTF-7, ISO-2022-JP, HZ …) are decoded and must
encode to the very same octets.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

_ALIASES = {
    "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "ksc5601": "cp949", "euc-kr": "cp949", "x-windows-949": "cp949",
    "windows-949": "cp949", "x-gbk": "gbk", "gb2312": "gbk", "gb_2312-80": "gbk", "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-roman": "mac_roman", "macintosh": "mac_roman", "unicode-1-1-utf-7": "utf_7", "unicode-1-1-utf-8": "utf_8",
    "windows-874": "cp874", "tis-620": "cp874", "iso-8859-8-i": "iso8859_8", "iso-8859-8-e": "iso8859_8",
    "iso-8859-6-i": "iso8859_6", "utf8": "utf_8", "utf-8-sig": "utf_8", "x-sjis": "cp932", "shift_jis": "cp932",
    "shift-jis": "cp932", "windows-31j": "cp932", "x-euc-jp": "euc_jp", "big5": "big5hkscs", "x-big5": "big5hkscs",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso-8859-9": "cp1254", "koi8_r": "koi8_r", "unicode": "utf_16",
}  # fmt: skip
"""Names seen in mail that Python does not know, or that browsers read as a larger set (WHATWG Encoding section 4.2)."""

_NOT_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_JAPANESE = ("iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_ext")
_UNDECLARED = ("", "us-ascii", "ascii")


@dataclass(frozen=True, slots=True)
class Charset:
    """How to read a part. ``name`` is Python's codec, None where it is unknown; ``bytewise``: offsets in the text are
    offsets in the octets."""

    name: str | None
    bytewise: bool

    def text(self, data: bytes) -> str | None:
        """The part to be tokenised, None where it cannot be decoded."""
        if self.bytewise:
            return data.decode("latin-1")
        try:
            return data.decode(self.name or "ascii")
        except (UnicodeError, ValueError):
            return None

    def offsets(self, text: str, data: bytes, cuts: list[int]) -> list[int] | None:
        """Octet offsets of text offsets (ascending), None where encoding does not give the same octets again."""
        if self.bytewise:
            return cuts
        found, at, done = [], 0, 0
        try:
            for cut in [*cuts, len(text)]:
                piece = self.encode(text[done:cut])
                if not data.startswith(piece, at):
                    return None
                at, done = at + len(piece), cut
                found.append(at)
        except UnicodeError:
            return None
        return found[:-1] if at == len(data) else None

    def encode(self, text: str) -> bytes:
        """Text in this charset, without a byte order mark of its own."""
        return text.encode("ascii" if self.bytewise else self.name or "ascii")

    def read(self, piece: str) -> str | None:
        """What a piece of the tokenised text really says, None where the octets do not tell."""
        if not self.bytewise or piece.isascii():
            return piece
        try:
            return piece.encode("latin-1").decode(self.name or "utf_8")
        except (UnicodeError, ValueError):
            return None

    def read_loosely(self, piece: str) -> str:
        """The same for reading only, with replacement characters."""
        if not self.bytewise or piece.isascii():
            return piece
        return piece.encode("latin-1").decode(self.name or "utf_8", "replace")


def charset_of(label: str, data: bytes) -> Charset | None:
    """How to read ``data`` that is labelled so; None where it cannot be reproduced exactly. A UTF-16 byte order mark
    wins over the label, as in browsers."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Charset("utf_16_le" if data[0] == 0xFF else "utf_16_be", False)
    label = (re.split(r"[\s;,]", label.strip(" \t\"'"), maxsplit=1)[0]).strip("\"'").lower()
    name = _codec(label)
    if name in ("utf_16", "utf_32"):
        # without a mark: the half of each pair that is mostly zero tells
        little = data[1::2].count(0) >= data[0::2].count(0)
        name += "_le" if little else "_be"
    if (name or "").startswith("iso2022_jp") or (b"\x1b" in data and (name is None or label in _UNDECLARED)):
        fitting = next((each for each in _JAPANESE if _same_again(each, data)), None)
        return Charset(fitting, False) if fitting else None
    if name is not None and not _is_bytewise(name):
        # ASCII labelled as UTF-16 decodes to ideographs; markup tells
        fits = _same_again(name, data) and "<" in data.decode(name)
        return Charset(name, False) if fits else None
    return Charset(None if label in _UNDECLARED else name, True)


def decoding_charset_of(label: str, data: bytes) -> Charset | None:
    """The same for text in which every character counts, not the markup alone. Octets that claim no charset and are
    not UTF-8 are read as Latin-1, which can hold any; None where they are not what they claim to be."""
    charset = charset_of(label, data)
    if charset is None or not charset.bytewise or data.isascii():
        return charset
    try:
        data.decode(charset.name or "utf_8")
    except (UnicodeError, ValueError):
        return Charset("latin_1", False) if charset.name is None else None
    return Charset(charset.name or "utf_8", False)


def read_loosely(label: str, data: bytes) -> str:
    """What a part says that is labelled so, whatever it takes: for reading only, with replacement characters."""
    charset = charset_of(label, data)
    text = charset.text(data) if charset else None
    if charset is not None and text is not None:
        return charset.read_loosely(text)
    return data.decode(_codec(label.strip(" \t\"'").lower()) or "utf_8", "replace")


def query_encoding(charset: Charset) -> str:
    """The encoding of a URL's query in a document of this charset (WHATWG URL section 4.4, Encoding section 4.3)."""
    name = charset.name or "utf_8"
    return "utf_8" if name.startswith(("utf_16", "utf_32", "utf_7")) else name


def _same_again(name: str, data: bytes) -> bool:
    try:
        return data.decode(name).encode(name) == data
    except (UnicodeError, ValueError):
        return False


@lru_cache(maxsize=256)
def _codec(label: str) -> str | None:
    try:
        info = codecs.lookup(_ALIASES.get(label, label) or "?")
    except (LookupError, ValueError):
        return None
    name = info.name.replace("-", "_")
    name = "utf_8" if name == "utf_8_sig" else name
    return name if info._is_text_encoding and name not in _NOT_CHARSETS else None


@lru_cache(maxsize=256)
def _is_bytewise(name: str) -> bool:
    ascii_octets = bytes(range(128))
    try:
        return ascii_octets.decode(name) == ascii_octets.decode("ascii")
    except (UnicodeError, ValueError):
        return False
