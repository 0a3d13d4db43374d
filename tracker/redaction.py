"""Addresses in what we keep: found, and taken out, in every form that they are written in. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from tracker import mirror
from tracker.facts import decode, encode
from tracker.model import Fact, MirrorPage

LONGEST_NEEDLE = 4096
"""Octets that an address takes up at most, in any form: RFC 5321 allows it 254."""

REDACTED = "forgotten"
"""What stands in an address's place."""

EXACT = ("address", "sender", "reverse_path")
"""Fields that hold one address and nothing else."""

_LIKE = re.compile(r"[^\s\"'<>()\[\],;:\\/?&=#@%]+(?:@|%(?:25)*40)[\w-]+(?:(?:\.|%2E)[\w-]+)+", re.IGNORECASE)
_BARE = re.compile(r"[^\s\"'<>()\[\],;:\\/?&=#@]+@[\w.-]*\w")
_BEFORE = r"(?:(?<![\w.+-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_AFTER = r"(?![\w-])"
_RUN = r"[A-Za-z0-9_-]"


def without_addresses(text: str) -> str:
    """A text with whatever looks like an address taken out, percent-encoded ones too."""
    return _LIKE.sub(REDACTED, text)


class Redactor:
    """Takes one address out, in whatever case: as it stands, percent-encoded in whole or in part and more than once, as
    character references, as JSON escapes, and in base64, which ``runs`` are the parts of that tell it. There the case
    must be that of the address, of one of its other ``spellings``, or lower."""

    def __init__(self, address: str, spellings: Iterable[str] = ()) -> None:
        self.address = address
        self.spellings = {address, *spellings}
        self.runs = sorted(set().union(*map(_base64_needles, self.spellings)))
        self._folded = address.casefold()
        body = "".join(map(_forms, address))
        runs = "|".join(map(re.escape, self.runs))
        self._pattern = re.compile(f"{_BEFORE}{body}{_AFTER}", re.IGNORECASE)
        self._encoded = re.compile(f"{_RUN}*(?:{runs}){_RUN}*={{0,2}}") if runs else None

    def held_by(self, octets: bytes) -> bool:
        """Whether octets hold the address, as ``octets_hold`` says."""
        return any(octets_hold(octets, each) for each in self.spellings)

    def is_it(self, address: str) -> bool:
        """Whether an address is this one."""
        return address.casefold() == self._folded

    def found_in(self, text: str) -> bool:
        """Whether a text names the address."""
        return bool(self._pattern.search(text) or (self._encoded and self._encoded.search(text)))

    def text(self, text: str) -> str:
        """A text without the address."""
        text = self._pattern.sub(REDACTED, text)
        return self._encoded.sub(REDACTED, text) if self._encoded else text

    def fact(self, fact: Fact) -> Fact:
        """A fact without the address; the same one where it does not name it."""
        if isinstance(fact, MirrorPage):
            content = self.page(fact.content)
            return fact if content == fact.content else replace(fact, content=content)
        octets = encode(fact)
        plain = json.loads(octets[1:])
        changed = self._within(plain, "")
        return fact if changed == plain else decode(octets[:1] + json.dumps(changed).encode())

    def page(self, content: bytes) -> bytes:
        """A packed mirror page without the address; one that cannot be read has nothing to show."""
        try:
            return mirror.rewritten(content, lambda text: self.text(text) if self.found_in(text) else text)
        except ValueError:
            return b""

    def _within(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {self.text(key): self._within(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._within(item, name) for item in value]
        if not isinstance(value, str):
            return value
        if name in EXACT:
            return "" if self.is_it(value) else value
        return self.text(value)


def addresses_in(fact: Fact) -> set[str]:
    """What a fact holds that looks like an address, in lower case."""
    if isinstance(fact, MirrorPage):
        return _addresses_in_page(fact.content)
    found = set()
    for text in _texts(json.loads(encode(fact)[1:])):
        if "@" in text or "%" in text:
            plain = unquote(unquote(text))
            found |= {text.lower(), *(match.lower() for match in _BARE.findall(plain))}
    return found


def _addresses_in_page(content: bytes) -> set[str]:
    found: set[str] = set()

    def look(text: str) -> str:
        found.update(match.lower() for match in _BARE.findall(unquote(text)))
        return text

    with suppress(ValueError):
        mirror.rewritten(content, look)
    return found


def needles(address: str) -> set[bytes]:
    """Octets by which a file that holds the address is known once it is made lower case (base64 aside, which stands as
    it is): UTF-8, percent-encoding, quoted-printable, JSON escapes."""
    low = address.lower()
    octets = low.encode("utf-8", "surrogatepass")
    found = {octets, quote(octets, safe="").lower().encode(), quote(octets, safe="@").lower().encode()}
    found |= {quote(octets, safe="@+").lower().encode(), quote(octets, safe="+").lower().encode()}
    found.add(octets.replace(b"@", b"%40"))
    found |= {each.replace(b"%", b"=") for each in list(found)}
    found |= {json.dumps(low)[1:-1].encode(), octets.replace(b"@", b"&#64;"), octets.replace(b"@", b"\\u0040")}
    return found


def octets_hold(octets: bytes, address: str) -> bool:
    """Whether octets hold the address in one of the forms of ``needles`` or in base64, at whatever boundary: the
    columns of a row stand in a file without anything between them."""
    low = octets.lower()
    if any(needle in low for needle in needles(address)):
        return True
    return any(needle.encode() in octets for needle in _base64_needles(address))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _forms(character: str) -> str:
    """A pattern of one character in every form."""
    forms = {re.escape(character)}
    for each in {character, character.lower(), character.upper()}:
        octets = each.encode("utf-8", "surrogatepass")
        forms.add("".join(f"%(?:25)*{octet:02X}" for octet in octets))
        units = each.encode("utf-16-be", "surrogatepass")
        forms.add("".join(f"\\\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)))
        forms |= {f"&#0*{ord(each)};" for each in each} | {f"&#x0*{ord(each):x};" for each in each}
    if character in '"\\/':
        forms.add(r"\\" + re.escape(character))
    return f"(?:{'|'.join(sorted(forms))})"


def _base64_needles(address: str) -> set[str]:
    """Parts of any base64 (RFC 4648, both alphabets) that holds the address as it stands or in lower case."""
    found = set()
    for each in {address, address.lower()}:
        octets = each.encode("utf-8", "surrogatepass")
        for shift in range(3):
            text = base64.b64encode(bytes(shift) + octets).decode()
            start, whole = (0, 2, 3)[shift], (shift + len(octets)) // 3 * 4
            if whole - start >= 8:
                needle = text[start:whole]
                found |= {needle, needle.replace("+", "-").replace("/", "_")}
    return found
