"""How the API answers: who may ask, what is wrong, rows as JSON or CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tracker.errors import StoreError
from tracker.forms import Gone, TooLarge, read_body
from tracker.reading import models, parameters, params, shapes
from tracker.reading.auth import Gate, ShutOut, bearer
from tracker.reading.operations import PROBLEM, Answer, Answers, Content, Operation, described
from tracker.reading.parameters import Asked, Param
from tracker.reading.params import BadRequest
from tracker.store.base import Page

MOST_OCTETS = 10_000_000
KEY = {
    "key": {"type": "http", "scheme": "bearer", "description": "One of tracker.api_keys; its access is read or write."}
}
_BATCH = 1000


class Missing(Exception):
    """Nothing is there; ``str()`` says what to ask for instead."""


class Gated(Protocol):
    """A part of the API."""

    gate: Gate


G = TypeVar("G", bound=Gated)
Asking = Callable[[G, Request, Asked], Awaitable[Response]]
Endpoint = Callable[[G, Request], Awaitable[Response]]
Select = Callable[[int, str | None], Page]
"""Rows: how many, after which key."""


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as RFC 9457 has it; ``detail`` says what to do."""
    body = shapes.to_json({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status, headers, PROBLEM)


# -- who may ask, and what is wrong ----------------------------------------------------------------------------------


def reads(
    path: str, *declared: Param, gives: Answers, refusals: Sequence[int] = ()
) -> Callable[[Asking[G]], Endpoint[G]]:
    """GET, for any key, with these parameters; ``refusals``: other statuses than those that always may be."""
    return _guarded("GET", path, declared, gives, {}, refusals)


def writes(
    method: str, path: str, *declared: Param, gives: Answers, takes: Content | None = None, refusals: Sequence[int] = ()
) -> Callable[[Asking[G]], Endpoint[G]]:
    """What changes something, for keys that may write; ``takes`` is its body."""
    return _guarded(method, path, declared, gives, takes or {}, (403, *refusals))


def _guarded(
    method: str, path: str, declared: tuple[Param, ...], gives: Answers, takes: Content, refusals: Sequence[int]
) -> Callable[[Asking[G]], Endpoint[G]]:
    known = {400, 401, 429, 503, *refusals, *((404,) if "{" in path else ()), *((413, 415) if takes else ())}
    refused = {status: _REFUSED[status] for status in sorted(known)}
    operation = Operation(method, path, declared, {**gives, **refused}, takes, KEY)

    def declare(endpoint: Asking[G]) -> Endpoint[G]:
        @described(operation)
        @wraps(endpoint)
        async def answer(api: G, request: Request) -> Response:
            try:
                _admit(api.gate, request, operation)
                query = request.query_params.multi_items()
                return await endpoint(api, request, parameters.read(declared, request.path_params, query))
            except _Refused as refusal:
                return refusal.answer
            except ShutOut as error:
                return problem(429, "Too Many Requests", str(error), {"Retry-After": str(error.seconds)})
            except BadRequest as error:
                return problem(400, "Bad Request", str(error))
            except TooLarge:
                return problem(413, "Content Too Large", f"Send at most {MOST_OCTETS // 1_000_000} MB at once.")
            except Missing as error:
                return problem(404, "Not Found", str(error))
            except StoreError:
                return away("The store cannot be reached now; try again in a few seconds.")

        return answer

    return declare


class _Refused(Exception):
    def __init__(self, *about: Any) -> None:
        self.answer = problem(*about)


def _admit(gate: Gate, request: Request, operation: Operation) -> None:
    key = gate.offered(request, bearer(request.headers.get("authorization")))
    if key is None:
        detail = "Send one of tracker.api_keys in the header 'Authorization: Bearer KEY'."
        raise _Refused(401, "Unauthorized", detail, {"WWW-Authenticate": 'Bearer realm="tracepost"'})
    if 403 in operation.answers and key.access != "write":
        raise _Refused(403, "Forbidden", "This key may only read; use one of tracker.api_keys with access: write.")
    if operation.takes and media_type_of(request) not in ("", *operation.takes):
        detail = f"Send the body as {' or '.join(operation.takes)}, and say which in the header 'Content-Type'."
        raise _Refused(415, "Unsupported Media Type", detail)


def away(detail: str) -> Response:
    """Not now."""
    return problem(503, "Service Unavailable", detail, {"Retry-After": "5"})


_PROBLEM: Content = {PROBLEM: models.Problem}
_REFUSED: Answers = {
    400: Answer("What is asked for cannot be read.", _PROBLEM),
    401: Answer("No key, or none of tracker.api_keys.", _PROBLEM, {"WWW-Authenticate": "Bearer (RFC 6750)."}),
    403: Answer("The key may only read.", _PROBLEM),
    404: Answer("It is not there.", _PROBLEM),
    413: Answer("The body is too large.", _PROBLEM),
    415: Answer("The body is of a type that is not taken here.", _PROBLEM),
    429: Answer("Too many different wrong keys came from this address.", _PROBLEM, {"Retry-After": "In seconds."}),
    503: Answer("Not now: the store cannot be reached.", _PROBLEM, {"Retry-After": "In seconds."}),
}


def asked_of(request: Request, *known: str) -> dict[str, str]:
    """The texts of a request's parameters, for what is not declared with them. Raises BadRequest for one that is not
    ``known``."""
    return params.single(request.query_params.multi_items(), known)


# -- what was sent along ---------------------------------------------------------------------------------------------


def media_type_of(request: Request) -> str:
    """The type of a body, as the request says it, in lower case; empty where it says none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request) -> bytes:
    """What was sent along. Raises TooLarge."""
    try:
        return await read_body(request.receive, MOST_OCTETS)
    except Gone:
        raise BadRequest("The request ended before its body did.") from None


# -- rows ------------------------------------------------------------------------------------------------------------


def json_answer(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(shapes.to_json(value), status, media_type="application/json")


def download(name: str) -> dict[str, str]:
    """The header that makes a file of an answer."""
    return {"Content-Disposition": f'attachment; filename="{name}.csv"'}


async def listing(
    asked: Asked, select: Select, model: type[BaseModel], name: str, shape: shapes.Shape | None = None
) -> Response:
    """What is asked for of a list, by the parameters of every list: a page, as JSON or CSV, or all of it as CSV."""
    columns = models.columns(model)
    shaped = shape or (lambda row: shapes.shape(row, columns))
    if asked["format"] == "csv" and asked["limit"] is None and asked["cursor"] is None:
        return await whole_list(select, columns, name, shaped)
    page = await read_page(select, asked["limit"] or params.DEFAULT_LIMIT, asked["cursor"])
    found = [shaped(row) for row in page.rows]
    following = params.seal_cursor(page.next)
    if asked["format"] == "csv":
        headers = download(name) | ({"X-Next-Cursor": following} if following else {})
        return Response(shapes.to_csv(found, columns), 200, headers, "text/csv; charset=utf-8")
    return json_answer({"items": found, "next": following})


async def read_page(select: Select, limit: int, after: str | None) -> Page:
    """One page from the store. Raises BadRequest for a cursor that is none of this list's."""
    try:
        return await run_in_threadpool(select, limit, after)
    except ValueError:
        raise params.bad_cursor() from None


async def whole_list(select: Select, columns: Sequence[str], name: str, shaped: shapes.Shape | None = None) -> Response:
    """All of a list as CSV, whatever its length."""
    shape = shaped or (lambda row: shapes.shape(row, columns))
    # The first page is read before the answer begins, so that its errors still have a status.
    first = await read_page(select, _BATCH, None)

    async def lines() -> AsyncIterator[bytes]:
        page, header = first, True
        while True:
            yield shapes.to_csv([shape(row) for row in page.rows], columns, header)
            if page.next is None:
                return
            page, header = await run_in_threadpool(select, _BATCH, page.next), False

    return StreamingResponse(lines(), 200, download(name), "text/csv; charset=utf-8")
