"""A report as plain text: neat in 80 columns, and nothing in it that a terminal obeys."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.report_table import WIDTH, as_table, fit
from tests.tracker.facts import NOW
from tests.tracker.numbers import Move, PlainNumbers
from tracker.reading import reports
from tracker.store.base import ReportFilter

BERLIN = ZoneInfo("Europe/Berlin")
DIMENSIONS = ("url", "path", "label", "domain", "reason", "device", "system", "client", "tag")


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def report(value: str = "hard 5.1.1", big: int = 1, by: Sequence[str] = DIMENSIONS, **wanted: str) -> dict[str, Any]:
    numbers = PlainNumbers(
        [
            Move(NOW - 9, {"messages": 1, "targeted": 2 * big}, NOW - 9),
            Move(NOW - 8, {"sent": big, "delivered": big, "open_tracked": big}, NOW - 9),
            *[
                Move(NOW - 7, {"bounced": big, "opens": big, "clicks": big, "sent": 1}, NOW - 9, values={name: value})
                for name in by
            ],
        ]
    )
    return reports.report(numbers, reports.live(NOW, BERLIN), ReportFilter(**wanted), BERLIN)


def test_it_says_what_each_number_means():
    lines = as_table(report()).splitlines()
    assert lines[0] == "Live report, 2026-09-20 17:00 to 2026-09-21 17:00, Europe/Berlin"
    assert "delivered                   1     50.0%  sent, less bounces that came later" in lines
    assert "unique opens                0         -  recipients who opened" in lines
    assert "         1         9         9         0         9         0  2026-09-21 16:00" in lines
    for title in ("Links by url", "Recipient domains", "Bounce reasons", "Devices", "Mail clients", "Tags"):
        assert title in lines


def test_what_is_not_known_is_no_number():
    lines = as_table(report(by=["url"])).splitlines()
    assert "unique opens                -         -  recipients who opened" in lines
    assert "         1         1         1         -         1         -  2026-09-21 16:00" in lines


def test_a_filter_is_named():
    assert "Sender: a@example.com\nTag: spring\n" in as_table(report(sender="a@example.com", tag="spring"))


def test_empty_lists_are_left_out():
    text = as_table(report(sender="nobody@example.com"))
    assert "Links by" not in text
    assert "pending" in text


@pytest.mark.parametrize("value", ["x" * 300, "あ" * 300, "\x1b[31mred\x07\n", "\u202eevil", "", "a\tb"])
def test_every_line_fits_and_holds_no_control_character(value):
    for line in as_table(report(value, 10_000_000)).splitlines():
        assert columns(line) <= WIDTH, line
        assert line.isprintable()


@given(st.text(), st.integers(1, 40))
def test_a_text_is_cut_only_where_it_does_not_fit(text, width):
    shown = fit(text, width)
    assert columns(shown) <= max(width, 1) + sum(unicodedata.combining(letter) > 0 for letter in shown)
    assert shown.isprintable()
    if columns(text) <= width and text.isprintable():
        assert shown == text
