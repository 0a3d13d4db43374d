"""From a YAML file and the environment to a validated model, with every problem at once and where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tracker.config import Problem, Section
from tracker.environment import apply_environment, read_secret_files
from tracker.errors import ConfigError
from tracker.shape import item_of, keys_of, section_of, value_of
from tracker.tree import Tree, read_yaml
from tracker.units import did_you_mean

S = TypeVar("S", bound=Section)
KeyPath = tuple[str | int, ...]
Places = Mapping[KeyPath, str]
"""By the way to a key: file and line, or the variable, where it was given."""

LARGEST_FILE = 1024 * 1024
"""Bytes of a configuration file that are read; parsing YAML takes seconds a megabyte."""


def load(
    path: Path,
    model: type[S],
    environ: Mapping[str, str],
    checks: Callable[[S], Iterable[Problem]] = lambda _: (),
    doubts: Callable[[S], Iterable[Problem]] = lambda _: (),
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[S, Places]:
    """The configuration in a file, overridden by the environment, and where each key was given. ``checks`` finds what
    is wrong in the whole of it, ``doubts`` what is no error but worth a word, which ``warn`` is told, with its place.

    Raises ConfigError with every problem as ``file:line: key: what is wrong``, OSError where the file cannot be read.
    """
    tree = read_yaml(_read(path), str(path))
    apply_environment(tree, model, environ)
    read_secret_files(tree, model, path.absolute().parent)
    config, data, is_doubtful = _validate(tree, model, {"folder": path.absolute().parent})
    for problem in chain(_problems(config, ()), checks(config)):
        _, known = _follow(data, problem.path)
        where = known + problem.path[len(known) :]
        if not is_doubtful(where):
            tree.complain(where, problem.sentence)
    if tree.problems:
        raise ConfigError(sorted(tree.problems, key=lambda problem: _place(problem, str(path))))
    for doubt in doubts(config):
        tree.complain(doubt.path, doubt.sentence)
    for sentence in sorted(tree.problems, key=lambda problem: _place(problem, str(path))):
        warn(sentence)
    return config, dict(tree.places)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ConfigError([f"{path}:1: is too large: more than {LARGEST_FILE} bytes"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8"]) from None


def _place(problem: str, name: str) -> tuple[bool, int]:
    """Problems of the file first, by line; the environment's after them."""
    match = re.match(r":(\d+):", problem[len(name) :]) if problem.startswith(name) else None
    return match is None, int(match[1]) if match else 0


class _Items(list[Any]):
    """A list that remembers where its items stood before some were taken out."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.origins = list(range(len(self)))

    def take_out(self, index: int) -> None:
        """Remove one item."""
        del self[index], self.origins[index]


def _working_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _working_copy(item) for key, item in value.items()}
    return _Items(_working_copy(item) for item in value) if isinstance(value, list) else value


def _validate(tree: Tree, model: type[S], context: dict[str, Any]) -> tuple[S, Any, Callable[[KeyPath], bool]]:
    """The model of a tree's data, that data as far as it is valid, and what is to be doubted after that.

    Each error is noted in the tree and what it is about taken out, until the rest is valid: so what depends on the
    whole can be looked at in the same run.
    """
    data, doubtful, seen = _working_copy(tree.data), set[KeyPath](), set[KeyPath]()

    def is_doubtful(path: KeyPath) -> bool:
        # What is said about keys beside a wrong one, or below it, may be wrong itself.
        return path[:-1] in doubtful or any(path[:end] in seen for end in range(1, len(path)))

    while True:
        try:
            return model.model_validate(data, context=context), data, is_doubtful
        except ValidationError as error:
            wrong: dict[tuple[int, str | int], tuple[Any, str | int]] = {}
            for details in error.errors(include_url=False):
                way, path = _follow(data, details["loc"])
                if details["type"] == "missing":
                    path = (*path, details["loc"][-1])
                # A required key that was wrong is missing now that it is taken out.
                if path not in seen:
                    tree.complain(path, _sentence(details, model, path))
                seen.add(path)
                doubtful.update((path[:-1], path[:-2]))
                holder, key = way[-1] if way else (data, next(iter(data), ""))
                wrong[id(holder), key] = holder, key
            # The last item first, so that those before it keep their index.
            for holder, key in sorted(wrong.values(), key=lambda each: str(each[1]).rjust(12), reverse=True):
                if isinstance(holder, _Items) and isinstance(key, int):
                    holder.take_out(key)
                else:
                    holder.pop(key, None)


def _follow(data: Any, loc: KeyPath) -> tuple[list[tuple[Any, str | int]], KeyPath]:
    """As far as a place in the data is really there: the way to it, as (container, key) pairs, and its path in the
    file, where lists still have all their items."""
    way: list[tuple[Any, str | int]] = []
    path: KeyPath = ()
    node = data
    for part in loc:
        if isinstance(node, _Items) and isinstance(part, int) and part < len(node):
            path = (*path, node.origins[part])
        elif isinstance(node, dict) and part in node:
            path = (*path, part)
        else:
            break
        way.append((node, part))
        node = node[part]
    return way, path


def _sentence(details: ErrorDetails, model: type[Section], path: KeyPath) -> str:
    """What is wrong, in words of ours; never quotes a value that could be a secret."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _keys_beside(model, path))}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        listed = " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)
        return f"must be {listed}{did_you_mean(str(details['input']), choices)}"
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(**context)
    return details["msg"][:1].lower() + details["msg"][1:]


_SENTENCES = {
    "missing": "is required",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "model_type": "must be a section of keys and values",
    "model_attributes_type": "must be a section of keys and values",
    "dict_type": "must be names and values",
    "tuple_type": "must be a list",
    "too_short": "must have {min_length} item or more",
}


def _keys_beside(model: type[Section], path: KeyPath) -> list[str]:
    annotation: Any = model
    for part in path[:-1]:
        section = section_of(annotation)
        if isinstance(part, int):
            annotation = item_of(annotation)
        elif section is not None:
            annotation = section.model_fields[part].annotation
        else:
            annotation = value_of(annotation)
    section = section_of(annotation)
    return [] if section is None else keys_of(section)


def _problems(value: Any, path: KeyPath) -> Iterator[Problem]:
    """What every section finds wrong between its keys."""
    if isinstance(value, Section):
        yield from (Problem((*path, *problem.path), problem.sentence) for problem in value.problems())
        for name in type(value).model_fields:
            yield from _problems(getattr(value, name), (*path, name))
    elif isinstance(value, tuple) and not hasattr(value, "_fields"):
        for index, item in enumerate(value):
            yield from _problems(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _problems(item, (*path, key))
