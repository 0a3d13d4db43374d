"""The stats API: messages, their links and events, every event, every URL (contract, section 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tracker.errors import StoreError
from tracker.reading import params, shapes
from tracker.reading.auth import Gate
from tracker.reading.params import BadRequest
from tracker.store.base import MessageFilter, Page, Row, Store

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

EVENT_TYPES = (
    *("accepted", "sent", "deferred", "bounced", "error", "suppressed"),
    *("open", "click", "opt_out_click", "mirror_view"),
)
STATUSES = ("pending", "sent", "delivered", "bounced", "error", "suppressed")
_LIST = ("limit", "cursor", "format")
_BATCH = 1000

Endpoint = Callable[["Api", Request], Awaitable[Response]]


class _Missing(Exception):
    """Nothing has that id."""


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error as RFC 9457 has it; ``detail`` says what to do."""
    body = shapes.to_json({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status, headers, "application/problem+json")


def guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint that wants a key, and whose failures are answered as problems."""

    @wraps(endpoint)
    async def answer(api: Api, request: Request) -> Response:
        if api.gate.bearer(request.headers.get("authorization")) is None:
            detail = "Send one of tracker.api_keys in the header 'Authorization: Bearer KEY'."
            return problem(401, "Unauthorized", detail, {"WWW-Authenticate": 'Bearer realm="tracepost"'})
        try:
            return await endpoint(api, request)
        except BadRequest as error:
            return problem(400, "Bad Request", str(error))
        except _Missing:
            return problem(404, "Not Found", "No message has this id; take an 'id' from /api/v1/messages.")
        except StoreError:
            detail = "The store cannot be read now; try again in a few seconds."
            return problem(503, "Service Unavailable", detail, {"Retry-After": "5"})

    return answer


class Api:
    """The read side of the API over one store."""

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
            Route("/api/v1/links", self.links),
        ]

    @guarded
    async def messages(self, request: Request) -> Response:
        """One row a message, newest first."""
        texts = ("sender", "tag", "mailing", "message_id", "recipient", "q")
        asked = _asked(request, *texts, "status", "from", "to", *_LIST)
        wanted = MessageFilter(
            **{name: asked.get(name) for name in texts},
            status=params.choice(asked, "status", STATUSES),
            since=params.instant(asked, "from", self._zone),
            until=params.instant(asked, "to", self._zone),
        )
        page = await self._page(asked, partial(self._store.messages, wanted))
        return _listed(asked, page, shapes.MESSAGE, "messages")

    @guarded
    async def message(self, request: Request) -> Response:
        """One message's row, and its recipients as ``recipients_detail``."""
        _asked(request)
        row = await self._row(request)
        people = await run_in_threadpool(self._store.recipients, row["id"])
        detail = [shapes.shape(person, shapes.RECIPIENT) for person in people]
        return _json({**shapes.shape(row, shapes.MESSAGE), "recipients_detail": detail})

    @guarded
    async def message_links(self, request: Request) -> Response:
        """A message's links, by position."""
        asked = _asked(request, *_LIST)
        row = await self._row(request)
        page = await self._page(asked, partial(self._store.links, row["id"]))
        return _listed(asked, page, shapes.LINK, "links")

    @guarded
    async def message_events(self, request: Request) -> Response:
        """A message's timeline, in the order of recording."""
        asked = _asked(request, *_LIST)
        row = await self._row(request)
        page = await self._page(asked, partial(self._events, message=row["id"]))
        return _listed(asked, page, shapes.EVENT, "events", shapes.event)

    @guarded
    async def links(self, request: Request) -> Response:
        """Every URL seen, without its query, by URL."""
        asked = _asked(request, "sender", *_LIST)
        page = await self._page(asked, partial(self._store.urls, asked.get("sender")))
        return _listed(asked, page, shapes.URL, "links")

    @guarded
    async def events(self, request: Request) -> Response:
        """Every event, one JSON object a line, in an order that never changes; go on after any line's ``cursor``."""
        asked = _asked(request, "from", "to", "type", *_LIST)
        select = partial(
            self._events,
            kind=params.choice(asked, "type", EVENT_TYPES),
            since=params.instant(asked, "from", self._zone),
            until=params.instant(asked, "to", self._zone),
        )
        left = params.limit(asked) if "limit" in asked else None
        as_csv = _as_csv(asked)
        # The first page is read before the answer begins, so that its errors still have a status.
        first = await self._read(select, min(left or _BATCH, _BATCH), params.cursor(asked))
        media_type = "text/csv; charset=utf-8" if as_csv else "application/x-ndjson"
        headers = _download("events") if as_csv else {}
        return StreamingResponse(self._lines(select, first, left, as_csv), 200, headers, media_type)

    async def _lines(
        self, select: Callable[[int, str | None], Page], page: Page, left: int | None, as_csv: bool
    ) -> AsyncIterator[bytes]:
        if as_csv:
            yield shapes.to_csv([], shapes.EVENT)
        while True:
            rows = [shapes.event(row) for row in page.rows]
            if as_csv:
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
        _as_csv(asked)
        return await self._read(select, params.limit(asked), params.cursor(asked))

    async def _read(self, select: Callable[[int, str | None], Page], limit: int, after: str | None) -> Page:
        try:
            return await run_in_threadpool(select, limit, after)
        except ValueError:
            raise params.bad_cursor() from None

    async def _row(self, request: Request) -> Row:
        id = params.message_id(request.path_params["id"])
        row = await run_in_threadpool(self._store.message, id) if id else None
        if row is None:
            raise _Missing
        return row


def _asked(request: Request, *known: str) -> dict[str, str]:
    return params.single(request.query_params.multi_items(), known)


def _as_csv(asked: dict[str, str]) -> bool:
    return params.choice(asked, "format", ("json", "csv")) == "csv"


def _download(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}.csv"'}


def _json(value: Any) -> Response:
    return Response(shapes.to_json(value), media_type="application/json")


def _listed(
    asked: dict[str, str],
    page: Page,
    columns: Sequence[str],
    name: str,
    shaped: Callable[[Row], dict[str, Any]] | None = None,
) -> Response:
    rows = [shaped(row) if shaped else shapes.shape(row, columns) for row in page.rows]
    following = params.seal_cursor(page.next)
    if _as_csv(asked):
        headers = _download(name) | ({"X-Next-Cursor": following} if following else {})
        return Response(shapes.to_csv(rows, columns), 200, headers, "text/csv; charset=utf-8")
    return _json({"items": rows, "next": following})
