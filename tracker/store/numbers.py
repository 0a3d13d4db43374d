"""Sums over many messages: counters of whole quarters, days and months, and the events at the ends of a period.

Everything is read in one snapshot, what waits to be folded in included, so that a sum is exact however far behind the
counters are.
"""

from __future__ import annotations

import heapq
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tracker.store import rolling
from tracker.store.base import COLUMNS, DIMENSIONS, ReportFilter, Row
from tracker.store.contributions import Counts
from tracker.store.filing import BY_ACCEPTANCE, BY_EVENT, CLIENT, LINK, REASON, TAG, TOTALS, Filed, filed
from tracker.store.ledger import MESSAGE_COLUMNS
from tracker.store.periods import Pieces, Range, pieces
from tracker.store.tables import page_of

_CLICKS = ("clicks", "unique_clicks", "machine_clicks")
_HITS = tuple(name for name in COLUMNS if name.endswith(("opens", "clicks", "views")) or name == "both")
_MOVED = {LINK: _CLICKS, REASON: ("bounced", "bounced_later"), CLIENT: _HITS}
"""The columns of a dimension, where it has not all of them."""

_PART_OF: dict[str, tuple[str, Callable[[str], str]]] = {
    "url": (LINK, lambda value: value.partition("\t")[0]),
    "path": (LINK, lambda value: page_of(value.partition("\t")[0])),
    "label": (LINK, lambda value: value.partition("\t")[2]),
    "device": (CLIENT, lambda value: value.split("\t")[0]),
    "system": (CLIENT, lambda value: value.split("\t")[1]),
    "client": (CLIENT, lambda value: value.split("\t")[2]),
}
"""By what a dimension is kept, and which part of that it is; the others are kept by themselves."""

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

    def series(self, bounds: Sequence[float], cohort: bool = False) -> list[dict[str, int]]:
        """Sums of each interval between neighbouring bounds, by the time of the event or of acceptance."""
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

    def totals(self, bounds: Sequence[float], cohort: bool = False) -> list[Row]:
        """``series`` with what is pending of the mail accepted in each interval."""
        accepted = self.series(bounds, cohort=True)
        found = accepted if cohort else self.series(bounds)
        return [{**row, "pending": pending_of(mail)} for row, mail in zip(found, accepted, strict=True)]

    def breakdown(self, dimension: str, since: float, until: float, by: Sequence[str], limit: int) -> list[Row]:
        """Values of a dimension, the largest first."""
        kept, part = _PART_OF.get(dimension, (dimension, str))
        columns = _MOVED.get(kept, COLUMNS)
        if kept == TAG and self._wanted.tag is not None:
            sums = {self._wanted.tag: list(self.series([since, until])[0].values())}
        else:
            sums = self._broken_down(kept, columns, part, since, until)
        ranked = [columns.index(name) for name in by if name in columns]
        there = ((-sum(row[place] for place in ranked), value) for value, row in sums.items() if value and any(row))
        return [
            {"value": value, **dict.fromkeys(COLUMNS, 0), **dict(zip(columns, sums[value], strict=True))}
            for _, value in heapq.nsmallest(limit, there)
        ]

    def _broken_down(
        self, dimension: str, columns: Sequence[str], part: Callable[[str], str], since: float, until: float
    ) -> dict[str, list[int]]:
        """The sums of ``columns`` by value."""
        period = _kept(pieces(since, until, self._calendar, months=True), rolling.quarters_of(self._db))
        sums: dict[str, list[int]] = {}

        def add(value: str, row: Sequence[int]) -> None:
            mine = sums.get(value)
            sums[value] = list(row) if mine is None else [one + other for one, other in zip(mine, row, strict=True)]

        for value, *row in self._values(dimension, columns, period.ranges):
            add(part(value), row)
        inside = [
            place for place in self._waiting.places if any(each.lo <= place.slot < each.hi for each in period.ranges)
        ]
        found = [(place, self._waiting.places[place]) for place in inside]
        for edge in period.edges:
            found += self._filed_between(*edge).places.items()
        for place, counts in found:
            if place.dimension == dimension and self._wants(place.sender, place.tag):
                add(part(place.value), [counts.get(name, 0) for name in columns])
        return sums

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

    def _values(self, dimension: str, columns: Sequence[str], ranges: Iterable[Range]) -> Iterable[tuple[Any, ...]]:
        spans = [(each.span, each.lo, each.hi) for each in ranges]
        if not spans:
            return []
        sums = ", ".join(f"sum({name})" for name in columns)
        where = "sender = ? AND tag = ? AND cohort = 0 AND dimension = ? AND span = ? AND start >= ? AND start < ?"
        part = f"SELECT value, {', '.join(columns)} FROM counts WHERE {where}"  # noqa: S608
        parts = " UNION ALL ".join([part] * len(spans))
        values = [value for span in spans for value in (*self._key(), dimension, *span)]
        return self._db.execute(f"SELECT value, {sums} FROM ({parts}) GROUP BY value", values)  # noqa: S608

    def _filed_between(self, since: float, until: float) -> Filed:
        return filed(self._db, rolling.between(self._db, since, until))

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


def check(dimension: str, by: Sequence[str]) -> None:
    """Raises ValueError for a dimension or a column that there is not."""
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
