"""Hits into rows: judged, counted in memory a batch at a time, and written."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tracker.hits.classify import classify, signals
from tracker.hits.judging import as_repeat
from tracker.model import Hit, HitClass, LinkType, Verdict
from tracker.store import timeline
from tracker.store.tables import Deltas, add, page_of, select
from tracker.store.timeline import Stamp


class _Tally:
    """Counts one batch of new hits in memory, from the rows as they stand."""

    def __init__(self, db: sqlite3.Connection, hits: Sequence[Hit]) -> None:
        people = {(str(hit.message), hit.recipient) for hit in hits if hit.recipient is not None}
        touches = {(str(hit.message), hit.recipient, hit.position) for hit in hits if hit.recipient is not None}
        columns = "SELECT message, recipient, position, human, human_at, machine_at FROM touches"
        self.touches = {
            row[:3]: list(row[3:]) for row in select(db, f"{columns} WHERE (message, recipient, position) IN", touches)
        }
        columns = "SELECT message, ordinal, opens, clicks, nameless FROM recipients"
        found = list(select(db, f"{columns} WHERE (message, ordinal) IN", people))
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
    kept = json.dumps(signals(hit, verdict))
    position = hit.position if hit.position >= 0 else None
    what = (str(hit.message), str(hit.id), recorded, hit.at, event_type(hit), hit.recipient, position, hit.url)
    judged = (verdict.cls.value, verdict.kind, verdict.reason, verdict.rules)
    return what + judged + (hit.address, hit.agent, kept, None)


def count(db: sqlite3.Connection, hits: Sequence[Hit], stamp: Stamp) -> None:
    """Count hits that are not in the store yet; the caller holds the transaction."""
    tally = _Tally(db, hits)
    rows = []
    for hit in hits:
        verdict = tally.add(hit, hit.verdict or classify(hit))
        nameless = (str(hit.message), hit.recipient) in tally.nameless
        rows.append(_event_row(replace(hit, url=None) if nameless else hit, verdict, stamp(hit.at)))
    db.executemany(timeline.INSERT, rows)
    made = {(str(hit.message),): timeline.made_at(hit.message) for hit in hits}
    add(db, "messages", ("id",), tally.messages, {"accepted_at": made})
    shared = {str(hit.message) for hit in hits if hit.recipient is None}
    db.executemany("UPDATE messages SET attributed = 0 WHERE id = ? AND NOT known", [(message,) for message in shared])
    add(db, "recipients", ("message", "ordinal"), tally.recipients, {})
    bare = tally.bare_links
    first: dict[str, dict[Any, Any]] = {
        "url": {key: url for key, (url, _) in bare.items()},
        "page": {key: page_of(url or "") for key, (url, _) in bare.items()},
        "type": {key: kind for key, (_, kind) in bare.items()},
    }
    add(db, "links", ("message", "position"), tally.links, first)
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
