"""What the configuration already knows and the service cannot do yet: refused, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from tracker.config import Problem, Section

NOT_BUILT = (
    "tracker.workers",
    "tracker.store",
)
"""Keys that take no value but their default; ``*`` is every item of a list."""


def not_built(config: Section) -> Iterator[Problem]:
    """A problem for each key that asks for what is not built."""
    for key in NOT_BUILT:
        *way, name = key.split(".")
        for path, section in _sections(config, (), way):
            if getattr(section, name) != getattr(_fresh(section), name):
                yield Problem((*path, name), _sentence(getattr(section, name), getattr(_fresh(section), name)))


def _sections(
    section: Any, path: tuple[str | int, ...], way: list[str]
) -> Iterator[tuple[tuple[str | int, ...], BaseModel]]:
    if not way:
        yield path, section
    elif way[0] == "*":
        for index, item in enumerate(section):
            yield from _sections(item, (*path, index), way[1:])
    else:
        yield from _sections(getattr(section, way[0]), (*path, way[0]), way[1:])


def _fresh(section: BaseModel) -> BaseModel:
    """The same section with nothing but defaults."""
    required = {
        name: getattr(section, name) for name, field in type(section).model_fields.items() if field.is_required()
    }
    return type(section).model_validate(required)


def _sentence(value: object, usual: object) -> str:
    if isinstance(value, str) and isinstance(usual, str):
        return f"{value} is not built yet; leave it at {usual}" if "://" not in value else "this is not built yet"
    return "is not built yet; leave it out"
