"""Facts as octets, for those who must keep them on disk until the store takes them. Pure.

A fact is a letter for its type and JSON; a page, which is packed already, goes as it is. Records of an older version,
which lack newer fields, are read with the fields' defaults.
"""

from __future__ import annotations

import json
import struct
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from tracker.model import (
    Accepted,
    Complained,
    Fact,
    Hit,
    MirrorPage,
    NoMailbox,
    OptedIn,
    OptedOut,
    Outcome,
    Returned,
    Unwanted,
)

_LETTERS: dict[type[Fact], bytes] = {
    Accepted: b"a",
    Outcome: b"o",
    Returned: b"r",
    Complained: b"c",
    Hit: b"h",
    OptedOut: b"u",
    OptedIn: b"i",
    NoMailbox: b"n",
    Unwanted: b"w",
}
_PAGE = b"p"
_ABOUT_PAGE = struct.Struct(">16sd")
_ADAPTERS: dict[bytes, TypeAdapter[Fact]] = {letter: TypeAdapter(kind) for kind, letter in _LETTERS.items()}


def encode(fact: Fact) -> bytes:
    """The octets of a fact, whatever text is in it."""
    if isinstance(fact, MirrorPage):
        return _PAGE + _ABOUT_PAGE.pack(fact.message.bytes, fact.at) + fact.content
    letter = _LETTERS[type(fact)]
    adapter = _ADAPTERS[letter]
    try:
        return letter + adapter.dump_json(fact)
    except PydanticSerializationError:  # a lone surrogate, which no store could keep
        plain = adapter.dump_python(fact)
        return letter + json.dumps(plain, ensure_ascii=False, default=str).encode("utf-8", "replace")


def decode(octets: bytes) -> Fact:
    """The fact of these octets. Raises ValueError for what ``encode`` did not write."""
    if octets[:1] == _PAGE:
        return _page(octets[1:])
    adapter = _ADAPTERS.get(octets[:1])
    if adapter is None:
        raise ValueError("not a fact")
    return adapter.validate_json(octets[1:])


def _page(octets: bytes) -> MirrorPage:
    if len(octets) < _ABOUT_PAGE.size:
        raise ValueError("not a fact")
    message, at = _ABOUT_PAGE.unpack_from(octets)
    return MirrorPage(UUID(bytes=message), at, octets[_ABOUT_PAGE.size :])
