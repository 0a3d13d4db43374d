"""Reverse-paths of our own (VERP): one address a copy, whose token tells the message and the recipient. Pure.

A token is base32 in lower case (RFC 4648 section 6, no padding) of a MAC, the message's id and the recipient's ordinal.
Hosts may change the case of a local part, so case tells nothing; what is not exactly what we wrote is refused. The
layout is frozen: tokens stand in mails under way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from tracker.errors import BadToken
from tracker.tokens import MAC_BYTES, Keyring, read_varint, varint

PLACE = "{token}"
"""What a template has in the token's place."""
LONGEST_LOCAL_PART = 64
"""Octets of a local part (RFC 5321 section 4.5.3.1.1)."""
LONGEST_TOKEN = -(-(MAC_BYTES + 16 + 3) * 8 // 5)
"""Characters of a token of up to two million recipients."""

_PURPOSE = b"b"


@dataclass(frozen=True, slots=True)
class Returning:
    """The copy that an address stands for: its message, and its recipient's ordinal."""

    message: UUID
    recipient: int


def seal(claim: Returning, keyring: Keyring, key: str | None = None) -> str:
    """The token of a copy; the same copy and key always give the same. ``key`` names the key by id, the first one where
    it is None or gone."""
    data = claim.message.bytes + varint(claim.recipient)
    octets = keyring.mac(_PURPOSE, data, key) + data
    return base64.b32encode(octets).rstrip(b"=").decode("ascii").lower()


def open_token(token: str, keyring: Keyring) -> Returning:
    """The copy that a token stands for. Raises BadToken for all that ``seal`` did not write, case aside."""
    octets = _decoded(token)
    mac, data = octets[:MAC_BYTES], octets[MAC_BYTES:]
    if not keyring.vouches(_PURPOSE, data, mac):
        raise BadToken("this is no bounce address of ours")
    ordinal, _ = read_varint(data, 16)
    return Returning(UUID(bytes=data[:16]), ordinal)


def _decoded(token: str) -> bytes:
    try:
        octets = base64.b32decode(token.upper().encode("ascii") + b"=" * (-len(token) % 8))
        canonical = base64.b32encode(octets).rstrip(b"=").decode("ascii").lower()
    except (binascii.Error, UnicodeEncodeError):
        octets, canonical = b"", ""
    if len(octets) <= MAC_BYTES + 16 or canonical != token.lower():
        raise BadToken("this is no bounce address of ours")
    return octets


def fill(template: str, claim: Returning, keyring: Keyring, key: str | None = None) -> str:
    """The reverse-path of a copy."""
    return template.replace(PLACE, seal(claim, keyring, key))


def token_in(address: str, template: str) -> str | None:
    """What stands in the token's place of an address, case aside; None where the address is not of this form."""
    before, _, after = template.lower().partition(PLACE)
    low = address.lower()
    if not address.isascii():  # a letter of another script may become one of ours
        return None
    if not low.startswith(before) or not low.endswith(after) or len(low) <= len(before) + len(after):
        return None
    token = low[len(before) : len(low) - len(after)]
    return token if "@" not in token else None


def find(address: str, templates: Iterable[str], keyring: Keyring) -> tuple[Returning, str] | None:
    """The copy that an address stands for and the form that it is of, None where it is of none of these. Raises
    BadToken where it is of one and its token is none of ours."""
    bad: BadToken | None = None
    for template in templates:
        token = token_in(address, template)
        if token is not None:
            try:
                return open_token(token, keyring), template
            except BadToken as error:
                bad = error
    if bad is not None:
        raise bad
    return None
