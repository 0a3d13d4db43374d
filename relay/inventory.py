"""The configuration in force as a list of keys: value, purpose, where it was given. No secret is in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from relay.config import Config
from tracker.config import Section
from tracker.reading.beside import Setting
from tracker.shape import is_secret
from tracker.tree import show
from tracker.units import format_duration, format_size, parse_duration, parse_size

KeyPath = tuple[str | int, ...]

AT_START = ("data_dir", "relay.listen", "relay.hostname", "relay.workers", "relay.delivery", "relay.retry", "tracker")
"""What holds until a restart, sections and keys; the rest is taken over when the configuration is read again."""

RELOADED = ("tracker.api_keys", "tracker.webhooks")
"""What is taken over all the same."""

_EXAMPLE = Path(__file__).parent / "config.example.yaml"
_LINE = re.compile(r"( *)(- )?#?([a-z_]+):(?: .*?)? +# (.+)")


def sections(started: Config, newest: Config) -> list[tuple[str, str, Sequence[Setting]]]:
    """The sections with their purposes and keys. ``started`` is what the service was started with, ``newest`` what was
    read last, which holds where a key is taken over without a restart."""
    purposes = _purposes(_EXAMPLE.read_text())
    before, after = dict(_keys(started, ())), dict(_keys(newest, ()))
    found: dict[KeyPath, list[Setting]] = {}
    for path in dict.fromkeys([*after, *before]):
        config, keys = (started, before) if _waits(path) else (newest, after)
        if path not in keys:
            continue
        value, source = _Hidden.text(keys[path]), config.places.get(path, "")
        pending = after.get(path) != keys[path]
        setting = Setting(show(path), value, _purpose(purposes, path), source, _waits(path), pending)
        found.setdefault(path[:-1], []).append(setting)
    ordered = sorted(found, key=lambda path: _order(path, list(Config.model_fields)))
    return [(_title(path, newest), _purpose(purposes, path), found[path]) for path in ordered]


class _Hidden(str):
    """In place of a secret; equal to another where the secrets are."""

    @staticmethod
    def text(value: str) -> str | None:
        """What is shown."""
        return None if isinstance(value, _Hidden) else value


def _waits(path: KeyPath) -> bool:
    name = ".".join(map(str, path))
    return _within(name, AT_START) and not _within(name, RELOADED)


def _within(name: str, above: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in above)


def _order(path: KeyPath, top: list[str]) -> tuple[Any, ...]:
    return (
        top.index(str(path[0])) if path else -1,
        [str(part).rjust(6) for part in path[1:2] if isinstance(part, int)],
    )


def _title(path: KeyPath, config: Config) -> str:
    if len(path) >= 2 and path[0] == "senders" and isinstance(path[1], int):
        rest = show(path[2:])
        return f"senders: {config.senders[path[1]].route}" + (f", {rest}" if rest else "")
    return show(path) or "General"


def _keys(section: Section, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every key below a section, as it would be written; sections within it are gone into."""
    for name, field in type(section).model_fields.items():
        yield from _below(getattr(section, name), field, (*path, name))


def _below(value: Any, field: FieldInfo, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if is_secret(field) and value not in (None, ()):
        yield path, _secret(value, field)
    elif isinstance(value, Section) and path[-1] != "match":
        yield from _keys(value, path)
    elif _is_list(value) and value and all(isinstance(each, Section) for each in value) and path[-1] != "link_rules":
        for index, each in enumerate(value):
            yield from _keys(each, (*path, index))
    elif isinstance(value, dict) and value and all(isinstance(each, Section) for each in value.values()):
        for key, each in value.items():
            yield from _keys(each, (*path, key))
    else:
        yield path, _written(value, field)


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple) and not hasattr(value, "_fields")


def _secret(value: Any, field: FieldInfo) -> str:
    if isinstance(value, str) and value == field.default:
        return value
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https"):
            return f"{parts.scheme}://{parts.hostname or ''}/…"  # what follows may be a token
        user = f"{parts.username}@" if parts.username else ""
        return f"{parts.scheme}://{user}{parts.hostname or ''}{parts.path}"
    return _Hidden(repr([_revealed(each) for each in (value if _is_list(value) else (value,))]))


def _revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(getattr(value, "key", value))


def _written(value: Any, field: FieldInfo | None = None) -> str:
    """A value as it would stand in the file."""
    parsers = {mark.func for mark in (field.metadata if field else ()) if isinstance(mark, BeforeValidator)}
    if value is None:
        return "null"
    if parse_duration in parsers:
        return format_duration(value)
    if parse_size in parsers:
        return format_size(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Section):
        return _mapping({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, dict):
        return _mapping(value)
    if _is_list(value):
        return f"[{', '.join(map(_written, value))}]"
    return str(value)


def _mapping(value: Mapping[Any, Any]) -> str:
    return f"{{{', '.join(f'{key}: {_written(each)}' for key, each in value.items())}}}"


@cache
def _purposes(example: str) -> Mapping[tuple[str, ...], str]:
    """What each key is for, off the lines of the example."""
    found: dict[tuple[str, ...], str] = {}
    above: list[tuple[int, str]] = []
    for line in example.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        depth = len(match[1]) + len(match[2] or "")
        above = [each for each in above if each[0] < depth]
        found[(*(name for _, name in above), match[3])] = match[4]
        above.append((depth, match[3]))
    return found


def _purpose(purposes: Mapping[tuple[str, ...], str], path: KeyPath) -> str:
    names = tuple(part for part in path if isinstance(part, str))
    if names[:2] == ("senders", "smarthost") and len(names) > 2:
        names = ("relay", *names[1:])
    if names[:3] == ("relay", "auth", "users") and len(names) > 3:
        return "" if len(names) == 4 else _OF_A_USER.get(names[4], "")
    return purposes.get(names, "")


_OF_A_USER = {"hash": "of the password, by `tracepost hash-password`", "senders": "what the user may send from"}
