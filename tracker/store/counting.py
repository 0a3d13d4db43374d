"""New hits into rows: judged, counted in memory a batch at a time, and written.

A hit that comes after all others of its recipient's copy, and is no click close to another, is counted alone: by the
last hit that was counted on its token. Any other changes what its neighbours are, and ``rejudging`` looks at them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tracker.hits.classify import classify, signals
from tracker.hits.judging import BURST_SECONDS, REPEAT_SECONDS, as_repeat
from tracker.model import Hit, HitClass, LinkType, Verdict
from tracker.store import copies, rejudging, timeline
from tracker.store.contributions import Counts, Firsts, of_hit, pack
from tracker.store.copies import Copies, Copy, Key
from tracker.store.filing import client_text
from tracker.store.ledger import Entry, Ledger
from tracker.store.periods import slot_of
from tracker.store.tables import page_of


def count(db: sqlite3.Connection, hits: Sequence[Hit], ledger: Ledger) -> None:
    """Count hits that are not in the store yet; the caller holds the transaction."""
    by_copy: dict[Key, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_copy[str(hit.message), hit.recipient].append(hit)
    kept = Copies(db, {((str(hit.message), hit.recipient), hit.position) for hit in hits})
    stamps = {hit.id: ledger.stamp(hit.at) for hit in hits}  # as they were told
    rows: list[tuple[Any, ...]] = []
    late: list[tuple[Key, list[Hit]]] = []
    for key, found in by_copy.items():
        found.sort(key=lambda hit: (hit.at, str(hit.id)))
        copy = kept.get(key)
        ledger.know(key[0])
        if copy is None:
            rows += [_shared(hit, stamps[hit.id], ledger) for hit in found]
        elif _in_order(copy, found):
            rows += [_alone(hit, stamps[hit.id], copy, ledger) for hit in found]
        else:
            rows += [_unjudged(hit, stamps[hit.id], copy, ledger) for hit in found]
            late.append((key, found))
    db.executemany(timeline.INSERT, rows)
    _bare_links(db, hits)
    shared = {(key[0],) for key in by_copy if key[1] is None}
    for (message, recipient), found in late:
        copy = kept.get((message, recipient))
        assert copy is not None
        copy.know_tokens(db)
        for first, last in _stretches(found):
            rejudging.rejudge(db, copy, first, last, ledger)
    kept.write(db)
    ledger.close()
    db.executemany("UPDATE messages SET attributed = 0 WHERE id = ? AND NOT known", list(shared))


def event_type(hit: Hit) -> str:
    """The type of a hit's event: open, click, opt_out_click or mirror_view."""
    special = {LinkType.OPT_OUT: "opt_out_click", LinkType.MIRROR: "mirror_view"}
    return special.get(hit.type, hit.event) if hit.event == "click" else hit.event


def _in_order(copy: Copy, hits: Iterable[Hit]) -> bool:
    """Whether each of these, in order of time, changes nothing of what was before it."""
    at, click_at = copy.hit_at, copy.click_at
    for hit in hits:
        if at is not None and hit.at <= at:
            return False
        if hit.event == "click":
            if click_at is not None and hit.at - click_at <= BURST_SECONDS:
                return False
            click_at = hit.at
        at = hit.at
    return True


def _stretches(hits: Sequence[Hit]) -> Iterable[tuple[float, float]]:
    """First and last times of hits that are close together, earliest first."""
    first = last = hits[0].at
    for hit in hits:
        if hit.at - last > 2 * REPEAT_SECONDS:
            yield first, last
            first = hit.at
        last = hit.at
    yield first, last


def _shared(hit: Hit, recorded: int, ledger: Ledger) -> tuple[Any, ...]:
    """Count a hit that names no recipient; whoever saw it told repeats."""
    verdict = hit.verdict or classify(hit)
    type, counts = event_type(hit), dict[str, int]()
    if verdict.kind != "repeat":
        human, on_link = verdict.cls is HitClass.HUMAN, hit.event == "click" and hit.position > 0
        counts = dict(of_hit(type, human, on_link, Firsts()))
    return _row(hit, recorded, type, verdict, counts, ledger, nameless=False)


def _alone(hit: Hit, recorded: int, copy: Copy, ledger: Ledger) -> tuple[Any, ...]:
    """Count a hit that changes nothing of what was before it."""
    alone = hit.verdict or classify(hit)
    human, token = alone.cls is HitClass.HUMAN, copy.token(hit.position)
    verdict = as_repeat(alone, hit.at, token.human_at if human else token.machine_at)
    type, counts = event_type(hit), copies.NOTHING
    copy.saw(hit.event, hit.at)
    if verdict.kind != "repeat":
        firsts = copy.count(type, human, hit.position, hit.at)
        counts = of_hit(type, human, hit.event == "click" and hit.position > 0, firsts)
    return _row(hit, recorded, type, verdict, counts, ledger, copy.nameless, alone)


def _unjudged(hit: Hit, recorded: int, copy: Copy, ledger: Ledger) -> tuple[Any, ...]:
    """Keep a hit as it shows by itself, not counted yet."""
    copy.saw(hit.event, hit.at)
    return _row(hit, recorded, event_type(hit), hit.verdict or classify(hit), copies.NOTHING, ledger, copy.nameless)


def _row(
    hit: Hit,
    recorded: int,
    type: str,
    verdict: Verdict,
    counts: Counts,
    ledger: Ledger,
    nameless: int,
    alone: Verdict | None = None,
) -> tuple[Any, ...]:
    """The event of a hit; its counts go into the ledger."""
    kept = json.dumps(signals(hit, verdict))
    message, position = str(hit.message), hit.position if hit.position >= 0 else None
    client = client_text(hit.agent)
    if counts:
        ledger.move(Entry(message, hit.recipient, position, type, client, slot_of(hit.at)), counts)
    what = (message, str(hit.id), recorded, hit.at, type, hit.recipient, position)
    judged = (None if nameless else hit.url, verdict.cls.value, verdict.kind, verdict.reason, verdict.rules)
    by_itself = copies.kept_verdict(alone, verdict)
    return (*what, *judged, hit.address, hit.agent, kept, None, pack(counts), client, by_itself)


def _bare_links(db: sqlite3.Connection, hits: Iterable[Hit]) -> None:
    """Links that no acceptance has told of yet, from what the hits know."""
    bare = {
        (str(hit.message), hit.position): (hit.url, page_of(hit.url or ""), hit.type.value)
        for hit in hits
        if hit.event == "click" and hit.position > 0
    }
    db.executemany(
        "INSERT OR IGNORE INTO links (message, position, url, page, type) VALUES (?,?,?,?,?)",
        [(*key, *values) for key, values in bare.items()],
    )
