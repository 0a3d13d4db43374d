"""Facts into rows: what one transaction does. Idempotent and order-free, so a batch may be repeated whole.

Rows that do not exist yet are made bare from what the fact itself knows; the acceptance fills them in later.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tracker.model import (
    Accepted,
    Fact,
    Hit,
    Link,
    LinkType,
    MirrorPage,
    NoMailbox,
    OptedIn,
    OptedOut,
    Outcome,
    Status,
)
from tracker.store import counting, pages, suppressions, timeline
from tracker.store.tables import add, page_of, select
from tracker.store.timeline import Stamp
from tracker.tokens import without_token


def apply(db: sqlite3.Connection, facts: Sequence[Fact], stamp: Stamp, now: float) -> None:
    """Fold facts in; the caller holds the transaction. Raises sqlite3.Error."""
    for fact in facts:
        if isinstance(fact, Accepted):
            _accept(db, fact, stamp)
    for fact in facts:
        if isinstance(fact, Outcome):
            _conclude(db, fact, stamp)
    for fact in facts:
        if isinstance(fact, MirrorPage):
            pages.keep(db, fact)
    hits = {(str(fact.message), str(fact.id)): fact for fact in facts if isinstance(fact, Hit)}
    if hits:
        known = set(select(db, "SELECT message, id FROM events WHERE (message, id) IN", hits))
        counting.count(db, [hit for key, hit in hits.items() if key not in known], stamp)
    said = [fact for fact in facts if isinstance(fact, OptedOut | OptedIn | NoMailbox)]
    if said:
        suppressions.apply(db, said, stamp, now)


# -- acceptance ------------------------------------------------------------------------------------------------------

_MESSAGE = (
    "INSERT INTO messages (id, known, message_id, mailing, sender, subject, tag, metadata, accepted_at, instrumented,"
    " reason, pixel, attributed) VALUES (?,1,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET known = 1,"
    " message_id = excluded.message_id, mailing = excluded.mailing, sender = excluded.sender,"
    " subject = excluded.subject, tag = excluded.tag, metadata = excluded.metadata,"
    " accepted_at = excluded.accepted_at, instrumented = excluded.instrumented, reason = excluded.reason,"
    " pixel = excluded.pixel, attributed = excluded.attributed, purged = 0"
)


def _accept(db: sqlite3.Connection, fact: Accepted, stamp: Stamp) -> None:
    message = str(fact.id)
    if db.execute("SELECT 1 FROM messages WHERE id = ? AND known", [message]).fetchone():
        return
    metadata = json.dumps(dict(fact.metadata), ensure_ascii=False)
    about = (fact.message_id, fact.mailing, fact.sender, fact.subject, fact.tag, metadata, fact.accepted_at)
    db.execute(_MESSAGE, (message, *about, fact.instrumented, fact.reason, fact.pixel, fact.attributed))
    decided = {
        ordinal
        for (ordinal,) in db.execute(
            "SELECT ordinal FROM recipients WHERE message = ? AND status IS NOT NULL", [message]
        )
    }
    db.executemany(
        "INSERT INTO recipients (message, ordinal, address, status, nameless) VALUES (?,?,?,'pending',?) ON CONFLICT"
        " (message, ordinal) DO UPDATE SET address = excluded.address, nameless = excluded.nameless,"
        " status = coalesce(status, 'pending')",
        [(message, each.ordinal, each.address or None, not each.address) for each in fact.recipients],
    )
    pending = sum(recipient.ordinal not in decided for recipient in fact.recipients)
    db.execute("UPDATE messages SET pending = pending + ? WHERE id = ?", [pending, message])
    db.executemany(
        "INSERT INTO links (message, position, url, page, label, type, reason, tracked) VALUES (?,?,?,?,?,?,?,?)"
        " ON CONFLICT (message, position) DO UPDATE SET url = excluded.url, page = excluded.page,"
        " label = excluded.label, type = excluded.type, reason = excluded.reason, tracked = excluded.tracked",
        [_link_row(message, link) for link in fact.links],
    )
    timeline.log(
        db, stamp, message, timeline.event_id("accepted", message), fact.accepted_at, "accepted", reason=fact.reason
    )


def _link_row(message: str, link: Link) -> tuple[Any, ...]:
    # The query of a link that must never be tracked may be a password: it is not ours to keep. Nor is a token, by which
    # whoever reads it here could opt another out.
    known = without_token(link.url) if link.reason == "already_tracked" else link.url
    page = page_of(known)
    url = page if link.type is LinkType.NEVER else known
    return message, link.position, url, page, link.label, link.type.value, link.reason, link.tracked


# -- outcomes --------------------------------------------------------------------------------------------------------


def _standing(status: str | None, was_sent: bool) -> dict[str, int]:
    """What one recipient in this state adds to its message's counters."""
    if status == Status.BOUNCED and was_sent:
        return {"sent": 1, "bounced": 1, "bounced_later": 1}
    column = {Status.ERROR.value: "errors"}.get(status or "", status)
    return {column: 1} if column else {}


def _conclude(db: sqlite3.Connection, fact: Outcome, stamp: Stamp) -> None:
    message = str(fact.message)
    event = timeline.event_id("outcome", message, fact.recipient, repr(fact.at), fact.status)
    if db.execute("SELECT 1 FROM events WHERE message = ? AND id = ?", [message, event]).fetchone():
        return
    kind = "deferred" if fact.status is Status.PENDING else fact.status.value
    timeline.log(db, stamp, message, event, fact.at, kind, recipient=fact.recipient, reply=fact.reply)
    row = db.execute(
        "SELECT status, status_at, was_sent, reply FROM recipients WHERE message = ? AND ordinal = ?",
        [message, fact.recipient],
    ).fetchone()
    status, status_at, was_sent, reply = row or (None, None, 0, None)
    before = _standing(status, bool(was_sent))
    if status_at is None or fact.at >= status_at:
        status, status_at, reply = fact.status.value, fact.at, fact.reply
    was_sent = bool(was_sent or fact.status is Status.SENT)
    after = _standing(status, was_sent)
    db.execute(
        "INSERT INTO recipients (message, ordinal, status, status_at, was_sent, reply) VALUES (?,?,?,?,?,?)"
        " ON CONFLICT (message, ordinal) DO UPDATE SET status = excluded.status, status_at = excluded.status_at,"
        " was_sent = excluded.was_sent, reply = excluded.reply",
        [message, fact.recipient, status, status_at, was_sent, reply],
    )
    deltas = {name: after.get(name, 0) - before.get(name, 0) for name in {*before, *after}}
    add(db, "messages", ("id",), {(message,): deltas}, {"accepted_at": {(message,): timeline.made_at(fact.message)}})
