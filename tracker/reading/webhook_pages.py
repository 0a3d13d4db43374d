"""The dashboard's page of webhooks: how each endpoint fares, what was sent there last, and sending it once more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, Frame, Visit, posted, see_other, signed_in
from tracker.reading.params import BadRequest
from tracker.store.base import Row
from tracker.webhooks.deliveries import FAILING, Deliveries
from tracker.webhooks.endpoint import Endpoint
from tracker.webhooks.metrics import behind
from tracker.webhooks.notice import name_of, notice_of

COLUMNS = ("endpoint", "event", "message", "state", "tries", "first_at", "last_at", "next_at", "status", "problem")
"""One row a delivery."""

LARGEST_PAYLOAD = 20_000
"""Characters of a payload that are shown."""

_DONE = {"resent": "The event is sent once more.", "resumed": "The endpoint is sent to again."}


class WebhookPages:
    """The endpoints that are configured now, as ``deliveries`` knows them."""

    def __init__(self, frame: Frame, deliveries: Deliveries, endpoints: Callable[[], Sequence[Endpoint]]) -> None:
        self.frame = frame
        self._deliveries = deliveries
        self._endpoints = endpoints
        frame.shows["webhooks"] = lambda: bool(endpoints())

    def routes(self) -> list[Route]:
        """The pages, and what their forms do."""
        return [
            Route("/webhooks", self.list, methods=["GET"]),
            Route("/webhooks/resend", self.resend, methods=["POST"]),
            Route("/webhooks/resume", self.resume, methods=["POST"]),
            Route("/webhooks/{place:int}/{recorded:int}", self.show, methods=["GET"]),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """Every endpoint, and its last deliveries."""
        asked = visit.asked("done", *CSV)
        shown = await run_in_threadpool(self._shown)
        tables = {f"endpoint-{each['endpoint'].place}": _table(each["deliveries"]) for each in shown}
        file = await file_of(asked, tables) if tables else None
        return file or visit.page("webhooks.html", endpoints=shown, done=_DONE.get(asked.get("done", "")))

    @signed_in
    async def show(self, visit: Visit) -> Response:
        """One delivery, with what is told."""
        visit.asked()
        path = visit.request.path_params
        endpoint = self._endpoint(path["place"])
        row: Row | None = None
        if endpoint is not None:
            row = await run_in_threadpool(self._deliveries.one, endpoint.key, path["recorded"])
        if endpoint is None or row is None:
            text = "Nothing is known of this delivery any more. Those of the last days are kept."
            return visit.problem(404, "Not found", text)
        payload = payload_of(endpoint, row)
        return visit.page("webhook.html", endpoint=endpoint, delivery=row, payload=payload)

    @posted()
    async def resend(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Send one delivery once more."""
        endpoint, recorded = self._endpoint(_number(fields, "endpoint")), _number(fields, "recorded")
        now = self.frame.clock()
        if endpoint is None or not await run_in_threadpool(self._deliveries.resend, endpoint.key, recorded, now):
            raise BadRequest("Nothing is known of this delivery any more, so it cannot be sent again.")
        return _done("resent")

    @posted()
    async def resume(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """Go on with an endpoint that is stopped."""
        endpoint = self._endpoint(_number(fields, "endpoint"))
        if endpoint is None:
            raise BadRequest("There is no such endpoint any more.")
        await run_in_threadpool(self._deliveries.resume, endpoint.key)
        return _done("resumed")

    def _endpoint(self, place: int) -> Endpoint | None:
        return next((each for each in self._endpoints() if each.place == place), None)

    def _shown(self) -> Sequence[Mapping[str, Any]]:
        found = self._deliveries.endpoints()
        return [self._figures(each, found.get(each.key)) for each in self._endpoints()]

    def _figures(self, endpoint: Endpoint, row: Row | None) -> Mapping[str, Any]:
        deliveries = self._deliveries.recent(endpoint.key, ROWS) if row else []
        known = {"endpoint": endpoint.place}
        return {
            "endpoint": endpoint,
            "row": row,
            "state": state_of(row),
            "behind": behind(row, self.frame.clock()) if row else 0.0,
            "deliveries": [{**each, "event": each["name"], **known} for each in deliveries],
        }


def state_of(row: Row | None) -> str:
    """How an endpoint fares, in one word."""
    if row is None:
        return "new"
    if row["stopped_at"] is not None:
        return "stopped"
    return "failing" if row["failures"] >= FAILING else "ok"


def payload_of(endpoint: Endpoint, row: Row) -> str | None:
    """What is told of an event as it stands now, without a signature; None where the event is kept no more."""
    about = row["about"]
    if about is None or name_of(about) is None:
        return None
    notice = notice_of(about, endpoint.key, endpoint.names)
    text = json.dumps(endpoint.form.payload([notice]), indent=2, ensure_ascii=False)
    return text if len(text) <= LARGEST_PAYLOAD else f"{text[:LARGEST_PAYLOAD]}\n…"


def _table(rows: Sequence[Row]) -> Table:
    return Table.of(COLUMNS, lambda: rows)


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else -1


def _done(what: str) -> Response:
    return see_other("/webhooks?" + urlencode({"done": what}))
