"""Facts as octets, for those who must keep them on disk until the store takes them. Pure.

A fact is a letter for its type and JSON. Records of an older version, which lack newer fields, are read with the
fields' defaults.
"""

from __future__ import annotations

import json

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from tracker.model import Accepted, Fact, Hit, NoMailbox, OptedIn, OptedOut, Outcome

_LETTERS: dict[type[Fact], bytes] = {
    Accepted: b"a",
    Outcome: b"o",
    Hit: b"h",
    OptedOut: b"u",
    OptedIn: b"i",
    NoMailbox: b"n",
}
_ADAPTERS: dict[bytes, TypeAdapter[Fact]] = {letter: TypeAdapter(kind) for kind, letter in _LETTERS.items()}


def encode(fact: Fact) -> bytes:
    """The octets of a fact, whatever text is in it."""
    letter = _LETTERS[type(fact)]
    adapter = _ADAPTERS[letter]
    try:
        return letter + adapter.dump_json(fact)
    except PydanticSerializationError:  # a lone surrogate, which no store could keep
        plain = adapter.dump_python(fact)
        return letter + json.dumps(plain, ensure_ascii=False, default=str).encode("utf-8", "replace")


def decode(octets: bytes) -> Fact:
    """The fact of these octets. Raises ValueError for what ``encode`` did not write."""
    adapter = _ADAPTERS.get(octets[:1])
    if adapter is None:
        raise ValueError("not a fact")
    return adapter.validate_json(octets[1:])
