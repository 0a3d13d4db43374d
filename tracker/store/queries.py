"""What is read from the SQLite store, as rows with the contract's column names (times in seconds)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tracker.store.base import MessageFilter, Page, Row
from tracker.tokens import without_token

_DERIVED = (
    "*, suppressed + sent + bounced - bounced_later + errors + pending AS recipients, sent - bounced_later AS delivered"
)
CONDITIONS = {
    "pending": "pending > 0",
    "sent": "sent > 0",
    "delivered": "sent > bounced_later",
    "bounced": "bounced > 0",
    "error": "errors > 0",
    "suppressed": "suppressed > 0",
}
STATUSES = tuple(CONDITIONS)
"""What messages can be filtered by."""


def rows(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """What a SELECT finds, by column."""
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def page(rows: list[dict[str, Any]], limit: int, *keys: str) -> Page:
    """A page; ``rows`` has one more than asked for where there is more, which goes on after these ``keys``."""
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], json.dumps([last[key] for key in keys]))


def key_after(after: str, *types: type) -> list[Any]:
    """The key inside a cursor. Raises ValueError if it is not one of this list's."""
    key = json.loads(after)
    if not isinstance(key, list) or [type(value) for value in key] != list(types):
        raise ValueError("not a cursor of this list")
    if any(isinstance(value, int) and value.bit_length() > 63 for value in key):
        raise ValueError("not a cursor of this list")
    return key


