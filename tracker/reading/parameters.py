"""Parameters as they are declared beside a route: how each is read, and how the document describes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

from tracker.reading import params
from tracker.reading.params import BadRequest

Asked = Mapping[str, Any]
"""What a request asks for: every parameter that its route declares, by name, as it was read; None where not given."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: ``read`` finds its value among the texts that were given and raises BadRequest; ``schema`` is what
    the document says of its text (JSON Schema)."""

    name: str
    about: str
    schema: Mapping[str, Any]
    read: Callable[[Mapping[str, str]], Any]
    where: Literal["query", "path"] = "query"
    required: bool = False


def text(name: str, about: str, required: bool = False) -> Param:
    """Any text."""
    schema = {"type": "string", **({"minLength": 1} if required else {})}
    return Param(name, about, schema, lambda given: given.get(name), required=required)


def sender_of(about: str) -> Param:
    """The address of a sender, in small letters, as senders are kept."""
    return Param("sender", about, {"type": "string"}, lambda given: given.get("sender", "").lower() or None)


def choice(name: str, allowed: Sequence[str], about: str) -> Param:
    """One of a few words."""
    words = [str(word) for word in allowed]
    return Param(name, about, {"type": "string", "enum": words}, lambda given: params.choice(given, name, words))


def moment(name: str, about: str) -> Param:
    """A time with its offset, or a bare date; ``params.instant``, ``end`` and ``period`` read it in a zone."""
    either = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}

    def read(given: Mapping[str, str]) -> str | None:
        params.end(given, name, UTC)
        return given.get(name)

    return Param(name, about, either, read)


def in_path(name: str, about: str, read: Callable[[str], Any] = str, **schema: Any) -> Param:
    """A part of the path."""
    return Param(name, about, {"type": "string", **schema}, lambda given: read(given[name]), "path", True)


def read(declared: Sequence[Param], path: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> Asked:
    """What is asked for by ``path`` and by the ``pairs`` of a query. Raises BadRequest for a parameter that is not
    declared, stands there twice, is missing or cannot be read."""
    given = params.single(pairs, [param.name for param in declared if param.where == "query"])
    for param in declared:
        if param.required and param.where == "query" and param.name not in given:
            raise BadRequest(f"Give {param.name!r} too. {param.about}")
    return {param.name: param.read(path if param.where == "path" else given) for param in declared}


LIMIT = Param(
    "limit",
    f"How many rows, {params.DEFAULT_LIMIT} unless given. CSV without it and without a cursor is the whole list.",
    {"type": "integer", "minimum": 1, "maximum": params.MOST, "default": params.DEFAULT_LIMIT},
    lambda given: params.limit(given) if "limit" in given else None,
)
CURSOR = Param("cursor", "Go on after this: 'next' of the page before.", {"type": "string"}, params.cursor)
FORMAT = choice("format", ("json", "csv"), "JSON, unless CSV is wanted.")
LIST = (LIMIT, CURSOR, FORMAT)
"""The parameters of every list."""

PERIOD = (
    moment("from", "From this time on; a bare date begins with that day in tracker.timezone."),
    moment("to", "Before this time; a bare date ends with that day in tracker.timezone."),
)
"""A period, which ``params.period`` makes of it."""
