"""Tokens: what a link of ours carries, sealed so that it shows nothing and cannot be forged.

A token is base64url (no padding) of one version byte and an AES-SIV box (RFC 5297: deterministic, 128-bit tag) whose
associated data is version and purpose. Everything needed to answer is inside, so a redirect needs no store. The layout
of version 1, its dictionary included, is frozen: tokens stand in mails for years.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar, cast
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from tracker.errors import BadToken
from tracker.model import LinkType

KEY_BYTES = 64
"""Length of a signing key: AES-256-SIV takes two 256-bit keys."""

MAC_BYTES = 10
"""Length of a MAC, 80 bits: short enough for an address, and each guess costs an SMTP command."""

_VERSION = b"\x01"
_TYPES = (LinkType.TRACKED, LinkType.OPT_OUT, LinkType.MIRROR)
_TYPES_PACKED = {type: bytes([number]) for number, type in enumerate(_TYPES)}
_PLAIN, _DEFLATED = 0, 1
_TOKEN = re.compile(r"(/[ocum]/)[A-Za-z0-9_-]+", re.ASCII | re.IGNORECASE)
_DICTIONARY = (
    b"&mc_cid=&mc_eid=&fbclid=&gclid=&ref=email&lang=en&token=&email=&id=.html.php.aspx?id=?ref=?source=newsletter"
    b"/unsubscribe/preferences/account/login/products/blog/news/article/2026/index.html#section?utm_source=email"
    b"&utm_content=&utm_term=&utm_medium=email&utm_campaign=newsletter?utm_source=newsletter&utm_medium=email"
    b"https://www.linkedin.com/company/https://www.youtube.com/channel/https://twitter.com/https://x.com/"
    b"https://www.instagram.com/https://www.facebook.com/http://www.https://www..example.org/.co.uk/.net/.org/.com/"
)


@dataclass(frozen=True, slots=True)
class Open:
    """The pixel of one recipient's copy; ``recipient`` is an ordinal, None without attribution."""

    message: UUID
    recipient: int | None


@dataclass(frozen=True, slots=True)
class Click:
    """One link of one recipient's copy and the ASCII URL it leads to."""

    message: UUID
    recipient: int | None
    position: int
    url: str
    type: LinkType = LinkType.TRACKED


@dataclass(frozen=True, slots=True)
class OptOut:
    """The right of one address to say no to one sender."""

    message: UUID
    recipient: int | None
    sender: str
    address: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """The web copy of one recipient's mail."""

    message: UUID
    recipient: int | None


Claim = Open | Click | OptOut | Mirror
C = TypeVar("C", Open, Click, OptOut, Mirror)
_PURPOSES: dict[type[Claim], bytes] = {Open: b"o", Click: b"c", OptOut: b"u", Mirror: b"m"}
_BOUND: dict[type[Claim], list[bytes]] = {kind: [_VERSION, purpose] for kind, purpose in _PURPOSES.items()}
"""What a box is bound to beside its content."""
_URLSAFE = bytes.maketrans(b"+/", b"-_")


def parse_key(text: str) -> bytes:
    """A signing key from its text form, as ``tracepost key`` prints it. Raises ValueError with a plain sentence."""
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a signing key is {KEY_BYTES} bytes in base64; `tracepost key` makes one")
    return key


def format_key(key: bytes) -> str:
    """The text form of a signing key."""
    return base64.urlsafe_b64encode(key).decode("ascii")


def key_id(key: bytes) -> str:
    """A short public name of a key, safe to log and to keep."""
    return hashlib.sha256(b"tracepost key id\0" + key).hexdigest()[:12]


def without_token(url: str) -> str:
    """The URL of a link of ours with ``…`` in place of its token."""
    return _TOKEN.sub(r"\1…", url)


