"""When what failed is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import NOW
from tracker.webhooks.schedule import LONGEST_RETRY_AFTER, MAILGUN, SCHEDULES, SPREAD, STANDARD, next_try, seconds_of


def test_the_schedules_are_the_published_ones() -> None:
    assert [wait / 60 for wait in MAILGUN] == [10, 10, 15, 30, 60, 120, 240]
    assert [wait / 3600 for wait in STANDARD[3:]] == [2, 5, 10, 14, 20, 24]
    assert STANDARD[:3] == (5, 300, 1800)


@given(format=st.sampled_from(sorted(SCHEDULES)), tries=st.integers(1, 20), chance=st.floats(0, 1, exclude_max=True))
def test_each_wait_is_spread_and_the_last_try_is_the_last(format: str, tries: int, chance: float) -> None:
    waits = SCHEDULES[format]
    found = next_try(format, tries, NOW, chance)
    if tries > len(waits):
        assert found is None
    else:
        assert found is not None
        assert waits[tries - 1] - 0.001 <= found - NOW <= waits[tries - 1] * (1 + SPREAD) + 0.001


def test_retry_after_is_heeded_where_it_is_later() -> None:
    assert next_try("standard", 1, NOW, 0.0, 60.0) == NOW + 60
    assert next_try("standard", 3, NOW, 0.0, 60.0) == NOW + 1800
    assert next_try("standard", 10, NOW, 0.0, 60.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("99999999999999999999", LONGEST_RETRY_AFTER),
        ("86400", LONGEST_RETRY_AFTER),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0.0),
        (format_datetime(datetime.fromtimestamp(NOW + 1e6, UTC), usegmt=True), LONGEST_RETRY_AFTER),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("²", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_as_it_is_written(value: str | None, seconds: float | None) -> None:
    assert seconds_of(value, NOW) == seconds


@given(value=st.text(max_size=40))
def test_no_retry_after_is_too_odd(value: str) -> None:
    found = seconds_of(value, NOW)
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER
