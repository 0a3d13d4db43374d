"""Our numbers as Postmark's stats and messages APIs tell them (docs/drop-in.md; postmarkapp.com/developer/api/stats-api
and messages-api), for programs that were written for these. Pure but for the store that it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from tracker.hits.agents import client_of
from tracker.reading.params import rfc3339
from tracker.store.base import Numbers, ReportFilter, Row

STREAM = "outbound"
_YEARS = 20
_VALUES = 1000
_UNKNOWN = ("", "other", "unknown")
_PLATFORMS = {"desktop": "Desktop", "phone": "Mobile", "tablet": "Mobile"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be told: of which mail, from when (None: since ever) to when, by the days of which zone."""

    wanted: ReportFilter
    since: float | None
    until: float
    zone: tzinfo

    @property
    def begin(self) -> float:
        """The first moment; never more than twenty years before the last."""
        last = datetime.fromtimestamp(self.until, self.zone)
        earliest = datetime(last.year - _YEARS, 1, 1, tzinfo=self.zone).timestamp()
        return earliest if self.since is None else max(self.since, earliest)


@dataclass(frozen=True, slots=True)
class Day:
    """A day on which something happened."""

    date: str
    since: float
    until: float
    row: Row


Shape = Callable[[Row], dict[str, int]]
Stats = Callable[[Numbers, Asked], dict[str, Any]]


def overview(numbers: Numbers, asked: Asked) -> dict[str, Any]:
    """``/stats/outbound``."""
    row = numbers.totals(asked.wanted, asked.begin, asked.until)

    def opened(dimension: str) -> Sequence[Row]:
        return numbers.breakdown(asked.wanted, dimension, asked.begin, asked.until, ("unique_opens",), _VALUES)

    return {
        "Sent": _sent(row),
        "Bounced": row["bounced"],
        "SMTPApiErrors": row["errors"],
        "BounceRate": _percent(row["bounced"], _sent(row)),
        "SpamComplaints": row["complaints"],
        "SpamComplaintsRate": _percent(row["complaints"], _sent(row)),
        "Opens": row["opens"],
        "UniqueOpens": row["unique_opens"],
        "TotalClicks": row["clicks"],
        "UniqueLinksClicked": row["unique_clicks"],
        "TotalTrackedLinksSent": row["click_tracked"],
        "Tracked": _tracked(row),
        "WithLinkTracking": row["click_tracked"],
        "WithOpenTracking": row["open_tracked"],
        "WithClientRecorded": sum(each["unique_opens"] for each in opened("client") if _known(each["value"])),
        "WithPlatformRecorded": sum(each["unique_opens"] for each in opened("device")),
        "WithReadTimeRecorded": 0,
    }


def by_day(shape: Shape) -> Stats:
    """Stats that can be read off each day's counts."""

    def stats(numbers: Numbers, asked: Asked) -> dict[str, Any]:
        return _told([(day, shape(day.row)) for day in days(numbers, asked)], shape(Counter()))

    return stats


def by_value(dimension: str, column: str, named: Callable[[str], str | None], always: Sequence[str] = ()) -> Stats:
    """Stats by the values of a dimension, as they are ``named``; ``always`` are told where there is none of them."""

    def stats(numbers: Numbers, asked: Asked) -> dict[str, Any]:
        found = []
        for day in days(numbers, asked):
            counts = Counter(dict.fromkeys(always, 0))
            if day.row[column]:
                rows = numbers.breakdown(asked.wanted, dimension, day.since, day.until, (column,), _VALUES)
                for row in rows:
                    if row[column] and (name := named(row["value"])):
                        counts[name] += row[column]
            found.append((day, dict(counts)))
        return _told(found, dict.fromkeys(always, 0))

    return stats


def bounces(numbers: Numbers, asked: Asked) -> dict[str, Any]:
    """``/stats/outbound/bounces``: hard and soft by the class of each, and what was given up without a refusal."""
    found = []
    for day in days(numbers, asked):
        counts = _no_bounces() | {"SMTPApiError": day.row["errors"]}
        if day.row["bounced"]:
            rows = numbers.breakdown(asked.wanted, "reason", day.since, day.until, ("bounced",), _VALUES)
            for row in rows:
                counts["SoftBounce" if row["value"].startswith("soft") else "HardBounce"] += row["bounced"]
        found.append((day, counts))
    return _told(found, _no_bounces())


def _no_bounces() -> dict[str, int]:
    return {"HardBounce": 0, "SMTPApiError": 0, "SoftBounce": 0, "Transient": 0}


