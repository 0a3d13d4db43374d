"""The dashboard's report of any period: totals, rates, and what they are made of, each table as CSV too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import charts, definitions, intervals, params, presets, reports
from tracker.reading.charts import Series
from tracker.reading.downloads import CSV, file_of
from tracker.reading.frame import SENDERS, Frame, Visit, signed_in
from tracker.reading.overview import activity, told_apart
from tracker.reading.reports import Period
from tracker.store.base import ReportFilter, Store

_ROWS = 15
_BY = ("url", "path", "label")
_NUMBERS = (
    ("messages", "Messages", None),
    ("recipients", "Recipients", None),
    ("suppressed", "Suppressed", None),
    ("sent", "Sent", None),
    ("delivered", "Delivered", "delivery"),
    ("bounced", "Bounced", "bounce"),
    ("errors", "Given up", "error"),
    ("pending", "On the way", None),
    ("opens", "Opens", "open"),
    ("unique_opens", "Opened by", "unique_open"),
    ("machine_opens", "Opens by machines", None),
    ("clicks", "Clicks", "click"),
    ("unique_clicks", "Clicked by", "unique_click"),
    ("machine_clicks", "Clicks by machines", None),
    ("opt_outs", "Opt-outs", "opt_out"),
    ("opt_out_clicks", "Opt-out links clicked", None),
    ("complaints", "Complaints", "complaint"),
    ("mirror_views", "Web copies viewed", None),
)
"""Columns of the totals, what they are called, and their rates."""

_CHARTED = ("sent", "opens", "clicks", "machine_opens", "machine_clicks", "bounced")


class ReportPage:
    """The report over one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/report", self.report)]

    @signed_in
    async def report(self, visit: Visit) -> Response:
        """A period's report, of one sender or tag or of all."""
        asked = visit.asked("period", "from", "to", "sender", "tag", "by", *CSV)
        now, zone = self.frame.clock(), self.frame.zone
        choices = presets.presets(now, zone)
        params.choice(asked, "period", [each.name for each in choices])
        preset = presets.picked(asked, choices)
        dates: Mapping[str, str] = asked
        if preset is not None:
            dates = {"from": preset.first.isoformat(), "to": preset.last.isoformat()}
        period = reports.overall(dates, now, zone)
        wanted = ReportFilter(asked.get("sender", "").strip().lower() or None, asked.get("tag", "").strip() or None)
        read = partial(reports.report, self._store, period, wanted, zone)
        file = await file_of(asked, {name: partial(_file, read, name) for name in reports.TABLES})
        if file is not None:
            return file
        by = params.choice(asked, "by", _BY) or "url"
        found = await run_in_threadpool(read)
        return visit.page(
            "report.html",
            report=found,
            senders=await run_in_threadpool(self._store.senders, SENDERS),
            choices=choices,
            preset=preset,
            by=by,
            bys=_BY,
            days=_days(period, self.frame),
            wanted=wanted,
            rows=_ROWS,
            means=definitions,
            numbers=_NUMBERS,
            share=charts.share,
            **self._charts(period, found),
        )

    def _charts(self, period: Period, found: Mapping[str, Any]) -> dict[str, Any]:
        zone = self.frame.zone
        bounds, rows = intervals.fewer(period.bounds, found["series"], _CHARTED, zone)
        named = intervals.named(bounds, zone)
        unit = "day" if len(bounds) == len(period.bounds) else "week" if len(period.bounds) <= 435 else "month"
        bounced = Series("machine", "Bounced", [row["bounced"] for row in rows])
        return {
            "activity": activity(f"Activity by {unit}", named, rows),
            "opens": told_apart("Opens", "opens", named, rows),
            "clicks": told_apart("Clicks", "clicks", named, rows),
            "bounces": charts.chart("Bounces", "bounces", named, [bounced]),
        }


def _file(read: Any, name: str) -> bytes:
    return reports.as_csv(read(), name)


def _days(period: Period, frame: Frame) -> tuple[date, date]:
    """The first and the last day of a period, as dates in the frame's zone."""
    first = datetime.fromtimestamp(period.since, frame.zone).date()
    return first, datetime.fromtimestamp(period.until - 1e-3, frame.zone).date()
