"""Facts into rows: what one transaction does. Idempotent and order-free, so a batch may be repeated whole.

Rows that do not exist yet are made bare from what the fact itself knows; the acceptance fills them in later.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tracker.hits.classify import classify
from tracker.hits.judging import as_repeat
from tracker.model import (
    Accepted,
    Fact,
    Hit,
    HitClass,
    Link,
    LinkType,
    MirrorPage,
    NoMailbox,
    OptedIn,
    OptedOut,
    Outcome,
    Status,
    Verdict,
)
from tracker.store import pages, suppressions, timeline
from tracker.store.timeline import Stamp

_CHUNK = 200
"""Keys a SELECT: three columns each stay under SQLite's smallest limit of 999 variables."""


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
        known = set(_select(db, "SELECT message, id FROM events WHERE (message, id) IN", hits))
        _count(db, [hit for key, hit in hits.items() if key not in known], stamp)
    said = [fact for fact in facts if isinstance(fact, OptedOut | OptedIn | NoMailbox)]
    if said:
        suppressions.apply(db, said, stamp, now)


def page_of(url: str) -> str:
    """A URL without its query and fragment."""
    return url.partition("#")[0].partition("?")[0]


def _select(db: sqlite3.Connection, sql: str, keys: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    wanted = list(keys)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        row = f"({', '.join('?' * len(chunk[0]))})"
        yield from db.execute(f"{sql} (VALUES {', '.join([row] * len(chunk))})", [v for key in chunk for v in key])


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
    # The query of a link that must never be tracked may be a password: it is not ours to keep.
    page = page_of(link.url)
    url = page if link.type is LinkType.NEVER else link.url
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
    _add(db, "messages", ("id",), {(message,): deltas}, {"accepted_at": {(message,): timeline.made_at(fact.message)}})


# -- hits ------------------------------------------------------------------------------------------------------------

Deltas = dict[tuple[Any, ...], dict[str, int]]


def _add(
    db: sqlite3.Connection, table: str, keys: tuple[str, ...], deltas: Deltas, first: dict[str, dict[Any, Any]]
) -> None:
    """Add to counters, making bare rows where there are none with the columns in ``first``."""
    names = sorted({name for counts in deltas.values() for name in counts})
    columns = [*keys, *first, *names]
    moves = ", ".join(f"{name} = {name} + excluded.{name}" for name in names)
    conflict = f"DO UPDATE SET {moves}" if moves else "DO NOTHING"
    db.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        f" ON CONFLICT ({', '.join(keys)}) {conflict}",
        [
            [*key, *(values[key] for values in first.values()), *(counts.get(name, 0) for name in names)]
            for key, counts in deltas.items()
        ],
    )


class _Tally:
    """Counts one batch of new hits in memory, from the rows as they stand."""

    def __init__(self, db: sqlite3.Connection, hits: Sequence[Hit]) -> None:
        people = {(str(hit.message), hit.recipient) for hit in hits if hit.recipient is not None}
        touches = {(str(hit.message), hit.recipient, hit.position) for hit in hits if hit.recipient is not None}
        select = "SELECT message, recipient, position, human, human_at, machine_at FROM touches"
        self.touches = {
            row[:3]: list(row[3:]) for row in _select(db, f"{select} WHERE (message, recipient, position) IN", touches)
        }
        select = "SELECT message, ordinal, opens, clicks, nameless FROM recipients"
        found = list(_select(db, f"{select} WHERE (message, ordinal) IN", people))
        self.people = {row[:2]: list(row[2:4]) for row in found}
        self.nameless = {row[:2] for row in found if row[4]}
        self.messages: Deltas = defaultdict(lambda: defaultdict(int))
        self.links: Deltas = defaultdict(lambda: defaultdict(int))
        self.recipients: Deltas = defaultdict(lambda: defaultdict(int))
        self.bare_links: dict[tuple[Any, ...], tuple[str | None, str]] = {}
        self.times: dict[tuple[str, int, str], list[float]] = defaultdict(list)

    def add(self, hit: Hit, verdict: Verdict) -> Verdict:
        """Count one hit; the verdict as it stands after a look at the token's last counted hit."""
        message = str(hit.message)
        human = verdict.cls is HitClass.HUMAN
        touch = None
        if hit.recipient is not None:
            touch = self.touches.setdefault((message, hit.recipient, hit.position), [0, None, None])
            verdict = as_repeat(verdict, hit.at, touch[1] if human else touch[2])
        counts = self.messages[(message,)]
        if hit.event == "click" and hit.position > 0:
            self.bare_links.setdefault((message, hit.position), (hit.url, hit.type.value))
            _ = self.links[(message, hit.position)]
        if hit.recipient is not None:
            _ = self.recipients[(message, hit.recipient)]
        if verdict.kind == "repeat":
            return verdict
        if touch is not None:
            touch[1 if human else 2] = hit.at
            touch[0] += human
        self._tell(hit, human, counts, first=touch is not None and human and touch[0] == 1)
        return verdict

    def _tell(self, hit: Hit, human: bool, counts: dict[str, int], first: bool) -> None:
        message, machine = str(hit.message), "" if human else "machine_"
        if hit.event == "click" and hit.position > 0:
            link = self.links[(message, hit.position)]
            link[f"{machine}clicks"] += 1
            link["unique_clicks"] += first
        if human and hit.type is not LinkType.TRACKED:
            counts["opt_out_clicks" if hit.type is LinkType.OPT_OUT else "mirror_views"] += 1
            return
        what = "opens" if hit.event == "open" else "clicks"
        counts[machine + what] += 1
        if hit.recipient is None:
            return
        self.recipients[(message, hit.recipient)][machine + what] += 1
        if human:
            so_far = self.people.setdefault((message, hit.recipient), [0, 0])
            index = 0 if what == "opens" else 1
            counts[f"unique_{what}"] += so_far[index] == 0
            so_far[index] += 1
            self.times[(message, hit.recipient, what[:-1])].append(hit.at)


