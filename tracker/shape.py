"""What a key of a section takes, read off the models' annotations. Pure."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tracker.config import SecretMark, Section


def kinds(annotation: Any) -> list[Any]:
    """The types that a value may have: unions taken apart, ``Annotated`` taken off, parameters of generics kept."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for each in get_args(annotation) for kind in kinds(each)]
    return [annotation]


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a value may be."""
    return next((kind for kind in kinds(annotation) if isinstance(kind, type) and issubclass(kind, Section)), None)


def item_of(annotation: Any) -> Any:
    """The annotation of a list's items, None where the value is no list."""
    return next((get_args(kind)[0] for kind in kinds(annotation) if get_origin(kind) is tuple), None)


def value_of(annotation: Any) -> Any:
    """The annotation of the values of a mapping with free names, None where the value is no such mapping."""
    return next((get_args(kind)[1] for kind in kinds(annotation) if get_origin(kind) is dict), None)


def is_nullable(annotation: Any) -> bool:
    """Whether null may stand for a value."""
    return type(None) in kinds(annotation)


def is_secret(field: FieldInfo) -> bool:
    """Whether a key is secret, so that it can be given as ``<key>_file`` too."""
    inner = item_of(field.annotation)
    return (
        any(isinstance(mark, SecretMark) for mark in field.metadata)
        or SecretStr in kinds(field.annotation)
        or (inner is not None and SecretStr in kinds(inner))
    )


def keys_of(section: type[Section]) -> list[str]:
    """Every key that a section knows, the ``_file`` twins of its secrets included."""
    return [key for name, field in section.model_fields.items() for key in _twins(name, field)]


def _twins(name: str, field: FieldInfo) -> Iterator[str]:
    yield name
    if is_secret(field):
        yield f"{name}_file"


def describe(section: type[Section]) -> dict[str, Any]:
    """Every key with its default as it would be written in the file, sections within sections; a list of sections is
    shown by one item; None for what has no default."""
    shown: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        inner, item = section_of(field.annotation), item_of(field.annotation)
        item_section = None if item is None else section_of(item)
        if inner is not None and not is_nullable(field.annotation):
            shown[name] = describe(inner)
        elif item_section is not None and field.get_default() == ():
            shown[name] = [describe(item_section)]
        elif field.is_required():
            shown[name] = None
        else:
            value = field.get_default(call_default_factory=True)
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown
