"""Periods that people pick: presets, and dates of their own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class Preset:
    """A period by its name in an address, what it is called, and its days; both belong to it."""

    name: str
    title: str
    first: date
    last: date


def presets(now: float, zone: tzinfo) -> list[Preset]:
    """The presets as of now, seconds since the epoch."""
    today = datetime.fromtimestamp(now, zone).date()
    month = today.replace(day=1)
    before = month - timedelta(days=1)
    return [
        Preset("today", "Today", today, today),
        Preset("yesterday", "Yesterday", today - timedelta(days=1), today - timedelta(days=1)),
        Preset("7d", "7 days", today - timedelta(days=6), today),
        Preset("30d", "30 days", today - timedelta(days=29), today),
        Preset("month", "This month", month, today),
        Preset("last-month", "Last month", before.replace(day=1), before),
        Preset("year", "Year", today - timedelta(days=364), today),
    ]


DEFAULT = "30d"


def picked(asked: Mapping[str, str], choices: list[Preset]) -> Preset | None:
    """The preset that is asked for by ``period``, or is the default since no dates are given; None where dates of
    one's own are, which win over a preset with others."""
    dates = asked.get("from"), asked.get("to")
    name = asked.get("period") or (None if any(dates) else DEFAULT)
    found = next((each for each in choices if each.name == name), None)
    if found is None or not any(dates) or dates == (found.first.isoformat(), found.last.isoformat()):
        return found
    return None
