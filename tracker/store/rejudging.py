"""Stored hits judged anew, where one that came late, or a rule, changes what its neighbours are.

Only a stretch of one copy's hits is loaded: those whose verdict may change, and those that these lean on. It grows
until what comes after it is as it was. Whatever order hits come in, they end up as if they had come by their time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracker.hits.classify import alone as alone_of
from tracker.hits.judging import BURST_SECONDS, REPEAT_SECONDS, WINDOW, Judged, judge
from tracker.model import MIRROR_PAGE, OPT_OUT_PAGE, HitClass, Verdict
from tracker.store.contributions import Counts, Firsts, of_hit, unpack
from tracker.store.copies import NOTHING, Copy, kept_verdict, load, verdict_kept, write
from tracker.store.ledger import Entry, Ledger
from tracker.store.periods import slot_of

_COLUMNS = "id, at, type, position, class, kind, reason, rules, alone, counts, client"
_PAGES = {"opt_out_click": OPT_OUT_PAGE, "mirror_view": MIRROR_PAGE}
_CHUNK = 5000
"""Hits of one copy that are looked at together where all of them are judged anew."""


@dataclass(slots=True)
class _Seen:
    """A stored hit: what it showed by itself, what it is taken for and what it contributes."""

    id: str
    at: float
    type: str
    position: int
    alone: Verdict
    verdict: Verdict
    counts: Counts
    client: str | None

    @property
    def order(self) -> tuple[float, str]:
        return self.at, self.id

    @property
    def human(self) -> bool:
        """Whether it counts as a person's."""
        return self.verdict.cls is HitClass.HUMAN and self.verdict.kind != "repeat"

    @property
    def judged(self) -> Judged:
        event = "open" if self.type == "open" else "click"
        return Judged(self.id, self.at, event, self.position, self.alone)


def rejudge(
    db: sqlite3.Connection,
    copy: Copy,
    first: float,
    last: float,
    ledger: Ledger,
    alone: Mapping[str, Verdict] | None = None,
) -> None:
    """Judge the hits of a copy from ``first`` to ``last`` anew, and whatever they change; ``alone`` tells what some of
    them show by themselves if not what was kept. The copy must know its tokens; whoever calls writes it and closes the
    ledger."""
    links = db.execute("SELECT links FROM messages WHERE id = ?", [copy.message]).fetchone()
    begin, reach = first - BURST_SECONDS, 1.0
    while True:
        end = last + BURST_SECONDS + reach
        seen = _between(db, copy, begin - WINDOW, end + BURST_SECONDS)
        for hit in seen:
            if alone and hit.id in alone:
                hit.alone = alone[hit.id]
        standing = {hit.id: hit.verdict for hit in seen if hit.at < begin}
        verdicts = judge([hit.judged for hit in seen], links[0] if links else None, standing)
        changed = [
            hit.at
            for hit, verdict in zip(seen, verdicts, strict=True)
            if begin <= hit.at <= end and _weight(verdict) != _weight(hit.verdict)
        ]
        settled = max(changed, default=begin) + REPEAT_SECONDS
        if settled < end or end >= (copy.hit_at or 0.0):
            break
        reach = 2 * reach + REPEAT_SECONDS
    inside = [(hit, verdict) for hit, verdict in zip(seen, verdicts, strict=True) if begin <= hit.at <= end]
    _settle(db, copy, inside, (begin, end), ledger)


def rejudge_message(
    db: sqlite3.Connection, message: str, ledger: Ledger, alone: Mapping[str, Verdict] | None = None
) -> None:
    """Judge every hit of a message anew; as ``rejudge``, but all is written."""
    sql = "SELECT DISTINCT recipient FROM events WHERE message = ? AND class IS NOT NULL AND recipient IS NOT NULL"
    for (recipient,) in db.execute(sql, [message]).fetchall():
        copy = load(db, message, recipient)
        for first, last in _chunks(db, copy):
            rejudge(db, copy, first, last, ledger, alone)
        write(db, [copy])
    ledger.close()


def _weight(verdict: Verdict) -> tuple[HitClass, bool]:
    """What of a verdict bears on other hits."""
    return verdict.cls, verdict.kind == "repeat"


