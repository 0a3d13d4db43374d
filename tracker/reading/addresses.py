"""Addresses of the dashboard's own pages, always by path alone: never built from the request's Host. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

_PASSING = ("cursor", "format", "table", "part", "done", "count")
"""What belongs to one view of a page and not to what it is about."""


@dataclass(frozen=True, slots=True)
class Address:
    """The path of a page and its parameters."""

    path: str
    params: Sequence[tuple[str, str]] = ()

    def but(self, **changes: object) -> str:
        """The same page with parameters changed; None takes one off. Where in a list one was, and in which format,
        is not carried over."""
        kept = {name: value for name, value in self.params if name not in _PASSING and value}
        changed = {name: None if value is None else str(value) for name, value in changes.items()}
        given = {name: value for name, value in {**kept, **changed}.items() if value}
        return f"{self.path}?{urlencode(given)}" if given else self.path


def local(text: str) -> str:
    """The path of a page of ours to go on to, ``/`` for all that leads anywhere else."""
    fine = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isascii() and text.isprintable()
    return text if fine and " " not in text and len(text) <= 2000 else "/"
