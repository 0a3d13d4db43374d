"""The opens and clicks of people that count, one by one, the newest first."""

from __future__ import annotations

import sqlite3
from typing import Any

from tracker.store.base import HitFilter
from tracker.store.queries import rows

_COUNTED = {"open": "opens", "click": "clicks"}
_SAME = "r.message = e.message AND r.ordinal = e.recipient"


def people_hits(
    db: sqlite3.Connection, wanted: HitFilter, limit: int, offset: int, most: int
) -> tuple[list[dict[str, Any]], int]:
    """Hits that count, and how many there are, as far as ``most``."""
    counted = _COUNTED[wanted.event]
    where = ["e.counts IS NOT NULL", "e.type = ?", f"json_extract(e.counts, '$.{counted}') > 0"]
    values: list[Any] = [wanted.event]
    for value, test in (
        (wanted.message, "e.message = ?"),
        (wanted.recipient, "r.address = ?"),
        (wanted.tag, "m.tag = ?"),
    ):
        if value is not None:
            where.append(test)
            values.append(value)
    of_hits = f"{_joined(wanted)} WHERE {' AND '.join(where)}"
    columns = (
        "e.message, e.at, e.type, e.url, e.agent, m.tag, r.address AS recipient_address,"
        f" coalesce(json_extract(e.counts, '$.unique_{counted}'), 0) > 0 AS first"
    )
    found = rows(
        db,
        f"SELECT {columns} FROM {of_hits} ORDER BY e.at DESC, e.message DESC, e.id DESC LIMIT ? OFFSET ?",  # noqa: S608
        [*values, limit, offset],
    )
    for row in found:
        row["first"] = bool(row["first"])
    total = db.execute(f"SELECT count(*) FROM (SELECT 1 FROM {of_hits} LIMIT ?)", [*values, most]).fetchone()[0]  # noqa: S608
    return found, total


def _joined(wanted: HitFilter) -> str:
    """The tables in the order in which to walk them: from what there is least of."""
    if wanted.recipient is not None:
        return f"recipients r CROSS JOIN events e ON {_SAME} JOIN messages m ON m.id = e.message"
    if wanted.tag is not None and wanted.message is None:
        return f"messages m CROSS JOIN events e ON e.message = m.id LEFT JOIN recipients r ON {_SAME}"
    return f"events e JOIN messages m ON m.id = e.message LEFT JOIN recipients r ON {_SAME}"
