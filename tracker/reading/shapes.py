"""Rows in the contract's shape, as JSON and as CSV. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracker.reading.params import rfc3339, seal_cursor
from tracker.store.base import Row

MESSAGE = (
    *("id", "message_id", "mailing", "sender", "subject", "tag", "metadata", "accepted_at", "instrumented", "reason"),
    *("recipients", "sent", "delivered", "bounced", "errors", "pending", "suppressed", "complaints"),
    *("opens", "unique_opens", "machine_opens", "clicks", "unique_clicks", "machine_clicks"),
    *("opt_outs", "opt_out_clicks", "mirror_views"),
)
"""The columns of a message (contract, section 6)."""

RECIPIENT = (
    *("address", "status", "status_at", "reply", "opens", "machine_opens", "clicks", "machine_clicks"),
    *("first_open_at", "last_open_at", "first_click_at", "last_click_at"),
)
LINK = ("position", "url", "label", "type", "reason", "tracked", "clicks", "unique_clicks", "machine_clicks")
URL = ("url", "type", "saved_type", "links", "messages", "clicks", "machine_clicks", "last_seen_at")
EVENT = (
    *("cursor", "id", "at", "type", "message", "recipient", "position", "url", "class", "kind", "reason", "rules"),
    *("address", "agent", "signals", "reply"),
)


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
    shaped = shape(row, EVENT)
    shaped["recipient"] = row["recipient_address"]
    shaped["cursor"] = seal_cursor(row["cursor"])
    return shaped


def to_json(value: Any) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


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
