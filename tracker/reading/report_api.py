"""The reports in the API (contract, sections 6 and 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.model import Clock
from tracker.reading import params, reports
from tracker.reading.answers import as_csv, asked_of, download, guarded, json_answer
from tracker.reading.auth import Gate
from tracker.reading.params import BadRequest
from tracker.reading.reports import Period
from tracker.store.base import Numbers, ReportFilter

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

_EACH = ("sender", "tag", "format", "table")


class ReportApi:
    """Both reports, over one store."""

    def __init__(self, config: TrackerConfig, numbers: Numbers, gate: Gate, clock: Clock) -> None:
        self.gate = gate
        self._numbers = numbers
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)

    def routes(self) -> list[Route]:
        """Everything under ``/api/v1/reports``."""
        return [Route("/api/v1/reports/live", self.live), Route("/api/v1/reports/global", self.overall)]

    @guarded
    async def live(self, request: Request) -> Response:
        """The last 24 hours, by the hour."""
        asked = asked_of(request, *_EACH)
        return await self._answer(asked, reports.live(self._clock(), self._zone))

    @guarded
    async def overall(self, request: Request) -> Response:
        """Any period, by the day."""
        asked = asked_of(request, "from", "to", *_EACH)
        return await self._answer(asked, reports.overall(asked, self._clock(), self._zone))

    async def _answer(self, asked: dict[str, str], period: Period) -> Response:
        csv, table = as_csv(asked), params.choice(asked, "table", reports.TABLES)
        if table and not csv:
            raise BadRequest("Give 'table' together with format=csv; as JSON a report holds all of its tables.")
        wanted = ReportFilter(asked.get("sender"), asked.get("tag"))
        found = await run_in_threadpool(reports.report, self._numbers, period, wanted, self._zone)
        if not csv:
            return json_answer(found)
        table = table or "series"
        name = f"{period.kind}-{table}"
        return Response(reports.as_csv(found, table), 200, download(name), "text/csv; charset=utf-8")
