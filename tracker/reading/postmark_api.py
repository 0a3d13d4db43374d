"""Postmark's paths for reading, with an API key of ours as its server token (docs/drop-in.md)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import StoreError
from tracker.model import Clock
from tracker.reading import params, postmark, shapes
from tracker.reading.answers import asked_of, json_answer
from tracker.reading.auth import Gate, ShutOut
from tracker.reading.params import BadRequest
from tracker.reading.postmark import Asked, Stats
from tracker.reading.reports import midnight
from tracker.store.base import HitFilter, HitLog, Numbers, ReportFilter

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

Ask = Callable[[Request], dict[str, Any]]
Endpoint = Callable[[Request], Awaitable[Response]]

_PAGE, _STREAM = ("count", "offset"), "messagestream"
_LARGEST_PAGE, _FURTHEST = 500, 10_000
_NO_TOKEN, _AWAY, _TOO_MANY, _BAD_QUERY, _NO_MESSAGE = 10, 100, 429, 700, 701
"""Postmark's numbers for what is wrong."""

_NOT_KEPT = (
    *("client_name", "client_company", "client_family", "os_name", "os_family", "os_company", "platform"),
    *("clientName", "clientCompany", "clientFamily", "osName", "osFamily", "osCompany", "country", "region", "city"),
)


class _NoMessage(Exception):
    """There is no such message."""


class PostmarkApi:
    """What Postmark's clients read, over one store."""

    def __init__(self, config: TrackerConfig, numbers: Numbers, hits: HitLog, gate: Gate, clock: Clock) -> None:
        self._gate = gate
        self._numbers = numbers
        self._log = hits
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)

    def routes(self) -> list[Route]:
        """Statistics, opens and clicks of outbound mail."""
        asks = {f"/stats/outbound{path}": partial(self._stats, stats) for path, stats in postmark.STATS.items()}
        for event in ("open", "click"):
            asks[f"/messages/outbound/{event}s"] = partial(self._hits, event)
            asks[f"/messages/outbound/{event}s/{{id}}"] = partial(self._hits_of_one, event)
        return [Route(path, self._answering(ask)) for path, ask in asks.items()]

    def _answering(self, ask: Ask) -> Endpoint:
        """An endpoint that wants a token, and whose failures are told as Postmark tells its own."""

        async def answer(request: Request) -> Response:
            try:
                if self._gate.offered(request, request.headers.get("x-postmark-server-token", "").strip()) is None:
                    return _wrong(401, _NO_TOKEN, "Send one of tracker.api_keys in the header X-Postmark-Server-Token.")
                return json_answer(await run_in_threadpool(ask, request))
            except ShutOut as error:
                return _wrong(429, _TOO_MANY, str(error), {"Retry-After": str(error.seconds)})
            except BadRequest as error:
                return _wrong(422, _BAD_QUERY, str(error))
            except _NoMessage:
                return _wrong(422, _NO_MESSAGE, "This message was not found.")
            except StoreError:
                return _wrong(503, _AWAY, "The store cannot be reached now; try again in a few seconds.")

        return answer

    def _stats(self, stats: Stats, request: Request) -> dict[str, Any]:
        asked = asked_of(request, "tag", "fromdate", "todate", _STREAM)
        since, until = _date(asked, "fromdate", self._zone), _date(asked, "todate", self._zone, last=True)
        if until is None:
            until = midnight(self._clock(), self._zone, 1)
        if since is not None and since >= until:
            raise BadRequest("Give a 'fromdate' that is not after 'todate' or today.")
        return stats(self._numbers, Asked(ReportFilter(tag=asked.get("tag")), since, until, self._zone))

    def _hits(self, event: str, request: Request) -> dict[str, Any]:
        asked = asked_of(request, *_PAGE, "recipient", "tag", _STREAM, *_NOT_KEPT)
        if unkept := [name for name in _NOT_KEPT if name in asked]:
            raise BadRequest(f"Leave out {unkept[0]!r}; here opens and clicks are found by recipient and tag.")
        return self._page(asked, HitFilter(event, recipient=asked.get("recipient"), tag=asked.get("tag")))

    def _hits_of_one(self, event: str, request: Request) -> dict[str, Any]:
        asked, id = asked_of(request, *_PAGE), params.message_id(request.path_params["id"])
        if id is None or self._log.message(id) is None:
            raise _NoMessage
        return self._page(asked, HitFilter(event, message=id))

    def _page(self, asked: Mapping[str, str], wanted: HitFilter) -> dict[str, Any]:
        count, offset = _number(asked, "count", _LARGEST_PAGE), _number(asked, "offset", 0)
        if not 1 <= count <= _LARGEST_PAGE or count + offset > _FURTHEST:
            raise BadRequest(f"Give a 'count' from 1 to {_LARGEST_PAGE}, and with 'offset' at most {_FURTHEST}.")
        rows, total = self._log.people_hits(wanted, count, offset, _FURTHEST)
        return {"TotalCount": total, f"{wanted.event.capitalize()}s": [postmark.hit(row) for row in rows]}


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise BadRequest(f"Give a whole number as {name!r}.")
    return int(text)


def _date(asked: Mapping[str, str], name: str, zone: ZoneInfo, last: bool = False) -> float | None:
    if name in asked and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", asked[name], re.ASCII):
        raise BadRequest(f"Give a date (2026-01-31) as {name!r}.")
    return params.end(asked, name, zone) if last else params.instant(asked, name, zone)


def _wrong(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(shapes.to_json({"ErrorCode": code, "Message": message}), status, headers, "application/json")