def event_type(hit: Hit) -> str:
    """The type of a hit's event: open, click, opt_out_click or mirror_view."""
    special = {LinkType.OPT_OUT: "opt_out_click", LinkType.MIRROR: "mirror_view"}
    return special.get(hit.type, hit.event) if hit.event == "click" else hit.event


def _event_row(hit: Hit, verdict: Verdict, recorded: int) -> tuple[Any, ...]:
    signals = json.dumps({"method": hit.method, **hit.headers, "rule": verdict.rule})
    position = hit.position if hit.position >= 0 else None
    what = (str(hit.message), str(hit.id), recorded, hit.at, event_type(hit), hit.recipient, position, hit.url)
    judged = (verdict.cls.value, verdict.kind, verdict.reason, verdict.rules)
    return what + judged + (hit.address, hit.agent, signals, None)


def _count(db: sqlite3.Connection, hits: Sequence[Hit], stamp: Stamp) -> None:
    tally = _Tally(db, hits)
    rows = []
    for hit in hits:
        verdict = tally.add(hit, hit.verdict or classify(hit))
        nameless = (str(hit.message), hit.recipient) in tally.nameless
        rows.append(_event_row(replace(hit, url=None) if nameless else hit, verdict, stamp(hit.at)))
    db.executemany(timeline.INSERT, rows)
    made = {(str(hit.message),): timeline.made_at(hit.message) for hit in hits}
    _add(db, "messages", ("id",), tally.messages, {"accepted_at": made})
    shared = {str(hit.message) for hit in hits if hit.recipient is None}
    db.executemany("UPDATE messages SET attributed = 0 WHERE id = ? AND NOT known", [(message,) for message in shared])
    _add(db, "recipients", ("message", "ordinal"), tally.recipients, {})
    bare = tally.bare_links
    first: dict[str, dict[Any, Any]] = {
        "url": {key: url for key, (url, _) in bare.items()},
        "page": {key: page_of(url or "") for key, (url, _) in bare.items()},
        "type": {key: kind for key, (_, kind) in bare.items()},
    }
    _add(db, "links", ("message", "position"), tally.links, first)
    db.executemany(
        "INSERT INTO touches (message, recipient, position, human, human_at, machine_at) VALUES (?,?,?,?,?,?)"
        " ON CONFLICT (message, recipient, position) DO UPDATE SET human = excluded.human,"
        " human_at = excluded.human_at, machine_at = excluded.machine_at",
        [(*key, *values) for key, values in tally.touches.items()],
    )
    for what in ("open", "click"):
        db.executemany(
            f"UPDATE recipients SET first_{what}_at = min(coalesce(first_{what}_at, ?1), ?1),"  # noqa: S608
            f" last_{what}_at = max(coalesce(last_{what}_at, ?2), ?2) WHERE message = ?3 AND ordinal = ?4",
            [
                (min(times), max(times), message, ordinal)
                for (message, ordinal, kind), times in tally.times.items()
                if kind == what
            ],
        )