def _chunks(db: sqlite3.Connection, copy: Copy) -> Iterable[tuple[float, float]]:
    sql = "SELECT at FROM events WHERE message = ? AND recipient = ? AND class IS NOT NULL ORDER BY at"
    times = [at for (at,) in db.execute(sql, [copy.message, copy.recipient])]
    for start in range(0, len(times), _CHUNK):
        chunk = times[start : start + _CHUNK]
        yield chunk[0], chunk[-1]


# -- loading ---------------------------------------------------------------------------------------------------------


def _between(db: sqlite3.Connection, copy: Copy, first: float, last: float) -> list[_Seen]:
    """The hits of a copy from a time to a time, in order."""
    # Ids of hits begin with their time (UUIDv7), so the primary key finds them.
    values = [copy.message, _prefix(first, -1), _prefix(last, 2), copy.recipient, first, last]
    where = "message = ? AND id >= ? AND id < ? AND recipient = ? AND class IS NOT NULL AND at BETWEEN ? AND ?"
    rows = db.execute(f"SELECT {_COLUMNS} FROM events WHERE {where}", values)  # noqa: S608
    return sorted(map(_seen, rows), key=lambda hit: hit.order)


def _prefix(at: float, milliseconds: int) -> str:
    digits = f"{max(0, int(at * 1000) + milliseconds):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _seen(row: tuple[Any, ...]) -> _Seen:
    id, at, type, position, cls, kind, reason, rules, alone, counts, client = row
    verdict = Verdict(HitClass(cls), kind, reason, rules)
    by_itself = verdict_kept(alone) if alone else alone_of(None, verdict) if kind == "repeat" else verdict
    place = position if position is not None else _PAGES.get(type, 0)
    return _Seen(id, at, type, place, by_itself, verdict, unpack(counts), client)


def _nearest(db: sqlite3.Connection, copy: Copy, what: str, value: Any, bound: float, later: bool) -> float | None:
    """The time of the next person's counted hit after ``bound``, or of the last before it, whose column ``what`` has a
    value."""
    after = "id >= ? AND at > ? AND recipient = ? ORDER BY id"
    before = "id < ? AND at < ? AND recipient = ? ORDER BY id DESC"
    found = db.execute(
        f"SELECT at FROM events WHERE message = ? AND {what} = ? AND class = 'human' AND counts IS NOT NULL"  # noqa: S608
        f" AND {after if later else before} LIMIT 1",
        [copy.message, value, _prefix(bound, -1 if later else 2), bound, copy.recipient],
    ).fetchone()
    return found[0] if found else None


# -- counting --------------------------------------------------------------------------------------------------------

Place = str | int
"""``open`` or ``click`` of the whole copy, or the position of a link."""


def _settle(
    db: sqlite3.Connection,
    copy: Copy,
    inside: list[tuple[_Seen, Verdict]],
    stretch: tuple[float, float],
    ledger: Ledger,
) -> None:
    """Take over the verdicts on the hits of a stretch: into the copy, the events and the ledger."""
    before, stored = _firsts(copy), {hit.id: hit.verdict for hit, _ in inside}
    for hit, verdict in inside:
        if hit.counts:  # one that just came in is not counted yet
            _tell(copy, hit, -1)
        hit.verdict = verdict
        _tell(copy, hit, 1)
    hits = [hit for hit, _ in inside]
    _find_ends(db, copy, hits, stretch)
    after = _firsts(copy)
    moved = {at for place, now in after.items() if (was := before.get(place)) != now for at in (was, now)}
    for at in moved:
        if at is not None and not stretch[0] <= at <= stretch[1]:
            hits += [hit for hit in _between(db, copy, at, at) if hit.counts]
    _write(db, copy, hits, stored, ledger)


def _firsts(copy: Copy) -> dict[Place, float | None]:
    """When a person first opened, clicked, did both, clicked each link."""
    found: dict[Place, float | None] = {"open": copy.first_open_at, "click": copy.first_click_at, "both": None}
    if copy.first_open_at is not None and copy.first_click_at is not None:
        found["both"] = max(copy.first_open_at, copy.first_click_at)
    return {**found, **{position: token.first_at for position, token in copy.tokens.items() if position > 0}}


def _tell(copy: Copy, hit: _Seen, by: int) -> None:
    """Count a hit into the copy, or out of it."""
    if hit.verdict.kind == "repeat":
        return
    if hit.verdict.cls is HitClass.HUMAN:
        copy.token(hit.position).human += by
    machine = "" if hit.verdict.cls is HitClass.HUMAN else "machine_"
    if hit.type in ("open", "click") or machine:
        name = f"{machine}{'opens' if hit.type == 'open' else 'clicks'}"
        setattr(copy, name, getattr(copy, name) + by)


