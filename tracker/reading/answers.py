"""How the API answers: who may ask, what is wrong, rows as JSON or CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tracker.errors import StoreError
from tracker.forms import Gone, TooLarge, read_body
from tracker.reading import params, shapes
from tracker.reading.auth import Gate
from tracker.reading.params import BadRequest
from tracker.store.base import Page, Row

LIST = ("limit", "cursor", "format")
"""The parameters of every list."""

MOST_OCTETS = 10_000_000
_BATCH = 1000


class Missing(Exception):
    """Nothing is there; ``str()`` says what to ask for instead."""


class Gated(Protocol):
    """A part of the API."""

    gate: Gate


G = TypeVar("G", bound=Gated)
Endpoint = Callable[[G, Request], Awaitable[Response]]
Select = Callable[[int, str | None], Page]
"""Rows: how many, after which key."""


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error as RFC 9457 has it; ``detail`` says what to do."""
    body = shapes.to_json({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status, headers, "application/problem+json")


def guarded(endpoint: Endpoint[G]) -> Endpoint[G]:
    """An endpoint that wants a key, and whose failures are answered as problems."""
    return _guarded(endpoint, write=False)


def writing(endpoint: Endpoint[G]) -> Endpoint[G]:
    """A guarded endpoint that wants a key which may write."""
    return _guarded(endpoint, write=True)


def _guarded(endpoint: Endpoint[G], write: bool) -> Endpoint[G]:
    @wraps(endpoint)
    async def answer(api: G, request: Request) -> Response:
        key = api.gate.bearer(request.headers.get("authorization"))
        if key is None:
            detail = "Send one of tracker.api_keys in the header 'Authorization: Bearer KEY'."
            return problem(401, "Unauthorized", detail, {"WWW-Authenticate": 'Bearer realm="tracepost"'})
        if write and key.access != "write":
            return problem(403, "Forbidden", "This key may only read; use one of tracker.api_keys with access: write.")
        try:
            return await endpoint(api, request)
        except BadRequest as error:
            return problem(400, "Bad Request", str(error))
        except TooLarge:
            return problem(413, "Content Too Large", f"Send at most {MOST_OCTETS // 1_000_000} MB at once.")
        except Missing as error:
            return problem(404, "Not Found", str(error))
        except StoreError:
            detail = "The store cannot be reached now; try again in a few seconds."
            return problem(503, "Service Unavailable", detail, {"Retry-After": "5"})

    return answer


def asked_of(request: Request, *known: str) -> dict[str, str]:
    """The parameters of a request. Raises BadRequest for one that is not ``known``."""
    return params.single(request.query_params.multi_items(), known)


async def body_of(request: Request) -> bytes:
    """What was sent along. Raises TooLarge."""
    try:
        return await read_body(request.receive, MOST_OCTETS)
    except Gone:
        raise BadRequest("The request ended before its body did.") from None


def as_csv(asked: dict[str, str]) -> bool:
    """Whether CSV is wanted. Raises BadRequest."""
    return params.choice(asked, "format", ("json", "csv")) == "csv"


def download(name: str) -> dict[str, str]:
    """The header that makes a file of an answer."""
    return {"Content-Disposition": f'attachment; filename="{name}.csv"'}


def json_answer(value: Any) -> Response:
    """An answer in JSON."""
    return Response(shapes.to_json(value), media_type="application/json")


def listed(
    asked: dict[str, str],
    page: Page,
    columns: Sequence[str],
    name: str,
    shaped: Callable[[Row], dict[str, Any]] | None = None,
) -> Response:
    """A page of a list, in the form that is wanted."""
    rows = [shaped(row) if shaped else shapes.shape(row, columns) for row in page.rows]
    following = params.seal_cursor(page.next)
    if as_csv(asked):
        headers = download(name) | ({"X-Next-Cursor": following} if following else {})
        return Response(shapes.to_csv(rows, columns), 200, headers, "text/csv; charset=utf-8")
    return json_answer({"items": rows, "next": following})


async def read_page(select: Select, limit: int, after: str | None) -> Page:
    """One page from the store. Raises BadRequest for a cursor that is none of this list's."""
    try:
        return await run_in_threadpool(select, limit, after)
    except ValueError:
        raise params.bad_cursor() from None


async def whole_list(
    select: Select, columns: Sequence[str], name: str, shaped: Callable[[Row], Mapping[str, Any]] | None = None
) -> Response:
    """All of a list as CSV, whatever its length."""
    # The first page is read before the answer begins, so that its errors still have a status.
    first = await read_page(select, _BATCH, None)

    async def lines() -> AsyncIterator[bytes]:
        page, header = first, True
        while True:
            rows = [shaped(row) if shaped else shapes.shape(row, columns) for row in page.rows]
            yield shapes.to_csv(rows, columns, header)
            if page.next is None:
                return
            page, header = await run_in_threadpool(select, _BATCH, page.next), False

    return StreamingResponse(lines(), 200, download(name), "text/csv; charset=utf-8")
