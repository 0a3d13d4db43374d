"""YAML 1.2 as plain data that remembers the line of every key. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tracker.errors import ConfigError

Path = tuple[str | int, ...]

MOST_NODES = 100_000
"""Values that a file may hold once its aliases are followed: a few lines of aliases can stand for billions."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = {"str", "int", "float", "bool", "null", "timestamp", "binary", "merge", "value"}


def show(path: Path) -> str:
    """A path as people write it: ``senders[0].match``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass(slots=True)
class Tree:
    """Plain data (dict, list, str, int, float, bool, None), the place of each key as it is shown in a message, and what
    was wrong with the text itself, as (path, sentence)."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def complain(self, path: Path, sentence: str) -> None:
        """Note a problem at a path, or at the nearest place above it that was really written."""
        above = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self.places), ())
        place = self.places.get(above, f"{self.name}:1")
        environment = place.startswith("TRACEPOST_") and above == path
        shown = f"{place}: {sentence}" if environment or not path else f"{place}: {show(path)}: {sentence}"
        if shown not in self.problems:
            self.problems.append(shown)


def read_yaml(text: str, name: str) -> Tree:
    """The tree of a whole file. Raises ConfigError where it is no YAML; lesser problems are noted in the tree."""
    tree = Tree(name)
    match = re.search(r"^%YAML\s+(?!1\.2\s*$)", text, re.MULTILINE)
    if match:
        raise ConfigError([f"{name}:{text.count(chr(10), 0, match.start()) + 1}: only YAML 1.2 is read"])
    node = _compose(text, name)
    if node is None or (isinstance(node, ScalarNode) and node.tag == _TAG + "null"):
        return tree
    if not isinstance(node, MappingNode):
        raise ConfigError([f"{name}:{node.start_mark.line + 1}: must be keys and values, such as `data_dir: ./data`"])
    tree.data = _Builder(tree).build(node, ())
    return tree


def read_value(text: str) -> Any:
    """One value in YAML 1.2, from anywhere but a file. Raises ConfigError."""
    tree = Tree("value")
    node = _compose(text, "value")
    value = None if node is None else _Builder(tree).build(node, ())
    if tree.problems:
        raise ConfigError(tree.problems)
    return value


def _compose(text: str, name: str) -> Node | None:
    try:
        node: Node | None = YAML(typ="rt", pure=True).compose(text)
        return node
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError([f"{name}:{line}: {_yaml_sentence(text, line, error)}"]) from None
    except RecursionError:
        raise ConfigError([f"{name}:1: is nested too deeply"]) from None
    except (YAMLError, ValueError) as error:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        raise ConfigError([f"{name}:{line}: holds a character that YAML does not allow"]) from None


def _yaml_sentence(text: str, line: int, error: MarkedYAMLError) -> str:
    lines = text.split("\n")
    if 0 < line <= len(lines) and re.match(r"\s*\t", lines[line - 1]):
        return "is indented with a tab; YAML wants spaces"
    what = " ".join(str(part) for part in (error.context, error.problem) if part)
    # The marks and notes of the library quote the file, which can hold secrets; what it says itself does not.
    return f"is not YAML: {' '.join(what.split())}"


class _Builder:
    """Makes plain data of nodes, each scalar as YAML 1.2's core schema reads it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: Node, path: Path) -> Any:
        """The data of a node, whose children's places and problems are noted."""
        self._tree.places.setdefault(path, f"{self._tree.name}:{node.start_mark.line + 1}")
        self._count += 1
        if self._count > MOST_NODES:
            raise ConfigError([f"{self._tree.places[path]}: holds too many values once its aliases are followed"])
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise ConfigError([f"{self._tree.places[path]}: {show(path)}: contains itself"])
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._tree.complain(path, f"YAML tags such as {node.tag} have no meaning here")
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._tree.problems.append(f"{self._tree.name}:{line}: a key must be text")
                continue
            key = str(key_node.value)
            if key in found:
                shown = f"{self._tree.name}:{line}: {show((*path, key))}"
                self._tree.problems.append(f"{shown}: is given twice, first in line {lines[key]}")
                continue
            lines[key] = line
            self._tree.places.setdefault((*path, key), f"{self._tree.name}:{line}")
            found[key] = self.build(value_node, (*path, key))
        return found

    def _sequence(self, node: Node, path: Path) -> list[Any]:
        assert isinstance(node, SequenceNode)
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        text = str(node.value)
        if kind not in _SCALARS:
            self._tree.complain(path, f"YAML tags such as {node.tag} have no meaning here")
        try:
            if kind == "int":
                return int(text.replace("_", ""), 0) if not re.fullmatch(r"[-+]?[0-9_]+", text) else int(text)
            if kind == "float":
                return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return text
        if kind == "bool":
            return text.lower() == "true" if text.lower() in ("true", "false") else text
        return None if kind == "null" else text
