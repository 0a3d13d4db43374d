"""Charts as geometry, for templates/charts.html to draw as SVG. Pure.

A chart has bands from left to right, one an interval, in which bars stand (stacked upon each other) and through whose
middles lines go. All places are in percent of the plot, so that a chart is as wide as its page and its text never
shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tracker.reading import figures

_WIDE_LABELS, _NARROW_LABELS = 10, 4
_TICKS = 4
_GAP = 0.24
"""How much of a band is left free beside its bar."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one band is of: in short for the axis, and in full."""

    short: str
    full: str


@dataclass(frozen=True, slots=True)
class Series:
    """Counts, one an interval. ``name`` is their colour: ``sent``, ``opened``, ``clicked`` or ``machine``."""

    name: str
    title: str
    values: Sequence[int]
    kind: Literal["bar", "line"] = "bar"


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, at a height from the top, and what it stands for."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label of the axis below; ``wide``: only where there is room."""

    x: float
    text: str
    anchor: Literal["start", "middle", "end"]
    wide: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in the colour of its series."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line in the colour of its series, as the points of a polyline in a box of 1000 by 1000."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Value:
    """What a series is in one band: a dot's height from the top where it is a line's."""

    name: str
    title: str
    value: int
    y: float | None


@dataclass(frozen=True, slots=True)
class Band:
    """What is shown of an interval when it is pointed at. ``left``: beside it to the left, since it is far right."""

    x: float
    width: float
    middle: float
    title: str
    values: Sequence[Value]
    left: bool

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.title}: " + ", ".join(f"{figures.number(each.value)} {each.title}" for each in self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; ``empty`` where every count in it is 0."""

    title: str
    unit: str
    summary: str
    series: Sequence[Series]
    intervals: Sequence[Interval]
    ticks: Sequence[Tick]
    labels: Sequence[Label]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    bands: Sequence[Band]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be seen."""
        return not any(any(each.values) for each in self.series)


def chart(title: str, unit: str, intervals: Sequence[Interval], series: Sequence[Series]) -> Chart:
    """The chart of some series over the same intervals, which are one or more; ``unit`` says what is counted."""
    stacks = [sum(each.values[n] for each in series if each.kind == "bar") for n in range(len(intervals))]
    most = max([*stacks, *(value for each in series for value in each.values), 0])
    step, top = scale(most)
    heights = [Tick(_y(value, top), figures.number(value)) for value in range(0, top + 1, step)]
    return Chart(
        title=title,
        unit=unit,
        summary=_summary(title, intervals, series),
        series=series,
        intervals=intervals,
        ticks=heights,
        labels=labels([each.short for each in intervals]),
        bars=_bars(series, len(intervals), top),
        lines=[Line(each.name, _points(each.values, top)) for each in series if each.kind == "line"],
        bands=_bands(intervals, series, top),
    )


def scale(most: int) -> tuple[int, int]:
    """The step and the top of an axis from 0 for counts up to ``most``: a handful of round steps."""
    rough = max(1, most) / _TICKS
    power = 10 ** max(0, math.floor(math.log10(rough))) if rough >= 1 else 1
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return step, step * max(1, math.ceil(most / step))


def labels(texts: Sequence[str]) -> list[Label]:
    """Labels below the bands, as many as there is room for; those at the ends stay inside."""
    wide = max(1, math.ceil(len(texts) / _WIDE_LABELS))
    narrow = wide * max(1, math.ceil(math.ceil(len(texts) / wide) / _NARROW_LABELS))
    width = 100 / len(texts)
    found = []
    for n in range(0, len(texts), wide):
        middle = (n + 0.5) * width
        anchor: Literal["start", "middle", "end"] = "start" if middle < 4 else "end" if middle > 96 else "middle"
        x = {"start": n * width, "middle": middle, "end": (n + 1) * width}[anchor]
        found.append(Label(_round(x), texts[n], anchor, n % narrow != 0))
    return found


def share(part: float | None, whole: float | None) -> float:
    """How much of its place a bar fills, from 0 to 1; 0 where there is nothing."""
    return max(0.0, min(1.0, part / whole)) if part and whole and whole > 0 else 0.0


def _y(value: float, top: int) -> float:
    return _round(100 - 100 * value / top)


def _bars(series: Sequence[Series], count: int, top: int) -> list[Bar]:
    width = 100 / count
    bars, below = [], [0] * count
    for each in (each for each in series if each.kind == "bar"):
        for n, value in enumerate(each.values):
            if value > 0:
                x, y = (n + _GAP / 2) * width, _y(below[n] + value, top)
                bars.append(Bar(each.name, _round(x), y, _round(width * (1 - _GAP)), _round(100 * value / top)))
                below[n] += value
    return bars


def _points(values: Sequence[int], top: int) -> str:
    return " ".join(
        f"{_round((n + 0.5) * 1000 / len(values))},{_round(10 * _y(value, top))}" for n, value in enumerate(values)
    )


def _bands(intervals: Sequence[Interval], series: Sequence[Series], top: int) -> list[Band]:
    width = 100 / len(intervals)
    bands = []
    for n, interval in enumerate(intervals):
        middle = (n + 0.5) * width
        values = [
            Value(each.name, each.title, each.values[n], _y(each.values[n], top) if each.kind == "line" else None)
            for each in series
        ]
        bands.append(Band(_round(n * width), _round(width), _round(middle), interval.full, values, middle > 50))
    return bands


def _summary(title: str, intervals: Sequence[Interval], series: Sequence[Series]) -> str:
    """What one would see, for those who do not."""
    parts = []
    for each in series:
        total = sum(each.values)
        peak = max(range(len(intervals)), key=lambda n: each.values[n])
        most = f", most in {intervals[peak].full} with {figures.number(each.values[peak])}" if total else ""
        parts.append(f"{each.title}: {figures.number(total)}{most}")
    return f"{title}. " + "; ".join(parts) + "."


def _round(value: float) -> float:
    return round(value, 2)
