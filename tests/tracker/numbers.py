"""A store's numbers by plain summing, for tests of what is made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from tracker.store.base import COLUMNS, ReportFilter, Row


@dataclass(frozen=True)
class Move:
    """What one event contributes."""

    at: float
    counts: Mapping[str, int]
    accepted_at: float = 0.0
    sender: str = "news@example.com"
    tag: str = "spring"
    values: Mapping[str, str] = field(default_factory=dict)


class PlainNumbers:
    """``Numbers`` over a list."""

    def __init__(self, moves: Sequence[Move] = ()) -> None:
        self.moves = list(moves)

    def at_once(self, wanted: ReportFilter, ask: Callable[[Any], Any]) -> Any:
        names = ("totals", "series", "breakdown")
        return ask(SimpleNamespace(**{name: partial(getattr(self, name), wanted) for name in names}))

    def totals(self, wanted: ReportFilter, since: float, until: float, cohort: bool = False) -> Row:
        when = [(move.accepted_at if cohort else move.at, move) for move in self._wanted(wanted)]
        row = summed([move for at, move in when if since <= at < until])
        of = row if cohort else self.totals(wanted, since, until, cohort=True)
        gone = of["suppressed"] + of["sent"] + of["bounced"] - of["bounced_later"] + of["errors"]
        return {**row, "pending": of["targeted"] - gone}

    def series(self, wanted: ReportFilter, bounds: Sequence[float]) -> list[Row]:
        return [self.totals(wanted, since, until) for since, until in pairwise(bounds)]

    def breakdown(
        self, wanted: ReportFilter, dimension: str, since: float, until: float, by: Sequence[str], limit: int
    ) -> list[Row]:
        groups: dict[str, list[Move]] = defaultdict(list)
        for move in self._wanted(wanted):
            if since <= move.at < until and dimension in move.values:
                groups[move.values[dimension]].append(move)
        rows = [{"value": value, **summed(moves)} for value, moves in groups.items()]
        rows.sort(key=lambda row: (-sum(row[name] for name in by), row["value"]))
        return list(rows[:limit])

    def _wanted(self, wanted: ReportFilter) -> list[Move]:
        return [move for move in self.moves if wanted.sender in (None, move.sender) and wanted.tag in (None, move.tag)]


def summed(moves: Sequence[Move]) -> dict[str, int]:
    """Every column over some moves."""
    return {name: sum(move.counts.get(name, 0) for move in moves) for name in COLUMNS}
