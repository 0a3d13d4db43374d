"""Which type a URL has by its sender's word: types saved for it, then the sender's rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase

from tracker.model import LinkType

_HEAD = re.compile(r"[^:/?#]+://[^/?#]*")
_WILD = re.compile(r"[*?\[]")


class Types:
    """Types by URL. ``saved`` and ``rules`` are (URL or glob, type) pairs; a type that is unknown, as a newer version
    may have written, says nothing. A glob is held against a URL as it stands and against it without fragment and
    without query; scheme and host in any case."""

    def __init__(self, saved: Iterable[tuple[str, str]] = (), rules: Iterable[tuple[str, str]] = ()) -> None:
        known = [(_comparable(pattern), type) for pattern, name in saved if (type := _type(name)) is not None]
        self._urls = dict(reversed(known))
        self._globs = [(pattern, type) for pattern, type in known if _WILD.search(pattern)]
        self._rules = [
            (_comparable(pattern), type, f"rule {pattern}")
            for pattern, name in rules
            if (type := _type(name)) is not None
        ]

    def __bool__(self) -> bool:
        """Whether anything is said of any URL."""
        return bool(self._urls or self._rules)

    def of(self, url: str) -> tuple[LinkType, str] | None:
        """The type of a URL and why, None where nobody says."""
        if not self:
            return None
        shapes = _shapes(_comparable(url))
        for shape in shapes:
            if shape in self._urls:
                return self._urls[shape], "saved"
        for pattern, type in self._globs:
            if any(fnmatchcase(shape, pattern) for shape in shapes):
                return type, "saved"
        for pattern, type, reason in self._rules:
            if any(shape == pattern or fnmatchcase(shape, pattern) for shape in shapes):
                return type, reason
        return None


def _type(name: str) -> LinkType | None:
    with suppress(ValueError):
        return LinkType(name)
    return None


def _shapes(url: str) -> tuple[str, ...]:
    """A URL as it stands, without its fragment, without its query."""
    bare = url.partition("#")[0]
    return tuple(dict.fromkeys((url, bare, bare.partition("?")[0])))


def _comparable(url: str) -> str:
    return _HEAD.sub(lambda match: match[0].lower(), url, count=1)
