"""The sandbox's folder as the dashboard reads it: which mails there are, and what one of them says.

What lies there may be any mail at all: what is read of it is bounded, and a mail that is no mail is shown as far as it
goes.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from relay.dispatch.sandbox import FOLDER
from relay.reception.headers import readable
from relay.rewriting import keeping, message
from relay.rewriting.message import Part
from tracker.reading.beside import Kept, Leaf, Letter

LARGEST = 50_000_000
"""Octets of a mail that are looked into."""

_HEAD, _ENVELOPE = 64 * 1024, 1_000_000
_MOST_HTML, _MOST_TEXT, _MOST_HEADERS, _MOST_TO = 5_000_000, 500_000, 500, 1000
_TOO_LARGE = "It is too large to be shown here. Its source can be downloaded."
_BOUNDS = {
    "too_many_parts": "It has too many parts to be shown here.",
    "too_deep": "Its parts are nested too deeply to be shown here.",
    "header_too_large": "Its headers are too large to be shown here.",
}


class SandboxInbox:
    """The mails of ``data_dir/sandbox``."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def list(self, limit: int, after: str | None) -> tuple[Sequence[Kept], str | None]:
        """The mails, the newest first, and the name to go on after, None at the end. Raises OSError."""
        names = heapq.nlargest(limit + 1, (name for name in self._names() if after is None or name < after))
        found = [self._kept(name) for name in names[:limit]]
        return [each for each in found if each is not None], names[limit - 1] if len(names) > limit else None

    def letter(self, name: str) -> Letter | None:
        """One mail, None where there is none of that name. Raises OSError."""
        file = self.file(name)
        kept = self._kept(name) if file else None
        if file is None or kept is None:
            return None
        with file.open("rb") as opened:
            return letter(kept, opened.read(LARGEST + 1))

    def file(self, name: str) -> Path | None:
        """The file of one mail, None where there is none of that name."""
        path = self._folder / f"{name}.eml"
        return path if _is_name(name) and path.is_file() else None

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name, _, kind = entry.name.rpartition(".")
                    if kind == "eml" and _is_name(name):
                        yield name
        except FileNotFoundError:
            return

    def _kept(self, name: str) -> Kept | None:
        """What is known of a mail without looking into it; None where it has just been removed."""
        try:
            with (self._folder / f"{name}.eml").open("rb") as file:
                head, size = file.read(_HEAD), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return None
        envelope = _envelope(self._folder / f"{name}.json")
        to = envelope.get("recipients")
        return Kept(
            name,
            (UUID(name).int >> 80) / 1000,
            size,
            str(envelope.get("reverse_path") or ""),
            [str(each) for each in to[:_MOST_TO]] if isinstance(to, list) else [],
            readable(message.get(head, "From") or ""),
            readable(message.get(head, "Subject") or ""),
        )


def _is_name(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _envelope(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_ENVELOPE))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def letter(kept: Kept, raw: bytes) -> Letter:
    """What a mail says. Pure."""
    headers = _headers(raw)
    if len(raw) > LARGEST:
        return Letter(kept, headers, None, (), (), _TOO_LARGE)
    structure = message.parse(raw, automatic=True, signed=True)
    pages = [part for part in structure.parts if part.type == "text/html" and not part.opaque]
    texts = [part for part in structure.parts if part.type == "text/plain" and not part.opaque]
    others = [part for part in structure.parts if part not in pages and part not in texts]
    trouble = _BOUNDS.get(structure.reason, "It cannot be looked into.") if structure.reason else None
    if sum(part.end - part.start for part in pages) > _MOST_HTML:
        pages, trouble = [], "Its HTML is too large to be shown here. Its source can be downloaded."
    leaves = [keeping.leaf_as_it_is(part, _body(raw, part)) for part in pages]
    return Letter(
        kept,
        headers,
        keeping.document(raw, structure.parts, leaves) if pages else None,
        [keeping.leaf_as_it_is(part, _body(raw, part)[: 3 * _MOST_TEXT]).text[:_MOST_TEXT] for part in texts],
        [_leaf(raw, part) for part in others],
        trouble,
    )


def _headers(raw: bytes) -> list[tuple[str, str]]:
    found = []
    for header in message.headers(raw[: message.MAX_HEADER]):
        found.append((header.name, readable(message.text(header.value))))
        if len(found) == _MOST_HEADERS:
            break
    return found


def _body(raw: bytes, part: Part) -> bytes:
    return raw[part.start : part.end]


def _leaf(raw: bytes, part: Part) -> Leaf:
    head = raw[part.header : part.start]
    name = ""
    for header, parameter in (("Content-Disposition", "filename"), ("Content-Type", "name")):
        value = message.get(head, header)
        if value and not name:
            _, parameters = message.content_type(value.encode("utf-8", "replace"), "")
            name = readable(parameters.get(parameter, b"").decode("utf-8", "replace"))
    return Leaf(part.type, name, part.end - part.start)
