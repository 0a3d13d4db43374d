"""The stats API: messages, their links and events, every event, every URL (contract, section 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tracker.reading import entries, params, shapes
from tracker.reading.answers import (
    LIST,
    Missing,
    as_csv,
    asked_of,
    body_of,
    download,
    guarded,
    json_answer,
    listed,
    read_page,
    writing,
)
from tracker.reading.auth import Gate
from tracker.store.base import MessageFilter, Page, Row, Store

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

EVENT_TYPES = (
    *("accepted", "sent", "deferred", "bounced", "error", "suppressed"),
    *("open", "click", "opt_out_click", "mirror_view", "opt_out", "opt_in"),
)
STATUSES = ("pending", "sent", "delivered", "bounced", "error", "suppressed")
_BATCH = 1000


class Api:
    """Messages, events and links in the API, over one store."""

    def __init__(self, config: TrackerConfig, store: Store, gate: Gate) -> None:
        self.gate = gate
        self._store = store
        self._zone = ZoneInfo(config.timezone)

    def routes(self) -> list[Route]:
        """Everything under ``/api/v1``."""
        return [
            Route("/api/v1/messages", self.messages),
            Route("/api/v1/messages/{id}", self.message),
            Route("/api/v1/messages/{id}/links", self.message_links),
            Route("/api/v1/messages/{id}/events", self.message_events),
            Route("/api/v1/events", self.events),
            Route("/api/v1/links", self.links, methods=["GET"]),
            Route("/api/v1/links", self.save_link_type, methods=["PUT"]),
        ]

    @guarded
    async def messages(self, request: Request) -> Response:
        """One row a message, newest first."""
        texts = ("sender", "tag", "mailing", "message_id", "recipient", "q")
        asked = asked_of(request, *texts, "status", "from", "to", *LIST)
        wanted = MessageFilter(
            **{name: asked.get(name) for name in texts},
            status=params.choice(asked, "status", STATUSES),
            since=params.instant(asked, "from", self._zone),
            until=params.instant(asked, "to", self._zone),
        )
        page = await self._page(asked, partial(self._store.messages, wanted))
        return listed(asked, page, shapes.MESSAGE, "messages")

    @guarded
    async def message(self, request: Request) -> Response:
        """One message's row, and its recipients as ``recipients_detail``."""
        asked_of(request)
        row = await self._row(request)
        people = await run_in_threadpool(self._store.recipients, row["id"])
        detail = [shapes.shape(person, shapes.RECIPIENT) for person in people]
        return json_answer({**shapes.shape(row, shapes.MESSAGE), "recipients_detail": detail})

    @guarded
    async def message_links(self, request: Request) -> Response:
        """A message's links, by position."""
        asked = asked_of(request, *LIST)
        row = await self._row(request)
        page = await self._page(asked, partial(self._store.links, row["id"]))
        return listed(asked, page, shapes.LINK, "links")

    @guarded
    async def message_events(self, request: Request) -> Response:
        """A message's timeline, in the order of recording."""
        asked = asked_of(request, *LIST)
        row = await self._row(request)
        page = await self._page(asked, partial(self._events, message=row["id"]))
        return listed(asked, page, shapes.EVENT, "events", shapes.event)

    @guarded
    async def links(self, request: Request) -> Response:
        """Every URL seen, without its query, by URL."""
        asked = asked_of(request, "sender", *LIST)
        page = await self._page(asked, partial(self._store.urls, asked.get("sender")))
        return listed(asked, page, shapes.URL, "links")

    @writing
    async def save_link_type(self, request: Request) -> Response:
        """Save the type of a URL or glob for later mail; null takes it back."""
        asked_of(request)
        url, sender, kind = entries.link_type(entries.json_of(await body_of(request)))
        await run_in_threadpool(self._store.save_link_type, sender, url, kind)
        return json_answer({"url": url, "sender": sender, "type": kind})

    @guarded
    async def events(self, request: Request) -> Response:
        """Every event, one JSON object a line, in an order that never changes; go on after any line's ``cursor``."""
        asked = asked_of(request, "from", "to", "type", *LIST)
        select = partial(
            self._events,
            kind=params.choice(asked, "type", EVENT_TYPES),
            since=params.instant(asked, "from", self._zone),
            until=params.instant(asked, "to", self._zone),
        )
        left = params.limit(asked) if "limit" in asked else None
        csv = as_csv(asked)
        # The first page is read before the answer begins, so that its errors still have a status.
        first = await read_page(select, min(left or _BATCH, _BATCH), params.cursor(asked))
        media_type = "text/csv; charset=utf-8" if csv else "application/x-ndjson"
        headers = download("events") if csv else {}
        return StreamingResponse(self._lines(select, first, left, csv), 200, headers, media_type)

    async def _lines(
        self, select: Callable[[int, str | None], Page], page: Page, left: int | None, csv: bool
    ) -> AsyncIterator[bytes]:
        if csv:
            yield shapes.to_csv([], shapes.EVENT)
        while True:
            rows = [shapes.event(row) for row in page.rows]
            if csv:
                yield shapes.to_csv(rows, shapes.EVENT, header=False)
            else:
                yield b"".join(shapes.to_json(row) + b"\n" for row in rows)
            if left is not None:
                left -= len(rows)
            if page.next is None or left == 0:
                return
            page = await run_in_threadpool(select, min(left or _BATCH, _BATCH), page.next)

    def _events(self, limit: int, after: str | None, **wanted: Any) -> Page:
        return self._store.events(limit, after, **wanted)

    async def _page(self, asked: dict[str, str], select: Callable[[int, str | None], Page]) -> Page:
        as_csv(asked)
        return await read_page(select, params.limit(asked), params.cursor(asked))

    async def _row(self, request: Request) -> Row:
        id = params.message_id(request.path_params["id"])
        row = await run_in_threadpool(self._store.message, id) if id else None
        if row is None:
            raise Missing("No message has this id; take an 'id' from /api/v1/messages.")
        return row
