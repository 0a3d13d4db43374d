"""Facts into rows: what one transaction does. Idempotent and order-free, so a batch may be repeated whole.

Rows that do not exist yet are made bare from what the fact itself knows; the acceptance fills them in later.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tracker.hits.judging import BURST_LINKS
from tracker.mailing import mailing_key
from tracker.model import (
    Accepted,
    Complained,
    Fact,
    Hit,
    Link,
    LinkType,
    MirrorPage,
    Outcome,
    Returned,
)
from tracker.store import (
    counting,
    outcomes,
    pages,
    rejudging,
    returning,
    rolling,
    suppressions,
    timeline,
    uncounted,
)
from tracker.store.filing import domain_of
from tracker.store.ledger import Ledger
from tracker.store.tables import page_of, select
from tracker.store.timeline import Stamp
from tracker.tokens import without_token


def apply(db: sqlite3.Connection, facts: Sequence[Fact], stamp: Stamp, now: float, zone: str) -> None:
    """Fold facts in; the caller holds the transaction. ``zone`` is the one whose days part mailings. Raises
    sqlite3.Error."""
    ledger = Ledger(db, stamp)
    uncounted.count_first(db, facts, zone)
    for fact in facts:
        if isinstance(fact, Accepted):
            _accept(db, fact, ledger, zone)
    for fact in facts:
        if isinstance(fact, Outcome):
            outcomes.conclude(db, fact, ledger)
    for fact in facts:
        if isinstance(fact, Returned):
            outcomes.come_back(db, fact, ledger)
        elif isinstance(fact, Complained):
            returning.complain(fact, ledger)
    for fact in facts:
        if isinstance(fact, MirrorPage):
            pages.keep(db, fact)
    hits = {(str(fact.message), str(fact.id)): fact for fact in facts if isinstance(fact, Hit)}
    if hits:
        known = set(select(db, "events", "message, id", ("message", "id"), hits))
        counting.count(db, [hit for key, hit in hits.items() if key not in known], ledger)
    said = [fact for fact in facts if isinstance(fact, suppressions.Said)]
    if said:
        suppressions.apply(db, said, ledger, now)
    ledger.close()


# -- acceptance ------------------------------------------------------------------------------------------------------

_MESSAGE = (
    "INSERT INTO messages (id, known, message_id, mailing, sender, subject, tag, metadata, accepted_at, instrumented,"
    " reason, pixel, attributed, mailing_key, links, tracked_links, reverse_path, counted)"
    " VALUES (?,1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,1) ON CONFLICT (id) DO UPDATE SET known = 1,"
    " message_id = excluded.message_id, mailing = excluded.mailing, sender = excluded.sender,"
    " subject = excluded.subject, tag = excluded.tag, metadata = excluded.metadata,"
    " accepted_at = excluded.accepted_at, instrumented = excluded.instrumented, reason = excluded.reason,"
    " pixel = excluded.pixel, attributed = excluded.attributed, mailing_key = excluded.mailing_key,"
    " links = excluded.links, tracked_links = excluded.tracked_links, reverse_path = excluded.reverse_path, purged = 0"
)


def _accept(db: sqlite3.Connection, fact: Accepted, ledger: Ledger, zone: str) -> None:
    message = str(fact.id)
    found = db.execute("SELECT known FROM messages WHERE id = ?", [message]).fetchone()
    if found is None:
        _write_message(db, fact, ledger, zone)
    elif not found[0]:
        # What came in before was counted without all this.
        with rolling.refiling(db, ledger, [message]):
            _write_message(db, fact, ledger, zone)
            outcomes.recount(db, message, ledger)
            if 3 <= _copy_links(fact) < BURST_LINKS:
                rejudging.rejudge_message(db, message, ledger)


def _copy_links(fact: Accepted) -> int:
    """How many links of a copy lead through us; those that stand for one page of ours are one, as they are to hits."""
    return len({link.target if link.target.startswith("{{") else link.position for link in fact.links if link.tracked})


def _write_message(db: sqlite3.Connection, fact: Accepted, ledger: Ledger, zone: str) -> None:
    message = str(fact.id)
    metadata = json.dumps(dict(fact.metadata), ensure_ascii=False)
    about = (fact.message_id, fact.mailing, fact.sender, fact.subject, fact.tag, metadata, fact.accepted_at)
    key = mailing_key(fact.sender, fact.mailing, fact.tag, fact.subject, fact.accepted_at, zone)
    tracked = sum(link.tracked and link.type is LinkType.TRACKED for link in fact.links)
    more = (fact.instrumented, fact.reason, fact.pixel, fact.attributed, key, _copy_links(fact), tracked)
    db.execute(_MESSAGE, (message, *about, *more, fact.reverse_path))
    decided = {
        ordinal
        for (ordinal,) in db.execute(
            "SELECT ordinal FROM recipients WHERE message = ? AND status IS NOT NULL", [message]
        )
    }
    db.executemany(
        "INSERT INTO recipients (message, ordinal, address, domain, status, nameless) VALUES (?,?,?,?,'pending',?)"
        " ON CONFLICT (message, ordinal) DO UPDATE SET address = excluded.address, domain = excluded.domain,"
        " nameless = excluded.nameless, status = coalesce(status, 'pending')",
        [
            (message, each.ordinal, each.address or None, domain_of(each.address), not each.address)
            for each in fact.recipients
        ],
    )
    ledger.pend(message, sum(recipient.ordinal not in decided for recipient in fact.recipients))
    db.executemany(
        "INSERT INTO links (message, position, url, page, label, type, reason, tracked) VALUES (?,?,?,?,?,?,?,?)"
        " ON CONFLICT (message, position) DO UPDATE SET url = excluded.url, page = excluded.page,"
        " label = excluded.label, type = excluded.type, reason = excluded.reason, tracked = excluded.tracked",
        [_link_row(message, link) for link in fact.links],
    )
    event, counts = timeline.event_id("accepted", message), {"messages": 1, "targeted": len(fact.recipients)}
    ledger.log(message, event, fact.accepted_at, "accepted", reason=fact.reason, counts=counts)


def _link_row(message: str, link: Link) -> tuple[Any, ...]:
    # The query of a link that must never be tracked may be a password: it is not ours to keep. Nor is a token, by which
    # whoever reads it here could opt another out.
    known = without_token(link.url) if link.reason == "already_tracked" else link.url
    page = page_of(known)
    url = page if link.type is LinkType.NEVER else known
    return message, link.position, url, page, link.label, link.type.value, link.reason, link.tracked