class Keyring:
    """Signing keys: the first seals, all open. Keys are ``KEY_BYTES`` long; at least one is needed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a keyring needs at least one key")
        self._boxes = [AESSIV(key) for key in keys]
        self.ids = [key_id(key) for key in keys]

    def replace(self, keys: Sequence[bytes]) -> None:
        """Seal and open with these keys from now on."""
        fresh = Keyring(keys)
        self._boxes, self.ids = fresh._boxes, fresh.ids

    def seal(self, claim: Claim, key: str | None = None) -> str:
        """The token of a claim; the same claim and key always give the same token. ``key`` names the key by id, the
        first one where it is None or gone."""
        return _token(self._box(key).encrypt(_pack(claim), _BOUND[type(claim)]))

    def clicks(
        self, message: UUID, recipient: int | None, key: str | None = None
    ) -> Callable[[int, str, LinkType], str]:
        """The tokens of all clicks of one copy, by position, URL and type: what ``seal`` gives for each, with what they
        share done once."""
        encrypt, bound, head = self._box(key).encrypt, _BOUND[Click], _head(message, recipient)

        def sealed(position: int, url: str, type: LinkType) -> str:
            return _token(encrypt(head + _about_click(position, url, type), bound))

        return sealed

    def _box(self, key: str | None) -> AESSIV:
        return self._boxes[self.ids.index(key) if key in self.ids else 0]

    def open(self, purpose: type[C], token: str) -> C:
        """The claim inside a token of that purpose. Raises BadToken for all that we did not seal just so."""
        raw = _decode(token)
        if raw[:1] == _VERSION:
            for box in self._boxes:
                try:
                    return _unpack(purpose, box.decrypt(raw[1:], _BOUND[purpose]))
                except (InvalidTag, ValueError):
                    continue
        raise BadToken("this link is not one of ours")

    def mac(self, purpose: bytes, data: bytes, key: str | None = None) -> bytes:
        """``MAC_BYTES`` by which ``vouches`` knows that data of this purpose is ours, where it need not be hidden;
        ``key`` as in ``seal``."""
        return _mac(self._box(key), purpose, data)

    def vouches(self, purpose: bytes, data: bytes, mac: bytes) -> bool:
        """Whether one of the keys gave this MAC."""
        return any(hmac.compare_digest(_mac(box, purpose, data), mac) for box in self._boxes)


def _mac(box: AESSIV, purpose: bytes, data: bytes) -> bytes:
    """The synthetic IV of a box, cut: a pseudo-random function of data and purpose (RFC 5297 section 2.4)."""
    return box.encrypt(data, [_VERSION, purpose])[:MAC_BYTES]


def _token(sealed: bytes) -> str:
    return binascii.b2a_base64(_VERSION + sealed, newline=False).translate(_URLSAFE, b"=").decode("ascii")


def _decode(token: str) -> bytes:
    """Strict base64url: exactly the text that ``seal`` would have written, or BadToken."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadToken("this link is not one of ours") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != token.encode("ascii"):
        raise BadToken("this link is not one of ours")
    return raw


def _pack(claim: Claim) -> bytes:
    head = _head(claim.message, claim.recipient)
    if isinstance(claim, Click):
        return head + _about_click(claim.position, claim.url, claim.type)
    if isinstance(claim, OptOut):
        sender = claim.sender.encode()
        return head + varint(len(sender)) + sender + claim.address.encode()
    return head


def _head(message: UUID, recipient: int | None) -> bytes:
    return message.bytes + varint(recipient or 0)


def _about_click(position: int, url: str, type: LinkType) -> bytes:
    return varint(position) + _TYPES_PACKED[type] + _squeeze(url.encode())


def _unpack(purpose: type[C], data: bytes) -> C:
    message, at = UUID(bytes=data[:16]), 16
    ordinal, at = read_varint(data, at)
    recipient = ordinal or None
    claim: Claim
    if purpose is Click:
        position, at = read_varint(data, at)
        claim = Click(message, recipient, position, _expand(data[at + 1 :]).decode(), _TYPES[data[at]])
    elif purpose is OptOut:
        length, at = read_varint(data, at)
        claim = OptOut(message, recipient, data[at : at + length].decode(), data[at + length :].decode())
    elif purpose is Mirror:
        claim = Mirror(message, recipient)
    else:
        claim = Open(message, recipient)
    return cast(C, claim)


@lru_cache(maxsize=4096)  # the copies of a newsletter, and its mails, lead to the same places
def _squeeze(data: bytes) -> bytes:
    """The shorter of the plain and the deflated form, told apart by the first byte."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -11, 1, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    small = deflater.compress(data) + deflater.flush()
    return bytes([_DEFLATED]) + small if len(small) < len(data) else bytes([_PLAIN]) + data


def _expand(data: bytes) -> bytes:
    if data[0] == _PLAIN:
        return data[1:]
    inflater = zlib.decompressobj(-15, _DICTIONARY)
    return inflater.decompress(data[1:]) + inflater.flush()


_ONE_OCTET = [bytes([value]) for value in range(0x80)]


def varint(value: int) -> bytes:
    """A number of any size, seven bits an octet, the lowest first."""
    if 0 <= value <= 0x7F:
        return _ONE_OCTET[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that stands at an offset, and the offset behind it. Raises IndexError where it has no end."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
