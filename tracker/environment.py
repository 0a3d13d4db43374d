"""What stands outside the configuration file and belongs to it: environment variables and files of secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tracker.config import Section
from tracker.errors import ConfigError
from tracker.shape import is_nullable, is_secret, item_of, keys_of, kinds, section_of, value_of
from tracker.tree import Tree, read_value
from tracker.units import did_you_mean

PREFIX = "TRACEPOST_"

_LARGEST_SECRET = 64 * 1024
# Kubernetes gives these to every container beside a service that is called "tracepost".
_KUBERNETES = re.compile(r"TRACEPOST_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


def apply_environment(tree: Tree, model: type[Section], environ: Mapping[str, str]) -> None:
    """Let ``TRACEPOST_RELAY__LISTEN`` and its like override the file."""
    ours = [name for name in environ if name.startswith(PREFIX) and not _KUBERNETES.fullmatch(name)]
    # A variable for a whole section comes before those for its keys.
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        path = _path(name)
        annotation = _annotation(model, path)
        if annotation is None:
            guess = did_you_mean(name, list(_names(model, PREFIX)))
            tree.problems.append(f"{name}: unknown variable{guess}")
            continue
        try:
            value = _value(environ[name], annotation)
        except ConfigError:
            tree.problems.append(f"{name}: is not a value in YAML")
            continue
        _put(tree, path, value, name)


def _path(name: str) -> tuple[str | int, ...]:
    parts = name[len(PREFIX) :].lower().split("__")
    return tuple(int(part) if re.fullmatch(r"\d{1,4}", part, re.ASCII) else part for part in parts)


def _annotation(model: type[Section], path: tuple[str | int, ...]) -> Any:
    """The annotation of what stands at a path, None where nothing can stand there."""
    annotation: Any = model
    for part in path:
        section = section_of(annotation)
        if isinstance(part, int):
            annotation = item_of(annotation)
        elif section is None:
            annotation = value_of(annotation)
        elif part in section.model_fields:
            field = section.model_fields[part]
            # A marked secret is of another type, yet its text is taken as it stands just the same.
            annotation = SecretStr if is_secret(field) and item_of(field.annotation) is None else field.annotation
        else:
            annotation = str if part in keys_of(section) else None
        if annotation is None:
            return None
    return annotation


def _names(model: type[Section], prefix: str) -> Iterator[str]:
    for key in keys_of(model):
        yield f"{prefix}{key.upper()}"
        section = section_of(model.model_fields[key].annotation) if key in model.model_fields else None
        if section is not None:
            yield from _names(section, f"{prefix}{key.upper()}__")


def _value(text: str, annotation: Any) -> Any:
    """The value of a variable: text where text is wanted, a list where a list is, else YAML."""
    wanted = kinds(annotation)
    if SecretStr in wanted:
        return text
    if item_of(annotation) is not None:
        if text.startswith("[") and text.endswith("]"):
            return read_value(text)
        return [item.strip() for item in text.split(",")] if text.strip() else []
    if is_nullable(annotation) and text in ("", "null", "~"):
        return None
    if (text.startswith("{") and text.endswith("}")) or bool in wanted or int in wanted:
        return read_value(text)
    is_group = section_of(annotation) is not None or value_of(annotation) is not None
    return read_value(text) if is_group and str not in wanted else text


def _put(tree: Tree, path: tuple[str | int, ...], value: Any, name: str) -> None:
    """Set a value, making the mappings on its way; complain where something else is in that way."""
    node: Any = tree.data
    for at, part in enumerate(path):
        last = at == len(path) - 1
        if isinstance(part, int):
            if not isinstance(node, list) or part > len(node):
                tree.problems.append(f"{name}: there is no item {part}; the first free one is {_free(node)}")
                return
            if part == len(node):
                node.append(None)
        elif not isinstance(node, dict):
            return  # the file has no mapping here, which is complained about there
        if last:
            node[part] = value
        elif isinstance(part, str) and node.get(part) is None:
            node[part] = [] if isinstance(path[at + 1], int) else {}
        elif isinstance(part, int) and node[part] is None:
            node[part] = {}
        node = node[part]
    for below in [place for place in tree.places if place[: len(path)] == path]:
        del tree.places[below]
    tree.places[path] = name
    _drop_twin(tree, path)


def _free(node: Any) -> int:
    return len(node) if isinstance(node, list) else 0


def _drop_twin(tree: Tree, path: tuple[str | int, ...]) -> None:
    """A variable overrides the other form of its secret in the file: ``password`` and ``password_file``."""
    *way, key = path
    if not isinstance(key, str):
        return
    node: Any = tree.data
    for part in way:
        node = node[part]
    twin = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
    if not tree.places.get((*way, twin), PREFIX).startswith(PREFIX):
        node.pop(twin, None)


def read_secret_files(tree: Tree, model: type[Section], folder: Path) -> None:
    """Put in place of every ``<key>_file`` what the file holds, and of empty sections and lists nothing at all."""
    _fill(tree, model, tree.data, (), folder)


def _fill(tree: Tree, model: type[Section], data: dict[str, Any], path: tuple[str | int, ...], folder: Path) -> None:
    for name, field in model.model_fields.items():
        twin = f"{name}_file"
        if is_secret(field) and twin not in model.model_fields and data.get(twin) is not None:
            _read_twin(tree, field, data, (*path, name), folder)
        elif is_secret(field) and twin not in model.model_fields:
            data.pop(twin, None)
        inner, item = section_of(field.annotation), item_of(field.annotation)
        # `relay:` with nothing below it, as is left when all its keys are commented out.
        is_group = inner is not None or item is not None or value_of(field.annotation) is not None
        if name in data and data[name] is None and is_group and not is_nullable(field.annotation):
            del data[name]
        for key, section, value in _sections(data.get(name), field):
            _fill(tree, section, value, (*path, name, *key), folder)


def _sections(value: Any, field: FieldInfo) -> Iterator[tuple[tuple[str | int, ...], type[Section], dict[str, Any]]]:
    """The sections in a value: itself, its items or its values, each with the way to it."""
    annotation = field.annotation
    inner, item, named = section_of(annotation), item_of(annotation), value_of(annotation)
    if inner is not None and isinstance(value, dict):
        yield (), inner, value
    each = None if item is None else section_of(item)
    if each is not None and isinstance(value, list):
        yield from (((index,), each, one) for index, one in enumerate(value) if isinstance(one, dict))
    each = None if named is None else section_of(named)
    if each is not None and isinstance(value, dict):
        yield from (((key,), each, one) for key, one in value.items() if isinstance(one, dict))


def _read_twin(tree: Tree, field: FieldInfo, data: dict[str, Any], path: tuple[str | int, ...], folder: Path) -> None:
    name = str(path[-1])
    where, given = (*path[:-1], f"{name}_file"), data.pop(f"{name}_file")
    if data.get(name) not in (None, []):
        tree.complain(where, f"must not be given together with {name}")
        return
    if not isinstance(given, str) or not given or "\0" in given:
        tree.complain(where, "must be the path of a file")
        return
    try:
        with (folder / Path(given).expanduser()).open("rb") as file:
            text = file.read(_LARGEST_SECRET + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "cannot be read as UTF-8"
        tree.complain(where, f"{given}: {why[:1].lower()}{why[1:]}")
        data.pop(name, None)
        return
    text = text.rstrip("\r\n")
    if not text.strip() or len(text) > _LARGEST_SECRET:
        tree.complain(where, f"{given}: {'is empty' if not text.strip() else 'is far too long for a secret'}")
        return
    many = item_of(field.annotation) is not None
    data[name] = [line.strip() for line in text.splitlines() if line.strip()] if many else text
    tree.places[path] = tree.places.get(where, f"{tree.name}:1")
