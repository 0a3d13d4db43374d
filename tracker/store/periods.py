"""Time as counters are kept by it: quarters of an hour, local days and months, and how a period is made of them. Pure.

Every zone's days and months are made of whole quarters, so that counters by the quarter serve any zone. Times are
seconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SLOT = 900
"""Seconds of the shortest time that is counted apart."""

_DAY = timedelta(days=1)
_FIRST, _LAST = -62_000_000_000, 253_000_000_000
"""What a calendar can tell the day of: years 6 to 9987."""


def slot_of(at: float) -> int:
    """The start of the quarter of an hour that a time is in."""
    return int(at // SLOT) * SLOT


@dataclass(frozen=True, slots=True)
class Calendar:
    """Local days and months: by time, the zones that they are of, each with the quarter from which on it holds. Where
    one zone follows another, a day and a month begin."""

    zones: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, zone: str) -> Calendar:
        """The days and months of one IANA zone."""
        return cls(((_FIRST, zone),))

    def followed_by(self, zone: str, slot: int) -> Calendar:
        """The same, but of another zone after the day that a quarter is in."""
        since = self.next_day(slot + SLOT)
        kept = tuple(each for each in self.zones if each[0] < since)
        return Calendar(kept if kept[-1][1] == zone else (*kept, (since, zone)))

    def day(self, slot: int) -> int:
        """The start of the local day that a quarter is in."""
        since, zone = self._at(slot)
        return max(since, _day(zone, slot))

    def month(self, slot: int) -> int:
        """The start of the local month that a quarter is in."""
        since, zone = self._at(slot)
        return max(since, _month(zone, slot))

    def next_day(self, slot: int) -> int:
        """The first start of a local day that is not before a quarter."""
        return self._next(slot, self.day, _DAY)

    def next_month(self, slot: int) -> int:
        """The first start of a local month that is not before a quarter."""
        return self._next(slot, self.month, timedelta(days=32))

    def _at(self, slot: int) -> tuple[int, str]:
        return next((each for each in reversed(self.zones) if each[0] <= slot), self.zones[0])

    def _next(self, slot: int, start_of: Callable[[int], int], step: timedelta) -> int:
        found = start_of(slot)
        later = slot
        while found < slot:
            later += int(step.total_seconds())
            found = start_of(later)
        # A step may have led over a short one in between.
        while (before := start_of(found - SLOT)) >= slot:
            found = before
        return found


@dataclass(frozen=True, slots=True)
class Range:
    """Counters of one span (``q``, ``d`` or ``m``) that start from ``lo`` on and before ``hi``."""

    span: str
    lo: int
    hi: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a period is the sum of: counters, and the events of the times at its ends that no counter is of."""

    ranges: tuple[Range, ...]
    edges: tuple[tuple[float, float], ...]


@lru_cache(maxsize=8192)
def pieces(since: float, until: float, calendar: Calendar, months: bool = False) -> Pieces:
    """A period ``[since, until)`` in pieces that neither overlap nor leave anything out; the longest spans there are,
    months where they are kept."""
    if not since < until:
        return Pieces((), ())
    since, until = max(since, float(_FIRST)), min(until, float(_LAST))
    first, last = math.ceil(since / SLOT) * SLOT, slot_of(until)
    if first < since:  # what rounding did
        first += SLOT
    if first > last:
        return Pieces((), ((since, until),))
    edges = tuple((lo, hi) for lo, hi in ((since, float(first)), (float(last), until)) if lo < hi)
    return Pieces(tuple(each for each in _ranges(first, last, calendar, months) if each.lo < each.hi), edges)


def _ranges(first: int, last: int, calendar: Calendar, months: bool) -> Iterator[Range]:
    begin, end = calendar.next_day(first), calendar.day(last)
    if begin >= end:
        yield Range("q", first, last)
        return
    yield Range("q", first, begin)
    begin_month, end_month = calendar.next_month(begin), calendar.month(end)
    if months and begin_month < end_month:
        yield Range("d", begin, begin_month)
        yield Range("m", begin_month, end_month)
        yield Range("d", end_month, end)
    else:
        yield Range("d", begin, end)
    yield Range("q", end, last)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=8192)
def _midnight(zone: str, day: date) -> int:
    """The first quarter of a local day. Where there is no midnight or two of them, Python takes the offset from before
    the clock is changed: the moment of the change, and the first of the two."""
    at = datetime(day.year, day.month, day.day, tzinfo=_zone(zone)).timestamp()
    return math.ceil(at / SLOT) * SLOT


def _local(zone: str, slot: int) -> date:
    return datetime.fromtimestamp(min(max(slot, _FIRST), _LAST), UTC).astimezone(_zone(zone)).date()


@lru_cache(maxsize=65536)
def _day(zone: str, slot: int) -> int:
    day = _local(zone, slot) + _DAY
    while (start := _midnight(zone, day)) > slot:
        day -= _DAY
    return start


@lru_cache(maxsize=65536)
def _month(zone: str, slot: int) -> int:
    day = (_local(zone, slot) + _DAY).replace(day=1)
    while (start := _midnight(zone, day)) > slot:
        day = (day - _DAY).replace(day=1)
    return start
