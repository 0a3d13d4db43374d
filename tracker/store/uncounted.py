"""Messages from before counters were kept by time: what their events contribute is found out once, a few at a time.

What was counted in their own rows stays; of events that are gone it is all that there is, and is filed by the time of
acceptance alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from tracker.mailing import mailing_key
from tracker.model import Accepted, Fact, HitClass
from tracker.store import outcomes, rolling
from tracker.store.base import COLUMNS
from tracker.store.contributions import Counts, Firsts, bounce_of, difference, of_hit, pack
from tracker.store.filing import BY_ACCEPTANCE, TOTALS, Filed, Mailing, Place, client_text, domain_of, filed
from tracker.store.ledger import MESSAGE_COLUMNS
from tracker.store.periods import slot_of
from tracker.store.tables import select


def count_first(db: sqlite3.Connection, facts: Iterable[Fact], zone: str) -> None:
    """Count those of the messages of these facts that are not counted yet; the caller holds the transaction."""
    if not _any(db):
        return
    wanted = {(str(fact.id if isinstance(fact, Accepted) else fact.message),) for fact in facts}
    for message, counted in list(select(db, "messages", "id, counted", ("id",), wanted)):
        if not counted:
            count(db, message, zone)


def count_some(db: sqlite3.Connection, limit: int, zone: str) -> int:
    """Count some messages; how many. The caller holds the transaction."""
    found = db.execute("SELECT id FROM messages WHERE NOT counted ORDER BY id DESC LIMIT ?", [limit]).fetchall()
    for (message,) in found:
        count(db, message, zone)
    return len(found)


def _any(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM messages WHERE NOT counted LIMIT 1").fetchone() is not None


def count(db: sqlite3.Connection, message: str, zone: str) -> None:
    """Count what one message's events contribute."""
    sql = "SELECT known, sender, mailing, tag, subject, accepted_at FROM messages WHERE id = ?"
    known, sender, mailing, tag, subject, at = db.execute(sql, [message]).fetchone()
    key = mailing_key(sender or "", mailing, tag, subject or "", at, zone) if known else None
    links = "SELECT count(*) FROM links WHERE message = ?1 AND tracked"
    db.execute(
        f"UPDATE messages SET counted = 1, mailing_key = ?2, links = ({links}),"  # noqa: S608
        f" tracked_links = ({links} AND type = 'tracked') WHERE id = ?1",
        [message, key],
    )
    people = db.execute("SELECT ordinal, address FROM recipients WHERE message = ?", [message]).fetchall()
    db.executemany(
        "UPDATE recipients SET domain = ? WHERE message = ? AND ordinal = ?",
        [(domain_of(address), message, ordinal) for ordinal, address in people],
    )
    if known:
        counts = pack({"messages": 1, "targeted": len(people)})
        db.execute("UPDATE events SET counts = ? WHERE message = ? AND type = 'accepted'", [counts, message])
    _outcomes(db, message)
    _hits(db, message)
    _opt_outs(db, message)
    _file(db, message, len(people) if known else 0)


def _outcomes(db: sqlite3.Connection, message: str) -> None:
    sql = "SELECT id, reply FROM events WHERE message = ? AND type = 'bounced'"
    for id, reply in db.execute(sql, [message]).fetchall():
        db.execute(
            "UPDATE events SET kind = ?, reason = ? WHERE message = ? AND id = ?",
            [*bounce_of(reply or ""), message, id],
        )
    for status, column in outcomes.FIRSTS.items():
        db.execute(
            f"UPDATE recipients SET {column} = (SELECT min(at) FROM events e WHERE e.message = recipients.message AND"  # noqa: S608
            f" e.recipient = recipients.ordinal AND e.type = '{status}') WHERE message = ?",
            [message],
        )
    for event, counts in outcomes.contributions(db, message):
        db.execute("UPDATE events SET counts = ? WHERE message = ? AND id = ?", [pack(counts), message, event])


