"""Sums over many messages: counters of whole quarters, days and months, and the events at the ends of a period.

Everything is read in one snapshot, what waits to be folded in included, so that a sum is exact however far behind the
counters are.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tracker.store import rolling
from tracker.store.base import COLUMNS, DIMENSIONS, ReportFilter, Row
from tracker.store.contributions import Counts
from tracker.store.filing import BY_ACCEPTANCE, BY_EVENT, CLIENT, LINK, REASON, TAG, TOTALS, Filed, filed
from tracker.store.ledger import MESSAGE_COLUMNS
from tracker.store.periods import Pieces, Range, pieces

_CLICKS = ("clicks", "unique_clicks", "machine_clicks")
_HITS = tuple(name for name in COLUMNS if name.endswith(("opens", "clicks", "views")) or name == "both")
_MOVED = {LINK: _CLICKS, REASON: ("bounced", "bounced_later"), CLIENT: _HITS}
"""The columns of a dimension, where it has not all of them."""

_HEAD, _TAIL = "substr({0}, 1, instr({0}, char(9)) - 1)", "substr({0}, instr({0}, char(9)) + 1)"
_URL, _REST = _HEAD.format("value"), _TAIL.format("value")
_CUT = "substr({0}, 1, min(instr({0} || '?', '?'), instr({0} || '#', '#')) - 1)"

_PART_OF = {
    "url": (LINK, _URL),
    "path": (LINK, _CUT.format(f"({_URL})")),
    "label": (LINK, _REST),
    "device": (CLIENT, _HEAD.format("value")),
    "system": (CLIENT, _HEAD.format(f"({_REST})")),
    "client": (CLIENT, _TAIL.format(f"({_REST})")),
}
"""By what a dimension is kept, and which part of that it is, in SQL; the others are kept by themselves."""

_OF_MESSAGES = {
    **{name: f"sum({name})" for name in COLUMNS if name in MESSAGE_COLUMNS},
    "messages": "count(*)",
    "delivered": "sum(sent - bounced_later)",
    "attributed_open_tracked": "sum(iif(attributed, open_tracked, 0))",
    "attributed_click_tracked": "sum(iif(attributed, click_tracked, 0))",
}


class Reading:
    """Reads one snapshot; the caller holds its transaction."""

    def __init__(self, db: sqlite3.Connection, wanted: ReportFilter) -> None:
        self._db = db
        self._wanted = wanted
        self._calendar = rolling.calendar_of(db)
        self._waiting = filed(db, rolling.waiting(db))
        self._edges: dict[tuple[float, float], Filed] = {}

    def totals(self, since: float, until: float, cohort: bool = False) -> Row:
        """Sums over a period, by the time of the event or of acceptance, and what is pending of the mail accepted in
        it."""
        return self._pending([since, until], cohort)[0]

    def series(self, bounds: Sequence[float]) -> list[Row]:
        """``totals`` of each interval between neighbouring bounds."""
        return self._pending(bounds, cohort=False)

    def _pending(self, bounds: Sequence[float], cohort: bool) -> list[Row]:
        accepted = self._sums(bounds, cohort=True)
        found = accepted if cohort else self._sums(bounds)
        return [{**row, "pending": pending_of(mail)} for row, mail in zip(found, accepted, strict=True)]

    def _sums(self, bounds: Sequence[float], cohort: bool = False) -> list[dict[str, int]]:
        intervals = [pieces(since, until, self._calendar) for since, until in pairwise(bounds)]
        found = [dict.fromkeys(COLUMNS, 0) for _ in intervals]
        by = BY_ACCEPTANCE if cohort else BY_EVENT
        ranges = [each for interval in intervals for each in interval.ranges]
        owners = [number for number, interval in enumerate(intervals) for _ in interval.ranges]
        starts = [each.lo for each in ranges]

        def add(start: int, counts: Mapping[str, int]) -> None:
            place = bisect_right(starts, start) - 1
            if place >= 0 and start < ranges[place].hi:
                _add(found[owners[place]], counts)

        for span, lo, hi in _joined(ranges):
            for start, *sums in self._rows(by, span, lo, hi):
                add(start, dict(zip(COLUMNS, sums, strict=True)))
        for place, counts in self._waiting.places.items():
            if place.cohort == by and place.dimension == TOTALS and self._wants(place.sender, place.tag):
                add(place.slot, counts)
        for number, interval in enumerate(intervals):
            for since, until in interval.edges:
                _add(found[number], self._accepted(since, until) if cohort else self._happened(since, until))
        return found

    def breakdown(self, dimension: str, since: float, until: float, by: Sequence[str], limit: int) -> list[Row]:
        """Values of a dimension with their sums, the largest first. Raises ValueError where there is no such dimension
        or column."""
        _check(dimension, by)
        if dimension == TAG and self._wanted.tag is not None:
            row = self._sums([since, until])[0]
            return [{"value": self._wanted.tag, **row}] if limit and any(row.values()) else []
        kept, part = _PART_OF.get(dimension, (dimension, "value"))
        columns = _MOVED.get(kept, COLUMNS)
        period = _kept(pieces(since, until, self._calendar, months=True), rolling.quarters_of(self._db))
        rows = self._ranked(kept, part, columns, period, [name for name in by if name in columns], limit)
        return [
            {"value": value, **dict.fromkeys(COLUMNS, 0), **dict(zip(columns, row, strict=True))}
            for value, *row in rows
        ]

    def _ranked(
        self, dimension: str, part: str, columns: Sequence[str], period: Pieces, by: Sequence[str], limit: int
    ) -> Iterable[tuple[Any, ...]]:
        """Values and their sums, the largest first."""
        where = "sender = ? AND tag = ? AND cohort = 0 AND dimension = ? AND span = ? AND start >= ? AND start < ?"
        kept = [f"SELECT value, {', '.join(columns)} FROM counts WHERE {where}"] * len(period.ranges)  # noqa: S608
        values: list[Any] = [
            value for each in period.ranges for value in (*self._key(), dimension, each.span, each.lo, each.hi)
        ]
        fields = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns) + 1))
        found = " UNION ALL ".join([*kept, f"SELECT {fields} FROM json_each(?)"])  # noqa: S608
        sums = ", ".join(f"sum({name}) AS sum_{name}" for name in columns)
        there = " OR ".join(f"sum_{name} <> 0" for name in columns)
        order = " + ".join(("0", "0", *(f"sum_{name}" for name in by)))  # one 0 would be a column's number
        names = ", ".join(("value", *columns))
        sql = (
            f"WITH found ({names}) AS ({found}) SELECT {part} AS part, {sums} FROM found GROUP BY part"  # noqa: S608
            f" HAVING part <> '' AND ({there}) ORDER BY {order} DESC, part LIMIT ?"
        )
        return self._db.execute(sql, [*values, json.dumps(self._not_kept(dimension, columns, period)), limit])

    def _not_kept(self, dimension: str, columns: Sequence[str], period: Pieces) -> list[list[Any]]:
        """What of a period no counter tells: what waits, and the events of its edges."""
        waiting = self._waiting.places.items()
        found = [each for each in waiting if any(part.lo <= each[0].slot < part.hi for part in period.ranges)]
        for edge in period.edges:
            found += self._filed_between(*edge).places.items()
        return [
            [place.value, *(counts.get(name, 0) for name in columns)]
            for place, counts in found
            if place.dimension == dimension and self._wants(place.sender, place.tag)
        ]

    def _wants(self, sender: str, tag: str) -> bool:
        wanted = self._wanted
        return wanted.sender in (None, sender) and wanted.tag in (None, tag)

    def _key(self) -> list[str]:
        return [self._wanted.sender or "", self._wanted.tag or ""]

    def _rows(self, cohort: int, span: str, lo: int, hi: int) -> Iterable[tuple[Any, ...]]:
        sql = (
            f"SELECT start, {', '.join(COLUMNS)} FROM counts WHERE sender = ? AND tag = ? AND cohort = ?"  # noqa: S608
            " AND dimension = '' AND span = ? AND start >= ? AND start < ?"
        )
        return self._db.execute(sql, [*self._key(), cohort, span, lo, hi])

    def _filed_between(self, since: float, until: float) -> Filed:
        if (since, until) not in self._edges:  # a report asks ten times
            self._edges[since, until] = filed(self._db, rolling.between(self._db, since, until))
        return self._edges[since, until]

    def _happened(self, since: float, until: float) -> Counts:
        found: dict[str, int] = {}
        for place, counts in self._filed_between(since, until).places.items():
            if place.cohort == BY_EVENT and place.dimension == TOTALS and self._wants(place.sender, place.tag):
                _add(found, counts)
        return found

    def _accepted(self, since: float, until: float) -> Counts:
        where, values = "known AND counted AND accepted_at >= ? AND accepted_at < ?", list[Any]([since, until])
        for column in ("sender", "tag"):
            if (value := getattr(self._wanted, column)) is not None:
                where += f" AND {column} = ?"
                values.append(value)
        sums = ", ".join(f"coalesce({sum}, 0)" for sum in _OF_MESSAGES.values())
        row = self._db.execute(f"SELECT {sums} FROM messages WHERE {where}", values).fetchone()  # noqa: S608
        return dict(zip(_OF_MESSAGES, row, strict=True))


def _check(dimension: str, by: Sequence[str]) -> None:
    if dimension not in DIMENSIONS or not set(by) <= set(COLUMNS):
        raise ValueError("no such dimension or column")


def _kept(period: Pieces, quarters: int) -> Pieces:
    """A period of which only the quarters are counted that are kept; the events tell of the others."""
    ranges, edges = list[Range](), list(period.edges)
    for each in period.ranges:
        since = max(each.lo, min(each.hi, quarters)) if each.span == "q" else each.lo
        if each.lo < since:
            edges.append((float(each.lo), float(since)))
        if since < each.hi:
            ranges.append(Range(each.span, since, each.hi))
    return Pieces(tuple(ranges), tuple(edges))


def pending_of(mail: Counts) -> int:
    """How many recipients wait, of the mail that these are the sums of."""
    bounced = mail["bounced"] - mail["bounced_later"]
    return mail["targeted"] - mail["suppressed"] - mail["sent"] - bounced - mail["errors"]


def _joined(ranges: Sequence[Range]) -> list[tuple[str, int, int]]:
    """Ranges of one span that touch each other, as one."""
    found: list[tuple[str, int, int]] = []
    for each in ranges:
        if found and found[-1][0] == each.span and found[-1][2] == each.lo:
            found[-1] = (each.span, found[-1][1], each.hi)
        else:
            found.append((each.span, each.lo, each.hi))
    return found


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, by in more.items():
        counts[name] = counts.get(name, 0) + by
