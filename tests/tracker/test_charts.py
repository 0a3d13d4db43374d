"""Charts are what the numbers are: heights in proportion, axes round, labels apart, nothing outside."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.reading.charts import Interval, Series, chart, labels, scale, share

COUNTS = st.lists(st.integers(0, 10_000_000), min_size=1, max_size=100)


def named(count: int) -> list[Interval]:
    return [Interval(f"{n}", f"interval {n}") for n in range(count)]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, (1, 1)), (1, (1, 1)), (3, (1, 3)), (4, (1, 4)), (5, (2, 6)), (14, (5, 15)), (99, (50, 100)), (101, (50, 150))],
)
def test_an_axis_has_round_steps(most: int, expected: tuple[int, int]) -> None:
    assert scale(most) == expected


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_an_axis_reaches_over_all_in_a_handful_of_steps(most: int) -> None:
    step, top = scale(most)
    assert most <= top
    assert top % step == 0
    assert 1 <= top // step <= 4
    assert str(step).rstrip("0") in ("1", "2", "5")


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_bars_are_stacked_in_proportion_and_nothing_is_outside(people: list[int], machines: list[int]) -> None:
    count = min(len(people), len(machines))
    people, machines = people[:count], machines[:count]
    made = chart("Opens", "opens", named(count), [Series("opened", "P", people), Series("machine", "M", machines)])
    _, top = scale(max(a + b for a, b in zip(people, machines, strict=True)))
    assert made.empty == (not any(people) and not any(machines))
    assert len(made.bars) == sum(value > 0 for value in people + machines)
    for bar in made.bars:
        assert -0.01 <= bar.y <= 100
        assert 0 <= bar.x <= bar.x + bar.width <= 100.01
        assert bar.y + bar.height <= 100.02
    by_name = {name: [bar.height for bar in made.bars if bar.name == name] for name in ("opened", "machine")}
    for name, values in (("opened", people), ("machine", machines)):
        heights = [100 * value / top for value in values if value]
        assert by_name[name] == pytest.approx(heights, abs=0.01)


@settings(deadline=None)
@given(COUNTS)
def test_a_line_goes_through_the_middle_of_each_band(values: list[int]) -> None:
    made = chart("Clicks", "clicks", named(len(values)), [Series("clicked", "Clicks", values, "line")])
    points = [tuple(map(float, point.split(","))) for point in made.lines[0].points.split()]
    assert len(points) == len(made.bands) == len(values)
    for (x, y), band in zip(points, made.bands, strict=True):
        assert x / 10 == pytest.approx(band.middle, abs=0.02)
        assert y / 10 == pytest.approx(band.values[0].y, abs=0.02)
    assert [band.values[0].value for band in made.bands] == values


@settings(deadline=None)
@given(st.integers(1, 400))
def test_labels_stay_inside_and_are_few(count: int) -> None:
    found = labels([str(n) for n in range(count)])
    assert len(found) <= 10
    assert 1 <= sum(not each.wide for each in found) <= 4
    assert all(0 <= each.x <= 100 for each in found)
    places = [each.x for each in found]
    assert places == sorted(places)


def test_it_is_said_what_is_to_be_seen() -> None:
    made = chart("Activity", "mails", named(3), [Series("sent", "Sent", [1, 1200, 3]), Series("clicked", "C", [0] * 3)])
    assert made.summary == "Activity. Sent: 1\u202f204, most in interval 1 with 1\u202f200; C: 0."
    assert made.bands[1].text == "interval 1: 1\u202f200 Sent, 0 C"
    assert [tick.text for tick in made.ticks] == ["0", "500", "1\u202f000", "1\u202f500"]
    assert [band.left for band in made.bands] == [False, False, True]


@pytest.mark.parametrize(
    ("part", "whole", "filled"),
    [(0, 10, 0), (5, 10, 0.5), (20, 10, 1), (3, 0, 0), (None, 5, 0), (5, None, 0), (-1, 5, 0)],
)
def test_a_bar_fills_its_share(part: int | None, whole: int | None, filled: float) -> None:
    assert share(part, whole) == filled
