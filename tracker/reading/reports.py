"""The reports, live and global: one shape, made of what the store counts (contract, section 7; docs/numbers.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tracker.reading import params
from tracker.reading.params import BadRequest
from tracker.reading.shapes import to_csv
from tracker.store.base import Numbers, ReportFilter, Row, Sums

HITS = ("opens", "unique_opens", "machine_opens", "clicks", "unique_clicks", "machine_clicks")
UNIQUES = ("unique_opens", "unique_clicks")
COUNTS = (
    *("messages", "recipients", "targeted", "suppressed", "sent", "delivered", "bounced", "errors", "pending"),
    *("complaints", "open_tracked", "click_tracked", *HITS, "opt_outs", "opt_out_clicks", "mirror_views"),
)
"""The columns of totals and series."""

OF_A_PART = tuple(name for name in COUNTS if name != "pending")
"""The columns of a domain and of a tag."""

_CLICKS = ("clicks", "unique_clicks", "machine_clicks")
LINKS = {"url": "by_url", "path": "by_path", "label": "by_label"}
CLIENTS = {"device": "device", "system": "system", "client": "mail_client"}
"""Dimensions of the store, and what they are called in a report."""

RATES = {
    "delivery": ("delivered", "tried"),
    "bounce": ("bounced", "tried"),
    "error": ("errors", "tried"),
    "open": ("opens", "open_tracked"),
    "unique_open": ("unique_opens", "attributed_open_tracked"),
    "click": ("clicks", "click_tracked"),
    "unique_click": ("unique_clicks", "attributed_click_tracked"),
    "click_to_open": ("both", "unique_opens"),
    "opt_out": ("opt_outs", "delivered"),
    "complaint": ("complaints", "delivered"),
}
"""What each rate is a part of; ``tried`` is targeted less suppressed."""

LIVE_HOURS, DEFAULT_DAYS = 24, 30
MOST = 100
"""Rows of each list."""

_LONGEST = 3660 * 86400.0


@dataclass(frozen=True, slots=True)
class Period:
    """From the first bound to the last, in the intervals between them; seconds since the epoch."""

    kind: str
    bounds: Sequence[float]

    @property
    def since(self) -> float:
        """Its begin, which belongs to it."""
        return self.bounds[0]

    @property
    def until(self) -> float:
        """Its end, which does not."""
        return self.bounds[-1]


def live(now: float, zone: tzinfo) -> Period:
    """The last 24 hours by the hour of the clock on the wall, the one that is under way included."""
    offset = datetime.fromtimestamp(now, zone).utcoffset()
    assert offset is not None
    hour = now - (now + offset.total_seconds()) % 3600
    return Period("live", [hour + 3600 * n for n in range(1 - LIVE_HOURS, 2)])


def overall(asked: Mapping[str, str], now: float, zone: tzinfo) -> Period:
    """The period that ``from`` and ``to`` ask for, by local day; without them the last 30 days, today included. Raises
    BadRequest."""
    until, since = params.end(asked, "to", zone), params.instant(asked, "from", zone)
    try:
        if until is None:
            until = midnight(now, zone, 1)
        if since is None:
            since = midnight(until - 1e-3, zone, 1 - DEFAULT_DAYS)
        if since >= until:
            raise BadRequest("Give a 'from' that is before 'to'; without 'to' a period ends with today.")
        if until - since > _LONGEST:
            raise BadRequest("Give a period of at most ten years by 'from' and 'to'.")
        bounds = [since]
        while (following := midnight(bounds[-1], zone, 1)) < until:
            bounds.append(following)
    except (ValueError, OverflowError):
        raise BadRequest("Give a 'from' and a 'to' in the years 1 to 9998.") from None
    return Period("global", [*bounds, until])


def midnight(at: float, zone: tzinfo, days: int) -> float:
    """When the local day began that is so many days after the day of ``at``."""
    day = datetime.fromtimestamp(at, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (day + timedelta(days=days)).timestamp()


def report(numbers: Numbers, period: Period, wanted: ReportFilter, zone: ZoneInfo) -> dict[str, Any]:
    """The whole report. Blocks; raises StoreError."""
    return numbers.at_once(wanted, lambda sums: _report(sums, period, wanted, zone))


def _report(sums: Sums, period: Period, wanted: ReportFilter, zone: ZoneInfo) -> dict[str, Any]:
    since, until = period.since, period.until

    def top(dimension: str, *by: str) -> list[Row]:
        return sums.breakdown(dimension, since, until, by, MOST)

    intervals = sums.series(period.bounds)
    cohort = sums.totals(since, until, cohort=True)
    totals = _summed(intervals, cohort)
    known = _attributed(totals, cohort) or _by_somebody(top("domain", "opens", "clicks"))
    return {
        "kind": period.kind,
        "from": params.rfc3339(since),
        "to": params.rfc3339(until),
        "timezone": zone.key,
        "sender": wanted.sender,
        "tag": wanted.tag,
        "totals": _counts(totals, COUNTS, known),
        "rates": rates(cohort),
        "series": [
            {"start": params.rfc3339(start), "end": params.rfc3339(end), **_counts(row, COUNTS, known)}
            for (start, end), row in zip(pairwise(period.bounds), intervals, strict=True)
        ],
        "top_links": {
            name: [{dimension: row["value"], **_counts(row, _CLICKS, known)} for row in top(dimension, "clicks")]
            for dimension, name in LINKS.items()
        },
        "recipient_domains": [
            {"domain": row["value"], **_counts(row, OF_A_PART, known)} for row in top("domain", "targeted", "sent")
        ],
        "bounce_reasons": [_reason(row) for row in top("reason", "bounced")],
        "clients": {
            name: [{"name": row["value"], **_counts(row, HITS, known)} for row in top(dimension, "opens", "clicks")]
            for dimension, name in CLIENTS.items()
        },
        "tags": [{"tag": row["value"], **_counts(row, OF_A_PART, known)} for row in top("tag", "targeted", "sent")],
    }


def rates(cohort: Row) -> dict[str, float | None]:
    """The rates of the mail that these totals are of, as fractions; None where there is nothing to be a part of."""
    of = {**cohort, "tried": cohort["targeted"] - cohort["suppressed"]}
    return {name: round(of[part] / of[base], 6) if of[base] > 0 else None for name, (part, base) in RATES.items()}


def _summed(intervals: Sequence[Row], cohort: Row) -> dict[str, int]:
    """The sums of a series, so that a report agrees with itself whatever is counted meanwhile."""
    totals = {name: sum(row[name] for row in intervals) for name in cohort}
    return totals | {"pending": cohort["pending"]}


def _attributed(totals: Row, cohort: Row) -> bool:
    """Whether unique counts say something: not where all that was counted is tied to no recipient."""
    seen = ("open_tracked", "click_tracked", "opens", "clicks")
    tied = ("attributed_open_tracked", "attributed_click_tracked", *UNIQUES)

    def any_of(names: Sequence[str]) -> bool:
        return any(row[name] > 0 for row in (totals, cohort) for name in names)

    return any_of(tied) or not any_of(seen)


def _by_somebody(domains: Sequence[Row]) -> bool:
    """Whether any hit names a recipient, though none may be the first: only such hits are counted by domain."""
    return any(row["opens"] + row["clicks"] for row in domains[:1])


def _counts(row: Row, columns: Sequence[str], attributed: bool) -> dict[str, int | None]:
    values = {**row, "recipients": row["targeted"]}
    return {name: None if name in UNIQUES and not attributed else values[name] for name in columns}


def _reason(row: Row) -> dict[str, Any]:
    severity, _, code = row["value"].partition(" ")
    return {"class": severity, "code": code, "bounced": row["bounced"]}


# -- as tables -------------------------------------------------------------------------------------------------------

_TABLES: dict[str, tuple[str, ...]] = {
    "series": ("start", "end", *COUNTS),
    "totals": ("from", "to", "timezone", "sender", "tag", *COUNTS, *(f"{name}_rate" for name in RATES)),
    "links": ("by", "value", *_CLICKS),
    "domains": ("domain", *OF_A_PART),
    "reasons": ("class", "code", "bounced"),
    "clients": ("by", "name", *HITS),
    "tags": ("tag", *OF_A_PART),
}
TABLES = tuple(_TABLES)
"""What there is of a report as CSV."""


def rows_of(found: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    """One table of a report, row by row."""
    if table == "totals":
        about = {name: found[name] for name in ("from", "to", "timezone", "sender", "tag")}
        return [about | found["totals"] | {f"{name}_rate": rate for name, rate in found["rates"].items()}]
    if table == "links":
        return [
            {"by": dimension, "value": row[dimension], **row}
            for dimension, name in LINKS.items()
            for row in found["top_links"][name]
        ]
    if table == "clients":
        return [{"by": name, **row} for name in CLIENTS.values() for row in found["clients"][name]]
    named = {"domains": "recipient_domains", "reasons": "bounce_reasons"}
    return list(found[named.get(table, table)])


def as_csv(found: Mapping[str, Any], table: str) -> bytes:
    """One table of a report as CSV."""
    return to_csv(rows_of(found, table), _TABLES[table])
