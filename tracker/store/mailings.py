"""Mailings as they are read from the SQLite store: the messages that are one to those who sent them."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from tracker.store import queries
from tracker.store.base import COLUMNS, MessageFilter, Page, Row
from tracker.store.filing import BY_EVENT, MAILING

_COUNTS = ", ".join(COLUMNS)
_SUBJECT = (
    "(SELECT subject FROM (SELECT subject, id FROM messages WHERE mailing_key = m.id ORDER BY id DESC LIMIT 20)"
    " WHERE subject <> '' ORDER BY id DESC LIMIT 1)"
)
"""That of the newest message that has one; mailings keep none, since it may name people."""

_COLUMNS = (
    f"id, sender, mailing, tag, coalesce({_SUBJECT}, '') AS subject, first_accepted_at, last_accepted_at, instrumented,"
    f" attributed, {_COUNTS}, targeted AS recipients,"
    " targeted - suppressed - sent - (bounced - bounced_later) - errors AS pending"
)
_STATUS = {**queries.CONDITIONS, "pending": "targeted > suppressed + sent + bounced - bounced_later + errors"}


def mailings(db: sqlite3.Connection, wanted: MessageFilter, limit: int, after: str | None) -> Page:
    """Newest first, by the first message: an order that later messages never disturb."""
    where, values = ["messages > 0"], list[Any]()
    for column in ("sender", "tag", "mailing"):
        if (value := getattr(wanted, column)) is not None:
            where.append(f"m.{column} = ?")
            values.append(value)
    if wanted.mailing_key is not None:
        where.append("m.id = ?")
        values.append(wanted.mailing_key)
    for condition, found in _of_messages(wanted):
        where.append(f"m.id IN (SELECT mailing_key FROM messages WHERE {condition})")  # noqa: S608
        values += found
    if wanted.status is not None:
        where.append(_STATUS[wanted.status])
    if wanted.q:
        own = " OR ".join(f"m.{name} LIKE ? ESCAPE '\\'" for name in ("mailing", "tag", "sender"))
        where.append(f"({own} OR m.id IN (SELECT mailing_key FROM messages WHERE subject LIKE ? ESCAPE '\\'))")  # noqa: S608
        values += [queries.like(wanted.q)] * 4
    for bound, test in ((wanted.since, "last_accepted_at >= ?"), (wanted.until, "first_accepted_at < ?")):
        if bound is not None:
            where.append(test)
            values.append(bound)
    if after is not None:
        where.append("(first_accepted_at, m.id) < (?, ?)")
        values += queries.key_after(after, float, str)
    order = "ORDER BY first_accepted_at DESC, m.id DESC LIMIT ?"
    sql = f"SELECT {_COLUMNS} FROM mailings m WHERE {' AND '.join(where)} {order}"  # noqa: S608
    rows = [_row(row) for row in queries.rows(db, sql, [*values, limit + 1])]
    return queries.page(rows, limit, "first_accepted_at", "id")


def mailing(db: sqlite3.Connection, id: str) -> Row | None:
    """One mailing by id."""
    found = queries.rows(db, f"SELECT {_COLUMNS} FROM mailings m WHERE m.id = ? AND messages > 0", [id])  # noqa: S608
    return _row(found[0]) if found else None


def series(db: sqlite3.Connection, id: str, bounds: Sequence[float]) -> list[Row]:
    """Sums of each interval between neighbouring bounds, by the quarter of an hour that an event falls into."""
    found = [dict.fromkeys(COLUMNS, 0) for _ in bounds[1:]]
    sql = (
        f"SELECT start, {_COUNTS} FROM counts WHERE sender = (SELECT sender FROM mailings WHERE id = ?) AND tag = ''"  # noqa: S608
        " AND cohort = ? AND dimension = ? AND span = 'q' AND start >= ? AND start < ? AND value = ?"
    )
    for start, *sums in db.execute(sql, [id, BY_EVENT, MAILING, bounds[0], bounds[-1], id]):
        row = found[bisect_right(bounds, start) - 1]
        for name, value in zip(COLUMNS, sums, strict=True):
            row[name] += value
    return list(found)


def links(db: sqlite3.Connection, id: str, limit: int, after: str | None) -> Page:
    """Links by position, as the newest message has them; without the query where another message has another."""
    (position,) = queries.key_after(after, int) if after else (-1,)
    return queries.page(queries.rows(db, _LINKS, [id, position, limit + 1]), limit, "position")


_LINKS = """
WITH mailing AS (SELECT * FROM mailings WHERE id = ?1),
newest AS (SELECT max(id) AS id FROM messages WHERE mailing_key = ?1),
oldest AS (SELECT min(id) AS id FROM messages WHERE mailing_key = ?1),
sums AS (SELECT l.* FROM mailing_links l JOIN mailing m ON l.sender = m.sender AND l.mailing = m.id),
places AS (SELECT position FROM links WHERE message = (SELECT id FROM newest) UNION SELECT position FROM sums),
shown AS (
  SELECT position, coalesce(
    (SELECT message FROM links l WHERE l.message = (SELECT id FROM newest) AND l.position = p.position),
    (SELECT l.message FROM messages m JOIN links l ON l.message = m.id AND l.position = p.position
     WHERE m.mailing_key = ?1 ORDER BY m.id DESC LIMIT 1)
  ) AS message FROM places p
)
SELECT s.position, iif(o.url IS NOT NULL AND l.url IS NOT o.url, l.page, l.url) AS url, l.label, l.type, l.reason,
  coalesce(c.clicks, 0) AS clicks,
  iif((SELECT attributed FROM mailing), coalesce(c.unique_clicks, 0), NULL) AS unique_clicks,
  coalesce(c.machine_clicks, 0) AS machine_clicks
FROM shown s
LEFT JOIN links l ON l.message = s.message AND l.position = s.position
LEFT JOIN links o ON o.message = (SELECT id FROM oldest) AND o.position = s.position
LEFT JOIN sums c ON c.position = s.position
WHERE s.position > ?2 ORDER BY s.position LIMIT ?3
"""


def _of_messages(wanted: MessageFilter) -> list[tuple[str, list[Any]]]:
    """What only the messages of a mailing tell."""
    found: list[tuple[str, list[Any]]] = []
    if wanted.message_id is not None:
        found.append(("message_id IN (?, ?)", queries.spellings_of(wanted.message_id)))
    if wanted.recipient is not None:
        found.append(("id IN (SELECT message FROM recipients WHERE address = ?)", [wanted.recipient]))
    return found


def _row(row: dict[str, Any]) -> dict[str, Any]:
    row["name"] = row["mailing"] or row["tag"] or row["subject"]
    if not row.pop("attributed"):
        row["unique_opens"] = row["unique_clicks"] = None
    return row
