"""The sender's own parameters in the query of a link (``url_params``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote_plus

from relay.personal import BRACES
from relay.rewriting import placeholders

Pair = tuple[str, str]
"""A parameter's name as it reads, and ``name=value`` as it stands in a query."""


def pairs_of(params: Iterable[tuple[str, str]], values: Mapping[str, str]) -> tuple[Pair, ...]:
    """Parameters made ready for URLs, in order; ``values`` are those that all recipients share. One that comes out
    empty says nothing and is left out."""
    found = []
    for name, value in params:
        pieces = placeholders.opened(_escaped(value), values)
        if pieces:
            found.append((name, f"{placeholders.escaped(name)}={pieces}"))
    return tuple(found)


def _escaped(value: str) -> str:
    """A value percent-encoded, but for what stands between braces."""
    outside = [placeholders.escaped(piece) for piece in BRACES.split(value)]
    inside = BRACES.findall(value)
    return "".join(piece for pair in zip(outside, [*inside, ""], strict=True) for piece in pair)


def add(target: str, pairs: Sequence[Pair]) -> str:
    """A URL with parameters at the end of its query, before the fragment; a name that is there keeps its value."""
    if not pairs:
        return target
    rest, mark, fragment = target.partition("#")
    path, _, query = rest.partition("?")
    there = {unquote_plus(piece.partition("=")[0]) for piece in query.split("&")}
    new = "&".join(pair for name, pair in pairs if name not in there)
    if not new:
        return target
    joint = "&" if query and not query.endswith("&") else ""
    return f"{path}?{query}{joint}{new}{mark}{fragment}"