def _find_ends(db: sqlite3.Connection, copy: Copy, hits: list[_Seen], stretch: tuple[float, float]) -> None:
    """The firsts and lasts of the copy and its tokens, where the hits of a stretch may be others now."""
    for type, left in (("open", copy.opens), ("click", copy.clicks)):
        inside, what = [hit.at for hit in hits if hit.human and hit.type == type], ("type", type)
        first, last = f"first_{type}_at", f"last_{type}_at"
        setattr(copy, first, _first(db, copy, what, inside, getattr(copy, first), stretch, left))
        setattr(copy, last, _last(db, copy, what, inside, getattr(copy, last), stretch, left))
    for position, token in copy.tokens.items():
        here = [hit for hit in hits if hit.position == position]
        inside = [hit.at for hit in here if hit.human]
        if position > 0:
            token.first_at = _first(db, copy, ("position", position), inside, token.first_at, stretch, token.human)
        token.human_at = _counted(token.human_at, inside, stretch)
        machines = [hit.at for hit in here if hit.verdict.cls is HitClass.MACHINE and hit.verdict.kind != "repeat"]
        token.machine_at = _counted(token.machine_at, machines, stretch)


def _first(
    db: sqlite3.Connection,
    copy: Copy,
    what: tuple[str, Any],
    inside: list[float],
    old: float | None,
    stretch: tuple[float, float],
    left: int,
) -> float | None:
    """The first of ``left`` hits, those ``inside`` the stretch among them."""
    begin, end = stretch
    if old is not None and old < begin:
        return old
    if inside or left <= 0:
        return min(inside, default=None)
    return old if old is not None and old > end else _nearest(db, copy, *what, end, later=True)


def _last(
    db: sqlite3.Connection,
    copy: Copy,
    what: tuple[str, Any],
    inside: list[float],
    old: float | None,
    stretch: tuple[float, float],
    left: int,
) -> float | None:
    """The last of them."""
    begin, end = stretch
    if old is not None and old > end:
        return old
    if inside or left <= 0:
        return max(inside, default=None)
    return old if old is not None and old < begin else _nearest(db, copy, *what, begin, later=False)


def _counted(old: float | None, inside: list[float], stretch: tuple[float, float]) -> float | None:
    """The last counted hit on a token, as far as one may still come that repeats it."""
    if old is not None and stretch[0] <= old <= stretch[1]:
        old = None
    return max([*inside, *([] if old is None else [old])], default=None)


def _write(
    db: sqlite3.Connection, copy: Copy, hits: list[_Seen], stored: Mapping[str, Verdict], ledger: Ledger
) -> None:
    """Write the events that changed; what they contribute goes into the ledger."""
    hits.sort(key=lambda hit: hit.order)
    firsts, leaders = _firsts(copy), dict[Place, str]()
    for hit in hits:
        if hit.human:
            for place in (hit.type, hit.position):
                if firsts.get(place) == hit.at:
                    leaders.setdefault(place, hit.id)
    both = [
        hit.id for hit in hits if hit.at == firsts["both"] and hit.id in (leaders.get("open"), leaders.get("click"))
    ]
    for hit in hits:
        new = NOTHING
        if hit.verdict.kind != "repeat":
            led = Firsts(leaders.get(hit.type) == hit.id, leaders.get(hit.position) == hit.id, both[-1:] == [hit.id])
            new = of_hit(hit.type, hit.human, hit.position > 0, led)
        position = hit.position if hit.position >= 0 else None
        entry = Entry(copy.message, copy.recipient, position, hit.type, hit.client, slot_of(hit.at))
        ledger.change(entry, hit.id, hit.counts, new)
        was, now = stored.get(hit.id, hit.verdict), hit.verdict
        if (was.cls, was.kind, was.reason, was.rules) != (now.cls, now.kind, now.reason, now.rules):
            db.execute(
                "UPDATE events SET class = ?, kind = ?, reason = ?, rules = ?, alone = ? WHERE message = ? AND id = ?",
                [now.cls, now.kind, now.reason, now.rules, kept_verdict(hit.alone, now), copy.message, hit.id],
            )