def like(text: str) -> str:
    """The pattern of LIKE for what holds a text."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def spellings_of(message_id: str) -> list[Any]:
    """A Message-ID without and with its brackets."""
    bare = message_id.strip().removeprefix("<").removesuffix(">")
    return [bare, f"<{bare}>"]


def _message_row(row: dict[str, Any]) -> dict[str, Any]:
    row["metadata"] = json.loads(row["metadata"])
    row["instrumented"], row["pixel"] = bool(row["instrumented"]), bool(row["pixel"])
    if not row["attributed"]:
        row["unique_opens"] = row["unique_clicks"] = None
    return row


def messages(db: sqlite3.Connection, wanted: MessageFilter, limit: int, after: str | None) -> Page:
    """Newest first by id, which holds the time: an order that new messages never disturb."""
    where, values = ["1"], list[Any]()
    for column in ("sender", "tag", "mailing", "mailing_key"):
        if (value := getattr(wanted, column)) is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.message_id is not None:
        where.append("message_id IN (?, ?)")
        values += spellings_of(wanted.message_id)
    if wanted.recipient is not None:
        where.append("id IN (SELECT message FROM recipients WHERE address = ?)")
        values.append(wanted.recipient)
    if wanted.status is not None:
        where.append(CONDITIONS[wanted.status])
    if wanted.q:
        found = " OR ".join(f"{name} LIKE ? ESCAPE '\\'" for name in ("subject", "sender", "tag", "message_id", "id"))
        someone = "id IN (SELECT message FROM recipients WHERE address LIKE ? ESCAPE '\\')"
        where.append(f"({found} OR {someone})")
        values += [like(wanted.q)] * 6
    for bound, test in ((wanted.since, "accepted_at >= ?"), (wanted.until, "accepted_at < ?")):
        if bound is not None:
            where.append(test)
            values.append(bound)
    if after is not None:
        where.append("id < ?")
        values += key_after(after, str)
    sql = f"SELECT {_DERIVED} FROM messages WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"  # noqa: S608
    return page([_message_row(row) for row in rows(db, sql, [*values, limit + 1])], limit, "id")


def message(db: sqlite3.Connection, message: str) -> Row | None:
    """One message by id."""
    found = rows(db, f"SELECT {_DERIVED} FROM messages WHERE id = ?", [message])  # noqa: S608
    return _message_row(found[0]) if found else None


def recipients(db: sqlite3.Connection, message: str) -> list[dict[str, Any]]:
    """All recipients of a message; a message has a bounded number of them."""
    columns = "ordinal, address, status, status_at, reply, opens, clicks, machine_opens, machine_clicks"
    times = "first_open_at, last_open_at, first_click_at, last_click_at"
    sql = f"SELECT {columns}, {times} FROM recipients WHERE message = ? ORDER BY ordinal"  # noqa: S608
    return rows(db, sql, [message])


def links(db: sqlite3.Connection, message: str, limit: int, after: str | None) -> Page:
    """Links by position."""
    (position,) = key_after(after, int) if after else (-1,)
    found = rows(
        db,
        "SELECT l.position, l.url, l.label, l.type, l.reason, l.tracked, l.clicks, l.machine_clicks,"
        " CASE WHEN m.attributed THEN l.unique_clicks END AS unique_clicks FROM links l"
        " JOIN messages m ON m.id = l.message WHERE l.message = ? AND l.position > ? ORDER BY l.position LIMIT ?",
        [message, position, limit + 1],
    )
    for row in found:
        row["tracked"] = bool(row["tracked"])
        if row["reason"] == "already_tracked":
            row["url"] = without_token(row["url"])
    return page(found, limit, "position")


_EVENT = ", ".join(
    f"e.{name}"
    for name in (
        *("message", "id", "recorded", "at", "type", "recipient", "position", "url", "class", "kind", "reason"),
        *("rules", "address", "agent", "signals", "reply"),
    )
)


def events(
    db: sqlite3.Connection,
    limit: int,
    after: str | None,
    message: str | None,
    kind: str | None,
    since: float | None,
    until: float | None,
    recipient: int | None = None,
) -> Page:
    """Events by their place in the order of recording."""
    where, values = ["1"], list[Any]()
    # An event is never recorded before it happened, so ``since`` bounds the walk through the index too.
    for bound, tests in ((since, "e.at >= ? AND e.recorded >= ?"), (until, "e.at < ?")):
        if bound is not None:
            where.append(tests)
            values += [bound, int(bound * 1e6)][: tests.count("?")]
    for value, test in ((message, "e.message = ?"), (kind, "e.type = ?"), (recipient, "e.recipient = ?")):
        if value is not None:
            where.append(test)
            values.append(value)
    if after is not None:
        where.append("e.recorded > ?")
        values += key_after(after, int)
    joined = "events e LEFT JOIN recipients r ON r.message = e.message AND r.ordinal = e.recipient"
    sql = f"SELECT {_EVENT}, r.address AS recipient_address FROM {joined} WHERE {' AND '.join(where)}"  # noqa: S608
    found = rows(db, f"{sql} ORDER BY e.recorded LIMIT ?", [*values, limit + 1])
    for row in found:
        row["signals"] = json.loads(row["signals"]) if row["signals"] else None
        row["cursor"] = f"[{row['recorded']}]"
    return page(found, limit, "recorded")


def senders(db: sqlite3.Connection, limit: int) -> list[str]:
    """Senders of whom there is mail, from one to the next in the index: as fast for ten million messages as for ten."""
    sql = (
        "WITH RECURSIVE known (sender) AS (SELECT min(sender) FROM messages UNION ALL"
        " SELECT (SELECT min(m.sender) FROM messages m WHERE m.sender > known.sender) FROM known"
        " WHERE known.sender IS NOT NULL) SELECT sender FROM known WHERE sender > '' LIMIT ?"
    )
    return [sender for (sender,) in db.execute(sql, [limit])]


def urls(db: sqlite3.Connection, sender: str | None, limit: int, after: str | None, q: str | None = None) -> Page:
    """URLs without their query, those of ours left out, each with the type that its newest link has."""
    # With one max() among the columns SQLite takes those that are not summed from the row that has it.
    where, values = ["l.page <> ''", "l.reason IS NOT 'already_tracked'"], list[Any]()
    if sender is not None:
        where.append("m.sender = ?")
        values.append(sender)
    if q:
        where.append("l.page LIKE ? ESCAPE '\\'")
        values.append(like(q))
    if after is not None:
        where.append("l.page > ?")
        values += key_after(after, str)
    columns = (
        "l.page AS url, l.type AS type, count(*) AS links, count(DISTINCT l.message) AS messages,"
        " sum(l.clicks) AS clicks, sum(l.machine_clicks) AS machine_clicks, max(m.accepted_at) AS last_seen_at"
    )
    joined = f"links l JOIN messages m ON m.id = l.message WHERE {' AND '.join(where)}"
    grouped = "GROUP BY l.page ORDER BY l.page LIMIT ?"
    found = rows(db, f"SELECT {columns} FROM {joined} {grouped}", [*values, limit + 1])  # noqa: S608
    return page(found, limit, "url")
