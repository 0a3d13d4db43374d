"""The headers by which a message speaks to us, looked up by name, and their values as a person reads them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any

LONGEST = 8192
"""Octets of a value that are looked at: decoding a longer one costs seconds (a 280 KB encoded word: 8.6 s)."""


class Headers:
    """Header fields as (name, unfolded value) pairs, found by name in any case."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[tuple[str, str]]] = {}
        for name, value in fields:
            self._fields.setdefault(name.lower(), []).append((name, value))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._fields

    def any_begins(self, beginnings: tuple[str, ...]) -> bool:
        """Whether a name begins in one of these ways, which are in lower case."""
        return any(name.startswith(beginnings) for name in self._fields)

    def first(self, name: str) -> str | None:
        """The first value of a name, None where there is none."""
        found = self._fields.get(name.lower())
        return found[0][1] if found else None

    def all(self, name: str) -> list[str]:
        """Every value of a name, in order."""
        return [value for _, value in self._fields.get(name.lower(), ())]

    def behind(self, prefix: str) -> dict[str, str]:
        """The values of all names that begin so, by what follows; the first of equal names counts."""
        found: dict[str, str] = {}
        for lower, fields in self._fields.items():
            if lower.startswith(prefix.lower()) and len(lower) > len(prefix):
                found[fields[0][0][len(prefix) :]] = fields[0][1]
        return found


def readable(value: str) -> str:
    """A header value as a person reads it: encoded words (RFC 2047) decoded, white space folded, one line."""
    value = value[:LONGEST]
    if "=?" in value:
        with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):
            value = str(make_header(decode_header(value)))
    return " ".join(encodable(value).split())


def encodable(value: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which a command line or JSON may bring, become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8")


def switch(value: object) -> bool | None:
    """Yes or no in any of the ways that services take, None for anything else."""
    said = str(value).strip().lower()
    if said in ("yes", "true", "on", "1"):
        return True
    return False if said in ("no", "false", "off", "0") else None


def json_object(value: str) -> dict[str, Any] | None:
    """A JSON object, None for what is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(readable(value) if "=?" in value else value)
        return found if isinstance(found, dict) else None
    return None


def texts(values: Mapping[Any, Any]) -> dict[str, str]:
    """Names and values as text; what is not text already is written as JSON."""
    with suppress(ValueError, RecursionError):
        found = {name: item if isinstance(item, str) else json.dumps(item) for name, item in values.items()}
        return {encodable(str(name)): encodable(item) for name, item in found.items()}
    return {}
