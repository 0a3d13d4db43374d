"""The dashboard's first page: what is wrong, and the last 24 hours by the hour. A script of ours fetches its part
``live`` every few seconds; without script it is as it was when it was loaded."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.ops import Readiness
from tracker.reading import charts, definitions, intervals, models, params, reports
from tracker.reading.charts import Chart, Interval, Series
from tracker.reading.downloads import CSV, Made, Table, file_of
from tracker.reading.frame import Frame, Visit, signed_in
from tracker.reading.troubles import troubles
from tracker.store.base import MessageFilter, ReportFilter, Store

_LATEST = 6
_WEEK = 7 * 86400


class Overview:
    """The overview of one store; ``figures`` are those of ``/metrics``."""

    def __init__(
        self,
        frame: Frame,
        store: Store,
        readiness: Readiness,
        figures: Callable[[], Mapping[str, float]],
    ) -> None:
        self.frame = frame
        self._store = store
        self._readiness = readiness
        self._figures = figures

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/", self.overview)]

    @signed_in
    async def overview(self, visit: Visit) -> Response:
        """The last 24 hours, or the part of the page that refreshes."""
        asked = visit.asked("part", *CSV)
        tables: dict[str, Table | Made] = {
            "series": lambda: reports.as_csv(self._report(), "series"),
            "links": lambda: reports.as_csv(self._report(), "links"),
            "mailings": Table(models.columns(models.Mailing), partial(self._store.mailings, MessageFilter())),
        }
        file = await file_of(asked, tables)
        if file is not None:
            return file
        part = params.choice(asked, "part", ("live",))
        values = await run_in_threadpool(self._read)
        if not part:
            return visit.page("overview.html", **values)
        return await run_in_threadpool(_packed, visit.page("overview_live.html", **values), visit.request)

    def _report(self) -> dict[str, Any]:
        zone = self.frame.zone
        return reports.report(self._store, reports.live(self.frame.clock(), zone), ReportFilter(), zone)

    def _read(self) -> dict[str, Any]:
        now, zone = self.frame.clock(), self.frame.zone
        period = reports.live(now, zone)
        report = reports.report(self._store, period, ReportFilter(), zone)
        day = self._store.totals(ReportFilter(), period.since, period.until, cohort=True)
        week = self._store.totals(ReportFilter(), period.since - _WEEK, period.since, cohort=True)
        named = intervals.named(period.bounds, zone)
        mailings = self._store.mailings(MessageFilter(), _LATEST).rows
        return {
            "now": now,
            "report": report,
            "troubles": troubles(day, week, self._readiness(), self._figures()),
            "activity": activity("Activity by the hour", named, report["series"]),
            "opens": told_apart("Opens", "opens", named, report["series"]),
            "clicks": told_apart("Clicks", "clicks", named, report["series"]),
            "mailings": mailings,
            "links": report["top_links"]["by_url"][:_LATEST],
            "means": definitions,
            "share": charts.share,
        }


def _packed(response: Response, request: Request) -> Response:
    """The same in few octets, for who takes it so. Only what holds no secret of the session may be packed: else its
    length would tell of it to who can read along and have the session ask for what they choose (BREACH, 2013)."""
    response.headers["Vary"] = "Accept-Encoding"
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return response
    response.body = gzip.compress(bytes(response.body), 4)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.body))
    return response


def activity(title: str, named: list[Interval], rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Sent, opened and clicked over time."""
    return charts.chart(
        title,
        "mails, opens or clicks",
        named,
        [
            Series("sent", "Sent", _column(rows, "sent")),
            Series("opened", "Opens", _column(rows, "opens"), "line"),
            Series("clicked", "Clicks", _column(rows, "clicks"), "line"),
        ],
    )


def told_apart(title: str, column: str, named: list[Interval], rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Opens or clicks over time, by people and by machines."""
    name = {"opens": "opened", "clicks": "clicked"}[column]
    people = Series(name, "People", _column(rows, column))
    machines = Series("machine", "Machines", _column(rows, f"machine_{column}"))
    return charts.chart(title, column, named, [people, machines])


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [row[name] or 0 for row in rows]
