"""Intervals of charts and periods that people pick: by local time, DST included."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.reading import reports
from tracker.reading.figures import number, percent, when
from tracker.reading.intervals import MOST, course, fewer, named
from tracker.reading.presets import picked, presets

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=BERLIN).timestamp()  # type: ignore[misc]


def test_hours_days_weeks_and_months_have_their_names() -> None:
    hours = named([at(2026, 11, 24, 22), at(2026, 11, 24, 23), at(2026, 11, 25)], BERLIN)
    assert [(each.short, each.full) for each in hours] == [
        ("22:00", "Tue 24 Nov, 22:00–23:00"),
        ("23:00", "Tue 24 Nov, 23:00–00:00"),
    ]
    day, clipped = named([at(2026, 10, 25), at(2026, 10, 26), at(2026, 10, 26, 14)], BERLIN)  # 25 hours, then 14
    assert (day.short, day.full, clipped.full) == ("25 Oct", "Sun 25 Oct 2026", "Mon 26 Oct 2026")
    (week,) = named([at(2026, 11, 23), at(2026, 11, 30)], BERLIN)
    assert (week.short, week.full) == ("23 Nov", "23 Nov – 29 Nov 2026")
    (month,) = named([at(2026, 2, 1), at(2026, 3, 1)], BERLIN)
    assert (month.short, month.full) == ("Feb 26", "February 2026")


@settings(deadline=None)
@given(st.integers(1, 900), st.dates(date(2020, 1, 1), date(2026, 1, 1)))
def test_fewer_intervals_hold_the_same_counts(days: int, first: date) -> None:
    start = datetime(first.year, first.month, first.day, tzinfo=BERLIN).timestamp()
    period = reports.overall({"from": first.isoformat()}, start + (days - 0.5) * 86400, BERLIN)
    rows = [{"sent": n, "opens": None} for n in range(len(period.bounds) - 1)]
    bounds, sums = fewer(period.bounds, rows, ("sent", "opens"), BERLIN)
    assert sum(row["sent"] for row in sums) == sum(range(len(rows)))
    assert len(bounds) == len(sums) + 1 <= MOST + 2
    assert (bounds[0], bounds[-1]) == (period.since, period.until)
    assert bounds == sorted(set(bounds))
    assert set(bounds) <= set(period.bounds)


def test_the_course_of_what_began_lately_is_by_the_hour_and_later_its_first_week() -> None:
    kathmandu = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead
    began = datetime(2026, 11, 24, 9, 50, tzinfo=kathmandu).timestamp()
    assert course(began, began + 60, kathmandu)[::24] == [began - 3000, began - 3000 + 86400]
    assert course(began, began + 40 * 3600, kathmandu)[-1] == began - 3000 + 41 * 3600
    week = course(began, began + 49 * 3600, kathmandu)
    assert (week[0], week[1], week[-1]) == (began - 3000, began - 3000 + 3 * 3600, began - 3000 + 7 * 86400)
    first = named(week, kathmandu)[0]
    assert (first.short, first.full) == ("Tue 09:00", "Tue 24 Nov, 09:00–12:00")


def test_presets_are_whole_local_days() -> None:
    now = datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp()  # the second of March in Berlin
    days = {each.name: (each.first.isoformat(), each.last.isoformat()) for each in presets(now, BERLIN)}
    assert days == {
        "today": ("2026-03-02", "2026-03-02"),
        "yesterday": ("2026-03-01", "2026-03-01"),
        "7d": ("2026-02-24", "2026-03-02"),
        "30d": ("2026-02-01", "2026-03-02"),
        "month": ("2026-03-01", "2026-03-02"),
        "last-month": ("2026-02-01", "2026-02-28"),
        "year": ("2025-03-03", "2026-03-02"),
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "30d"),
        ({"period": "7d"}, "7d"),
        ({"from": "2026-01-01"}, None),
        ({"period": "today", "from": "2026-03-02", "to": "2026-03-02"}, "today"),
        ({"period": "today", "from": "2026-03-01", "to": "2026-03-02"}, None),
    ],
)
def test_dates_of_ones_own_win_over_a_preset(asked: dict[str, str], expected: str | None) -> None:
    found = picked(asked, presets(at(2026, 3, 2, 12), BERLIN))
    assert (found and found.name) == expected


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "–"), (0, "0%"), (1, "100%"), (0.123456, "12.3%"), (0.0001, "<0.1%"), (0.99999, ">99.9%"), (2.5, "250.0%")],
)
def test_rates_look_like_what_they_are(rate: float | None, text: str) -> None:
    assert percent(rate) == text


def test_numbers_and_times_are_written_for_people() -> None:
    assert [number(value) for value in (None, 0, 999, 1234567)] == ["–", "0", "999", "1\u202f234\u202f567"]
    found = when(at(2026, 1, 2, 3, 4), BERLIN, at(2026, 5, 1))
    assert found == {
        "text": "2 Jan, 03:04",
        "full": "2026-01-02 03:04:00 CET",
        "iso": "2026-01-02T03:04:00+01:00",
    }
    assert when(at(2025, 12, 31), BERLIN, at(2026, 1, 1))["text"] == "31 Dec 2025, 00:00"