def _hits(db: sqlite3.Connection, message: str) -> None:
    """By the verdicts as they were, which counted them then."""
    columns = "id, type, recipient, position, class, kind, agent"
    sql = f"SELECT {columns} FROM events WHERE message = ? AND class IS NOT NULL ORDER BY recipient, at, id"  # noqa: S608
    seen: set[tuple[Any, ...]] = set()
    hits = db.execute(sql, [message]).fetchall()
    for id, type, recipient, position, cls, kind, agent in hits:
        human, on_link, counts = cls == HitClass.HUMAN, type != "open" and bool(position), pack({})
        if kind != "repeat":
            firsts = Firsts()
            if human and recipient is not None:
                unique, first_here = (recipient, type) not in seen, (recipient, type, position) not in seen
                seen |= {(recipient, type), (recipient, type, position)}
                both = unique and {(recipient, "open"), (recipient, "click")} <= seen
                firsts = Firsts(unique, first_here, both and type in ("open", "click"))
            counts = pack(of_hit(type, human, on_link, firsts))
        db.execute(
            "UPDATE events SET counts = ?, client = ? WHERE message = ? AND id = ?",
            [counts, client_text(agent), message, id],
        )
    where = "e.message = recipients.message AND e.recipient = recipients.ordinal AND e.class IS NOT NULL"
    db.execute(
        f"UPDATE recipients SET hit_at = (SELECT max(at) FROM events e WHERE {where}),"  # noqa: S608
        f" click_at = (SELECT max(at) FROM events e WHERE {where} AND e.type <> 'open') WHERE message = ?",
        [message],
    )
    db.execute(
        "UPDATE touches SET first_at = (SELECT min(at) FROM events e WHERE e.message = touches.message"
        " AND e.recipient = touches.recipient AND e.position = touches.position AND e.class = 'human'"
        " AND e.kind <> 'repeat')"
        " WHERE message = ?",
        [message],
    )


def _opt_outs(db: sqlite3.Connection, message: str) -> None:
    for who, at in db.execute("SELECT who, at FROM opt_outs WHERE message = ? AND standing", [message]).fetchall():
        found = db.execute(
            "SELECT id FROM events WHERE message = ? AND type = 'opt_out' AND at = ? AND counts IS NULL", [message, at]
        ).fetchone()
        if found:
            counts = pack({"opt_outs": 1})
            db.execute("UPDATE events SET counts = ? WHERE message = ? AND id = ?", [counts, message, found[0]])
            db.execute("UPDATE opt_outs SET event = ? WHERE message = ? AND who = ?", [found[0], message, who])


def _file(db: sqlite3.Connection, message: str, people: int) -> None:
    """File what the events contribute, and by acceptance alone what the message counted of events that are gone."""
    moves = rolling.contributed(db, [message])
    there: dict[str, int] = {}
    for _, counts in moves:
        for name, by in counts.items():
            there[name] = there.get(name, 0) + by
    found, row = filed(db, moves), _row(db, message)
    whole = {name: row[name] for name in MESSAGE_COLUMNS if name in COLUMNS}
    tracked = {name: there.get(name, 0) for name in ("open_tracked", "click_tracked", "both")}
    whole |= {"targeted": people, "messages": row["known"], "delivered": row["sent"] - row["bounced_later"], **tracked}
    for name in ("open_tracked", "click_tracked"):
        whole[f"attributed_{name}"] = there.get(f"attributed_{name}", 0)
    db.execute(
        "UPDATE messages SET targeted = ?, open_tracked = ?, click_tracked = ?, both = ? WHERE id = ?",
        [people, *tracked.values(), message],
    )
    if row["known"] and (gone := difference({name: there.get(name, 0) for name in whole}, whole)):
        _add_gone(found, row, gone)
    rolling.write(db, found)


def _add_gone(found: Filed, row: dict[str, Any], gone: Counts) -> None:
    of, at = (row["sender"] or "", row["tag"] or ""), row["accepted_at"]
    key = (of[0], row["mailing_key"])
    mailing = found.mailings.setdefault(key, Mailing(row["mailing"], row["tag"], at, at))
    place = found.places[Place(*of, BY_ACCEPTANCE, TOTALS, slot_of(at), "")]
    for name, by in gone.items():
        place[name] += by
        mailing.counts[name] += by
    mailing.instrumented += gone.get("messages", 0) * row["instrumented"]
    mailing.attributed += gone.get("messages", 0) * row["attributed"]


def _row(db: sqlite3.Connection, message: str) -> dict[str, Any]:
    cursor = db.execute("SELECT * FROM messages WHERE id = ?", [message])
    names: Sequence[str] = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))