def days(numbers: Numbers, asked: Asked) -> list[Day]:
    """The days of a period on which anything happened; found by the month first, since a period may be all of time."""
    found = []
    for month in _intervals(numbers, asked, asked.begin, asked.until, _next_month):
        for since, until, row in _intervals(numbers, asked, month[0], month[1], _next_day):
            found.append(Day(datetime.fromtimestamp(since, asked.zone).date().isoformat(), since, until, row))
    return found


def _intervals(
    numbers: Numbers, asked: Asked, since: float, until: float, following: Callable[[datetime], datetime]
) -> list[tuple[float, float, Row]]:
    bounds = [since]
    while (bound := following(datetime.fromtimestamp(bounds[-1], asked.zone)).timestamp()) < until:
        bounds.append(bound)
    bounds.append(until)
    rows = numbers.series(asked.wanted, bounds)
    return [(start, end, row) for (start, end), row in zip(pairwise(bounds), rows, strict=True) if any(row.values())]


def _next_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)


def _next_month(moment: datetime) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month, 12)
    return datetime(year, month + 1, 1, tzinfo=moment.tzinfo)


def _told(found: Sequence[tuple[Day, Mapping[str, int]]], nothing: Mapping[str, int]) -> dict[str, Any]:
    totals = Counter(nothing)
    for _, counts in found:
        totals.update(counts)
    told = [{"Date": day.date, **_values(counts)} for day, counts in found if any(counts.values())]
    return {"Days": told, **_values(totals)}


def _values(counts: Mapping[str, int]) -> dict[str, int]:
    """A program may call itself what it likes, but not take the place of a name that stands beside these."""
    return {name: count for name, count in counts.items() if name not in ("Date", "Days")}


def _sent(row: Row) -> int:
    """All that was handed to the smarthost, be it taken or refused: what Postmark counts as sent may bounce too."""
    return int(row["sent"] + row["bounced"] - row["bounced_later"])


def _tracked(row: Row) -> int:
    return int(max(row["open_tracked"], row["click_tracked"]))


def _percent(part: int, base: int) -> float:
    return round(100 * part / base, 3) if base else 0.0


def _known(value: str) -> str | None:
    return None if value.lower() in _UNKNOWN else value


def _platform(value: str) -> str:
    return _PLATFORMS.get(value.lower(), "Unknown")


def _browser_platform(value: str) -> str:
    platform = _platform(value)
    return platform if platform in ("Desktop", "Mobile") else "Unknown"


STATS: dict[str, Stats] = {
    "": overview,
    "/sends": by_day(lambda row: {"Sent": _sent(row)}),
    "/bounces": bounces,
    "/spam": by_day(lambda row: {"SpamComplaint": row["complaints"]}),
    "/tracked": by_day(lambda row: {"Tracked": _tracked(row)}),
    "/opens": by_day(lambda row: {"Opens": row["opens"], "Unique": row["unique_opens"]}),
    "/opens/platforms": by_value("device", "unique_opens", _platform, ("Desktop", "Mobile", "Unknown", "WebMail")),
    "/opens/emailclients": by_value("client", "unique_opens", _known),
    "/clicks": by_day(lambda row: {"Clicks": row["clicks"], "Unique": row["unique_clicks"]}),
    "/clicks/browserfamilies": by_value("client", "unique_clicks", _known),
    "/clicks/platforms": by_value("device", "unique_clicks", _browser_platform, ("Desktop", "Mobile", "Unknown")),
    "/clicks/location": by_day(lambda row: {"HTML": row["unique_clicks"], "Text": 0}),
}
"""What is told under ``/stats/outbound``."""


def hit(row: Row) -> dict[str, Any]:
    """One open or click of ``/messages/outbound/opens`` and ``clicks``."""
    client = client_of(row["agent"] or "")
    told = {
        "RecordType": row["type"].capitalize(),
        "MessageID": row["message"],
        "MessageStream": STREAM,
        "Recipient": row["recipient_address"] or "",
        "Tag": row["tag"] or "",
        "ReceivedAt": rfc3339(row["at"]),
        "UserAgent": row["agent"] or "",
        "Client": _named(client.client),
        "OS": _named(client.system),
        "Platform": _platform(client.device),
        "Geo": {},
    }
    if row["type"] == "open":
        return told | {"FirstOpen": row["first"], "ReadSeconds": 0}
    return told | {"OriginalLink": row["url"] or "", "ClickLocation": "HTML"}


def _named(name: str) -> dict[str, str]:
    name = _known(name) or "unknown"
    return {"Name": name, "Company": "unknown", "Family": name}
