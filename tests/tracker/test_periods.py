"""A period in pieces: nothing twice, nothing left out, whatever the zone does with its clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.store.periods import SLOT, Calendar, pieces, slot_of

ZONES = (
    *("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"),
    *("America/Havana", "America/St_Johns", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "America/New_York"),
)
TIMES = st.floats(0, 4e9, allow_nan=False) | st.integers(1_000_000, 4_000_000).map(lambda n: float(n * SLOT))
LENGTHS = st.floats(0, 1e8) | st.integers(0, 200_000).map(float)


@given(st.sampled_from(ZONES), TIMES, LENGTHS, st.booleans())
def test_pieces_join_without_gap_or_overlap(zone: str, since: float, length: float, months: bool) -> None:
    calendar = Calendar.of(zone)
    found = pieces(since, since + length, calendar, months)
    parts = sorted([(each.lo, each.hi) for each in found.ranges] + list(found.edges))
    assert all(lo < hi for lo, hi in parts)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    if length and since + length > since:
        assert (parts[0][0], parts[-1][1]) == (since, since + length)
    else:
        assert parts == []
    assert sum(hi - lo for lo, hi in found.edges) < 2 * SLOT
    for each in found.ranges:
        start = {"q": slot_of, "d": calendar.day, "m": calendar.month}[each.span]
        assert start(each.lo) == each.lo
        assert start(each.hi) == each.hi
        assert months or each.span != "m"


@given(st.sampled_from(ZONES), st.integers(0, 4_400_000).map(lambda n: n * SLOT))
def test_days_and_months_are_made_of_quarters(zone: str, slot: int) -> None:
    calendar = Calendar.of(zone)
    day, month = calendar.day(slot), calendar.month(slot)
    assert month <= day <= slot < day + 26 * 3600
    assert calendar.day(day) == day
    assert calendar.month(month) == calendar.month(day) == month
    following = calendar.next_day(slot + SLOT)
    assert slot < following <= slot + 26 * 3600
    assert calendar.day(following) == following
    assert calendar.day(following - SLOT) == day
    later = calendar.next_month(slot + SLOT)
    assert calendar.month(later) == later
    assert calendar.month(later - SLOT) == month


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), "2026-03-28T23:00:00Z", 23),
        ("Europe/Berlin", (2026, 10, 25), "2026-10-24T22:00:00Z", 25),
        ("Asia/Kolkata", (2026, 6, 1), "2026-05-31T18:30:00Z", 24),
        ("Australia/Lord_Howe", (2026, 10, 4), "2026-10-03T13:30:00Z", 23.5),
        ("America/Sao_Paulo", (2018, 11, 4), "2018-11-04T03:00:00Z", 23),
        ("America/Havana", (2026, 11, 1), "2026-11-01T04:00:00Z", 25),
    ],
)
def test_days_begin_where_their_people_say(zone: str, day: tuple[int, int, int], start: str, hours: float) -> None:
    noon = slot_of(datetime(*day, 12, tzinfo=ZoneInfo(zone)).timestamp())
    found = Calendar.of(zone).day(noon)
    assert datetime.fromtimestamp(found, UTC).isoformat().replace("+00:00", "Z") == start
    assert Calendar.of(zone).next_day(noon) - found == hours * 3600


def test_a_day_that_was_left_out_is_none() -> None:
    samoa = Calendar.of("Pacific/Apia")
    change = slot_of(datetime(2011, 12, 30, 10, tzinfo=UTC).timestamp())
    assert samoa.day(change) == change
    assert samoa.day(change - SLOT) == change - 24 * 3600


@pytest.mark.parametrize("length", [1.0, SLOT * 3.0, 86_400.0 * 40, 86_400.0 * 900])
def test_long_periods_have_few_pieces(length: float) -> None:
    found = pieces(1_790_000_000.5, 1_790_000_000.5 + length, Calendar.of("Europe/Berlin"), months=True)
    assert len(found.ranges) <= 5
    assert len(found.edges) <= 2


CHANGES = st.lists(st.tuples(st.sampled_from(ZONES), st.integers(0, 100)), min_size=1, max_size=4)


@given(CHANGES, TIMES, LENGTHS, st.booleans())
def test_a_calendar_of_several_zones_is_one(
    changes: list[tuple[str, int]], since: float, length: float, months: bool
) -> None:
    calendar, slot = Calendar.of("UTC"), slot_of(since)
    for zone, later in changes:
        before, slot = calendar, slot + later * 7 * SLOT
        calendar = calendar.followed_by(zone, slot)
        assert calendar.day(slot) == before.day(slot)
    found = pieces(since, since + length, calendar, months)
    parts = sorted([(each.lo, each.hi) for each in found.ranges] + list(found.edges))
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    for each in found.ranges:
        start = {"q": slot_of, "d": calendar.day, "m": calendar.month}[each.span]
        assert start(each.lo) == each.lo
        assert start(each.hi) == each.hi
