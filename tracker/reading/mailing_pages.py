"""The dashboard's mailings: the messages that belong together, as one row, and each of them as a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import charts, intervals, models, params, reasons, shapes, timeline
from tracker.reading.answers import read_page
from tracker.reading.charts import Chart, Series
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, SENDERS, Frame, Visit, signed_in
from tracker.store.base import MessageFilter, Row, Store

MAILING, LINK = models.columns(models.Mailing), models.columns(models.MailingLink)
COURSE = ("start_at", "end_at", "sent", "opens", "machine_opens", "clicks", "machine_clicks")
_LINKS = 200


class MailingPages:
    """The mailings of one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The list, and one mailing."""
        return [Route("/mailings", self.list), Route("/mailings/{id}", self.mailing)]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The mailings, newest first."""
        asked = visit.asked("q", "sender", "cursor", *CSV)
        query, sender = asked.get("q", "").strip(), asked.get("sender", "").strip().lower()
        select = partial(self._store.mailings, MessageFilter(q=query or None, sender=sender or None))
        file = await file_of(asked, {"mailings": Table(MAILING, select)})
        if file is not None:
            return file
        page = await read_page(select, ROWS, params.cursor(asked))
        return visit.page(
            "mailings.html",
            mailings=page.rows,
            senders=await run_in_threadpool(self._store.senders, SENDERS),
            query=query,
            sender=sender,
            older=params.seal_cursor(page.next),
            later="cursor" in asked,
            share=charts.share,
        )

    @signed_in
    async def mailing(self, visit: Visit) -> Response:
        """One mailing: what became of it, and its links."""
        asked = visit.asked(*CSV)
        row = await run_in_threadpool(self._store.mailing, visit.request.path_params["id"])
        if row is None:
            text = "No mailing has this address. It may have been purged, or the link was cut short."
            return visit.problem(404, "Not found", text)
        links = partial(self._store.mailing_links, row["id"])
        messages = partial(self._store.messages, MessageFilter(mailing_key=row["id"]))
        tables = {
            "links": Table(LINK, links),
            "messages": Table(shapes.MESSAGE, messages),
            "course": Table.of(COURSE, partial(self._intervals, row)),
        }
        file = await file_of(asked, tables)
        if file is not None:
            return file
        found = await run_in_threadpool(links, _LINKS)
        course = await run_in_threadpool(self._course, row)
        latest = await run_in_threadpool(messages, 1)
        return visit.page(
            "mailing.html",
            mailing=row,
            links=[{**link, "why": reasons.of_link(link["reason"] or "", link["type"]).why} for link in found.rows],
            more=found.next is not None,
            most=max((link["clicks"] for link in found.rows), default=0),
            course=course,
            only=latest.rows[0] if row["messages"] == 1 and latest.rows else None,
            steps=timeline.funnel(row),
            share=charts.share,
        )

    def _course(self, mailing: Row) -> Chart:
        rows, zone = self._intervals(mailing), self.frame.zone
        bounds = [*(row["start_at"] for row in rows), rows[-1]["end_at"]]
        title = "The first week, by three hours" if bounds[1] - bounds[0] > 3600 else "The first days, by the hour"
        opened = Series("opened", "Opens", [row["opens"] for row in rows])
        clicked = Series("clicked", "Clicks", [row["clicks"] for row in rows], "line")
        return charts.chart(title, "opens or clicks", intervals.named(bounds, zone), [opened, clicked])

    def _intervals(self, mailing: Row) -> Sequence[Row]:
        bounds = intervals.course(mailing["first_accepted_at"], self.frame.clock(), self.frame.zone)
        rows = self._store.mailing_series(mailing["id"], bounds)
        return [
            {"start_at": start, "end_at": end, **row} for (start, end), row in zip(pairwise(bounds), rows, strict=True)
        ]
