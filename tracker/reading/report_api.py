"""The reports in the API (contract, sections 6 and 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tracker.model import Clock
from tracker.reading import reports
from tracker.reading.answers import download, json_answer, reads
from tracker.reading.auth import Gate
from tracker.reading.operations import CSV, JSON, Answer, Answers
from tracker.reading.parameters import FORMAT, PERIOD, Asked, choice, sender_of, text
from tracker.reading.params import BadRequest
from tracker.reading.report_models import Report
from tracker.reading.reports import Period
from tracker.store.base import Numbers, ReportFilter

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

_EACH = (
    sender_of("Of this sender's mail alone."),
    text("tag", "Of the mail with this tag alone."),
    FORMAT,
    choice("table", reports.TABLES, "With CSV: which table of the report; the series, unless given."),
)
_TABLE = {"type": "string", "description": "A header and the lines of the table that was asked for."}
_REPORT: Answers = {200: Answer("The report, or one of its tables as CSV.", {JSON: Report, CSV: _TABLE})}


class ReportApi:
    """Both reports, over one store."""

    def __init__(self, config: TrackerConfig, numbers: Numbers, gate: Gate, clock: Clock) -> None:
        self.gate = gate
        self._numbers = numbers
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)

    @reads("/api/v1/reports/live", *_EACH, gives=_REPORT)
    async def live_report(self, request: Request, asked: Asked) -> Response:
        """The last 24 hours, by the hour."""
        return await self._answer(asked, reports.live(self._clock(), self._zone))

    @reads("/api/v1/reports/global", *PERIOD, *_EACH, gives=_REPORT)
    async def global_report(self, request: Request, asked: Asked) -> Response:
        """Any period, by the day; the last 30 days, unless given."""
        return await self._answer(asked, reports.overall(asked, self._clock(), self._zone))

    async def _answer(self, asked: Asked, period: Period) -> Response:
        csv, table = asked["format"] == "csv", asked["table"]
        if table and not csv:
            raise BadRequest("Give 'table' together with format=csv; as JSON a report holds all of its tables.")
        wanted = ReportFilter(asked["sender"], asked["tag"])
        found = await run_in_threadpool(reports.report, self._numbers, period, wanted, self._zone)
        if not csv:
            return json_answer(found)
        table = table or "series"
        name = f"{period.kind}-{table}"
        return Response(reports.as_csv(found, table), 200, download(name), "text/csv; charset=utf-8")
