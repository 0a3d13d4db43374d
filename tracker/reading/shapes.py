"""Rows in the contract's shape, as JSON and as CSV. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from tracker.reading import models
from tracker.reading.models import columns
from tracker.reading.params import rfc3339, seal_cursor
from tracker.store.base import Row

MESSAGE = columns(models.Message)
"""The columns of a message (contract, section 6)."""

RECIPIENT = columns(models.Recipient)
LINK = columns(models.Link)
URL = columns(models.Url)
EVENT = columns(models.Event)

Shape = Callable[[Row], Mapping[str, Any]]
"""Makes of a row what the API says."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a formula begins in a spreadsheet; what begins so but for quotes is quoted too, so that each cell can be read
back."""


def shape(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """One row with these columns in this order; columns named ``…_at``, ``at`` and ``since`` become RFC
    3339."""
    times = ("at", "since")
    return {name: rfc3339(row[name]) if name.endswith("_at") or name in times else row[name] for name in columns}


def event(row: Row) -> dict[str, Any]:
    """One event: its recipient by address, its cursor opaque."""
    return shape({**row, "recipient": row["recipient_address"], "cursor": seal_cursor(row["cursor"])}, EVENT)


def event_lines(rows: Iterable[Row]) -> bytes:
    """Events, a line of JSON each: as ``event`` and ``to_json`` would have it, in half the time."""
    lines = [_EVENT_LINE % tuple([write(row[name]) for name, write in _WRITE_EVENT]) for row in rows]
    return "".join(lines).encode("utf-8", "replace")


def event_table(rows: Iterable[Row]) -> bytes:
    """Events as lines of CSV, without the header."""
    return to_csv([event(row) for row in rows], EVENT, header=False)


def to_json(value: Any) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _object(value: Mapping[str, str] | None) -> str:
    return "null" if value is None else _encode(value)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_EVENT_LINE = "{" + ",".join(f'"{name}":%s' for name in EVENT) + "}\n"
_NOT_TEXT: dict[str, tuple[str, Callable[[Any], str]]] = {
    "cursor": ("cursor", lambda key: f'"{seal_cursor(key)}"'),
    "at": ("at", lambda at: f'"{rfc3339(at)}"'),
    "recipient": ("recipient_address", _text),
    "position": ("position", _number),
    "rules": ("rules", _number),
    "signals": ("signals", _object),
}
_WRITE_EVENT = tuple(_NOT_TEXT.get(name, (name, _text)) for name in EVENT)
"""Where a row has what stands in each column, and how it is written."""


def cell(value: Any) -> str:
    """One CSV cell, safe to open in a spreadsheet: what would begin a formula is quoted with ``'``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if _FORMULA.match(text) else text


def uncell(text: str) -> str:
    """The text of a cell that ``cell`` wrote."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], header: bool = True) -> bytes:
    """CSV (RFC 4180) in UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if header:
        writer.writerow(columns)
    writer.writerows([cell(row[name]) for name in columns] for row in rows)
    return out.getvalue().encode("utf-8", "replace")
