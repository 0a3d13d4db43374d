"""Stored hits judged by the rules of today, a message at a time; what they count follows."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tracker.hits.classify import alone, anew, kept
from tracker.model import HitClass, Verdict
from tracker.store import rejudging, uncounted
from tracker.store.base import Judgement, Reclassified
from tracker.store.contributions import Firsts, of_hit, unpack
from tracker.store.copies import verdict_kept
from tracker.store.ledger import Entry, Ledger
from tracker.store.periods import slot_of

_HITS = "SELECT id, recipient, at, type, position, class, kind, reason, rules, agent, signals, alone, counts, client"


def messages(db: sqlite3.Connection, after: str | None, limit: int) -> list[str]:
    """The next messages that were hit, by id."""
    # One look into the primary key a message: a message may have many events.
    found, last = list[str](), after or ""
    while len(found) < limit:
        row = db.execute("SELECT message FROM events WHERE message > ? ORDER BY message LIMIT 1", [last]).fetchone()
        if row is None:
            break
        last = row[0]
        found.append(last)
    return found


def reclassify(
    db: sqlite3.Connection, message: str, since: float, until: float, ledger: Ledger, zone: str
) -> Reclassified:
    """Judge the hits of a message made in a period anew, and whatever they change; the caller holds the
    transaction. ``zone`` is the one whose days part mailings."""
    hits = list(_hits(db, message))
    again = {hit["id"]: _anew(hit) for hit in hits if since <= hit["at"] < until}
    if all(_same(again[hit["id"]], _alone(hit)) for hit in hits if hit["id"] in again):
        return Reclassified(len(again), Counter())
    if db.execute("SELECT 1 FROM messages WHERE id = ? AND NOT counted", [message]).fetchone():
        uncounted.count(db, message, zone)
    rejudging.rejudge_message(db, message, ledger, again)
    for hit in list(_hits(db, message)):
        if hit["recipient"] is None and hit["id"] in again:
            _take_over(db, message, hit, again[hit["id"]], ledger)
    ledger.close()
    after = {hit["id"]: _judgement(hit) for hit in _hits(db, message)}
    moves = ((_judgement(hit), after[hit["id"]]) for hit in hits)
    return Reclassified(len(again), Counter(move for move in moves if move[0] != move[1]))


def _hits(db: sqlite3.Connection, message: str) -> Iterator[dict[str, Any]]:
    rows = db.execute(f"{_HITS} FROM events WHERE message = ? AND class IS NOT NULL", [message])
    names = [name for name, *_ in rows.description]
    return (dict(zip(names, row, strict=True)) for row in rows)


def _judgement(hit: Mapping[str, Any]) -> Judgement:
    return Judgement(hit["class"], hit["kind"])


def _verdict(hit: Mapping[str, Any]) -> Verdict:
    return Verdict(HitClass(hit["class"]), hit["kind"], hit["reason"], hit["rules"])


def _alone(hit: Mapping[str, Any]) -> Verdict:
    """What one hit showed by itself, as it is kept."""
    return verdict_kept(hit["alone"]) if hit["alone"] else alone(None, _verdict(hit))


def _anew(hit: Mapping[str, Any]) -> Verdict:
    """What it shows today."""
    event = "open" if hit["type"] == "open" else "click"
    return anew(kept(event, hit["agent"], json.loads(hit["signals"]) if hit["signals"] else None, _alone(hit)))


def _same(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts are the same, by the same rules."""
    return replace(one, rule="") == replace(other, rule="")


def _take_over(db: sqlite3.Connection, message: str, hit: Mapping[str, Any], verdict: Verdict, ledger: Ledger) -> None:
    """The verdict on a hit that names no recipient; a repeat stays one, since nobody knows any more of what."""
    if hit["kind"] == "repeat":
        verdict = Verdict(verdict.cls, "repeat", hit["reason"], verdict.rules)
    if _same(verdict, _verdict(hit)):
        return
    db.execute(
        "UPDATE events SET class = ?, kind = ?, reason = ?, rules = ? WHERE message = ? AND id = ?",
        [verdict.cls, verdict.kind, verdict.reason, verdict.rules, message, hit["id"]],
    )
    counts: Mapping[str, int] = {}
    if verdict.kind != "repeat":
        human, on_link = verdict.cls is HitClass.HUMAN, (hit["position"] or 0) > 0
        counts = of_hit(hit["type"], human, on_link, Firsts())
    entry = Entry(message, None, hit["position"], hit["type"], hit["client"], slot_of(hit["at"]))
    ledger.change(entry, hit["id"], unpack(hit["counts"]), counts)
