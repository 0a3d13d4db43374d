"""Intervals of time for charts: what they are called, and how many are made fewer. Pure; times in seconds since the
epoch, called as in a time zone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from itertools import groupby, pairwise
from typing import Any

from tracker.reading.charts import Interval

MOST = 62
"""So many intervals are told apart in a chart on a phone."""

_HOUR, _SOME_HOURS, _DAY = 3600, 3 * 3600, 86400


def named(bounds: Sequence[float], zone: tzinfo) -> list[Interval]:
    """The intervals between neighbouring bounds: hours by the clock, days by their date, months by their name."""
    return [_named(start, end, zone) for start, end in pairwise(bounds)]


def course(began: float, now: float, zone: tzinfo) -> list[float]:
    """The bounds of intervals that show how something went that began then: by the hour while it is no older than two
    days, later its first week by three hours."""
    offset = datetime.fromtimestamp(began, zone).utcoffset() or timedelta()
    first = began - (began + offset.total_seconds()) % _HOUR
    if now - first > 2 * _DAY:
        return [first + 3 * _HOUR * n for n in range(7 * 8 + 1)]
    hours = max(24, math.ceil((now - first) / _HOUR))
    return [first + _HOUR * n for n in range(hours + 1)]


def fewer(
    bounds: Sequence[float], rows: Sequence[Mapping[str, Any]], columns: Sequence[str], zone: tzinfo
) -> tuple[list[float], list[dict[str, int]]]:
    """The same counts by week or by month, where there are too many days; bounds and sums."""
    days = [datetime.fromtimestamp(start, zone).date() for start in bounds[:-1]]
    if len(days) <= MOST:
        return list(bounds), [{name: row[name] or 0 for name in columns} for row in rows]
    by_week = len(days) <= 7 * MOST
    numbers = groupby(range(len(days)), key=lambda n: _monday(days[n]) if by_week else days[n].replace(day=1))
    groups = [list(group) for _, group in numbers]
    sums = [{name: sum(rows[n][name] or 0 for n in group) for name in columns} for group in groups]
    return [*(bounds[group[0]] for group in groups), bounds[-1]], sums


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _named(start: float, end: float, zone: tzinfo) -> Interval:
    first, after = datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)
    last = datetime.fromtimestamp(end - 1e-3, zone)
    if end - start <= _HOUR:
        return Interval(f"{first:%H:%M}", f"{first:%a} {first.day} {first:%b}, {first:%H:%M}–{after:%H:%M}")
    if end - start <= _SOME_HOURS:
        return Interval(f"{first:%a %H:%M}", f"{first:%a} {first.day} {first:%b}, {first:%H:%M}–{after:%H:%M}")
    if first.date() == last.date():
        return Interval(f"{first.day} {first:%b}", f"{first:%a} {first.day} {first:%b} {first.year}")
    if first.day == 1 and after.day == 1 and end - start < 32 * _DAY:
        return Interval(f"{first:%b %y}", f"{first:%B} {first.year}")
    return Interval(f"{first.day} {first:%b}", f"{first.day} {first:%b} – {last.day} {last:%b} {last.year}")
