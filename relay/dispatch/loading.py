"""Which octets go to a smarthost, by what it offers: the content, its 7-bit form, or the original in its place; and the
signature on top, which must be the last thing that is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from relay.dispatch.connection import LONGEST_TEXT
from relay.dispatch.envelope import Reply, Sign

WITHOUT_TRACKING = "(without tracking: over the smarthost's SIZE)"
SEVEN_BIT = "(without tracking: the smarthost takes no 8-bit mail)"
UNSIGNED = "(without our signature: it cannot be signed)"
UNSIGNED_BY_SIZE = "(without our signature: over the smarthost's SIZE)"

Converter = Callable[[bytes], bytes | None]
"""A mail in a form that needs no 8BITMIME, None where there is none."""


@dataclass(frozen=True, slots=True)
class Load:
    """The octets that go, and what is to be said about them beside the smarthost's words."""

    octets: bytes
    note: str = ""

    def noted(self, reply: Reply) -> Reply:
        """A reply to these octets, with the note."""
        if not self.note:
            return reply
        return replace(reply, text=f"{reply.text[: LONGEST_TEXT - len(self.note) - 1]} {self.note}".lstrip())


async def load(
    content: bytes,
    original: bytes | None,
    offers: Mapping[str, str],
    to_seven_bit: Converter,
    sign: Sign | None = None,
) -> Load | Reply:
    """What goes, or why nothing can. The original goes where the content is over SIZE (RFC 1870) or has no form that
    goes, and it is not and has; where both are over SIZE, the smarthost is left to say so. A signature makes no mail
    too large."""
    most = size_limit(offers)
    octets = await _carried(content, offers, to_seven_bit)
    found = None if octets is None else await _signed(Load(octets), sign)
    if found is not None and len(found.octets) <= most:
        return found
    plain = octets if original is None else await _carried(original, offers, to_seven_bit)
    if plain is not None:
        note = "" if original is None else SEVEN_BIT if octets is None else WITHOUT_TRACKING
        unsigned = Load(plain, f"{note} {UNSIGNED_BY_SIZE}".lstrip())
        for each in (await _signed(Load(plain, note), sign), unsigned):
            if len(each.octets) <= most:
                return each
    return found or Reply(554, "5.6.3", "The smarthost takes no 8-bit mail, and this mail is one", "mail")


async def _signed(found: Load, sign: Sign | None) -> Load:
    """The same with a signature on top, or a note that it has none."""
    if sign is None:
        return found
    signed = await asyncio.to_thread(sign, found.octets)
    return Load(found.octets, f"{found.note} {UNSIGNED}".lstrip()) if signed is None else Load(signed, found.note)


async def _carried(content: bytes, offers: Mapping[str, str], to_seven_bit: Converter) -> bytes | None:
    """The content as a host can carry it (RFC 6152 section 3). The header block is SMTPUTF8's business."""
    if "8bitmime" in offers or content.isascii() or _body(content).isascii():
        return content
    return await asyncio.to_thread(to_seven_bit, content)


def size_limit(offers: Mapping[str, str]) -> float:
    """The most octets that the host says it takes (RFC 1870 section 4); a limit of 0 is none."""
    said = offers.get("size", "").strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) <= 20 and int(said) else float("inf")


def headers(content: bytes) -> bytes:
    """The header block."""
    return content[: _header_end(content)]


def _body(content: bytes) -> bytes:
    return content[_header_end(content) :]


def _header_end(content: bytes) -> int:
    if content.startswith(b"\r\n"):
        return 0
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end
