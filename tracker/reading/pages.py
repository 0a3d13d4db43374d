"""The dashboard: the list of messages, one message, signing in and out, and what every page of it has in common. HTML
from templates, no script."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import StoreError
from tracker.forms import Gone, TooLarge, fields_of, read_body
from tracker.model import Clock
from tracker.reading import params, words
from tracker.reading.auth import COOKIE, SESSION_SECONDS, Gate, Session
from tracker.reading.params import BadRequest
from tracker.store.base import MessageFilter, Store

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

_HERE = Path(__file__).parent
_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ROWS = 50
"""Rows of a list that are shown at once."""

_TIMELINE, _LARGEST_FORM = 200, 10_000


class Guarded(Protocol):
    """Some of the dashboard's pages."""

    @property
    def gate(self) -> Gate:
        """Who may see them."""

    @property
    def render(self) -> Callable[..., Response]:
        """Makes a page of a template."""


G = TypeVar("G", bound=Guarded)
Page = Callable[[G, Request, Session], Awaitable[Response]]
Form = Callable[[G, Session, Mapping[str, str]], Awaitable[Response]]
Endpoint = Callable[[G, Request], Awaitable[Response]]


def signed_in(page: Page[G]) -> Endpoint[G]:
    """A page for those who are signed in; its failures are pages too."""

    @wraps(page)
    async def answer(pages: G, request: Request) -> Response:
        session = pages.gate.session(request.cookies.get(COOKIE))
        if session is None:
            return see_other("/login")
        try:
            return await page(pages, request, session)
        except BadRequest as error:
            return pages.render("problem.html", 400, session=session, title="That did not work", text=str(error))
        except StoreError:
            text = "The store cannot be reached now. Mail and links keep working; try again in a few seconds."
            return pages.render("problem.html", 503, session=session, title="The store is away", text=text)

    return answer


def posted(most: int = _LARGEST_FORM) -> Callable[[Form[G]], Endpoint[G]]:
    """What a form of at most so many octets does, sent by whoever is signed in, from a page of the session's own, with
    a key that may write."""

    def endpoint(form: Form[G]) -> Endpoint[G]:
        @wraps(form)
        async def answer(pages: G, request: Request, session: Session) -> Response:
            fields = await form_of(request, most)
            if not session.owns(fields.get("csrf", "")):
                text = (
                    "This form is not from your session, or it was too large. Go back, reload the page and try again."
                )
                return pages.render("problem.html", 403, session=session, title="Nothing was changed", text=text)
            if session.access != "write":
                text = "You signed in with a key that may only read. Sign in with one that may write."
                return pages.render("problem.html", 403, session=session, title="Nothing was changed", text=text)
            return await form(pages, session, fields)

        return signed_in(answer)

    return endpoint


class Pages:
    """The dashboard over one store; times are shown in ``tracker.timezone``."""

    def __init__(self, config: TrackerConfig, store: Store, gate: Gate, clock: Clock, sample: str | None) -> None:
        self.gate = gate
        self._store = store
        self._clock = clock
        self._sample = sample
        self._zone = ZoneInfo(config.timezone)
        self._secure = config.public_url.startswith("https://")
        self._files = {name: (_HERE / "static" / name).read_bytes() for name in ("style.css", "icon.svg")}
        version = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        loader = FileSystemLoader(_HERE / "templates")
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.globals.update(version=version, words=words, zone=config.timezone)
        self._templates.filters.update(when=self._when, number=_number)

    def routes(self) -> list[Route]:
        """The dashboard's pages."""
        return [
            Route("/", self.messages),
            Route("/messages/{id}", self.message),
            Route("/login", self.login, methods=["GET"]),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
            Route("/static/{name}", self.static),
        ]

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, under a policy that lets nothing in from elsewhere."""
        html = self._templates.get_template(template).render(**values)
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store", "X-Frame-Options": "DENY"}
        return Response(html.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")

    @signed_in
    async def messages(self, request: Request, session: Session) -> Response:
        """The messages, newest first, with their counts."""
        asked = params.single(request.query_params.multi_items(), ("q", "cursor"))
        query = asked.get("q", "").strip()
        wanted = MessageFilter(q=query or None)
        try:
            page = await run_in_threadpool(self._store.messages, wanted, ROWS, params.cursor(asked))
        except ValueError:
            raise params.bad_cursor() from None
        older = None
        if page.next is not None:
            cursor = params.seal_cursor(page.next) or ""
            older = "/?" + urlencode({"q": query, "cursor": cursor} if query else {"cursor": cursor})
        return self.render(
            *("messages.html",),
            session=session,
            here="messages",
            messages=page.rows,
            query=query,
            older=older,
            later="cursor" in asked,
            sample=self._sample,
        )

    @signed_in
    async def message(self, request: Request, session: Session) -> Response:
        """One message: counts, recipients, links, timeline."""
        id = params.message_id(request.path_params["id"])
        row = await run_in_threadpool(self._store.message, id) if id else None
        if id is None or row is None:
            text = "No message has this address. It may have been purged, or the link was cut short."
            return self.render("problem.html", 404, session=session, title="Not found", text=text)
        people = await run_in_threadpool(self._store.recipients, id)
        links = await run_in_threadpool(self._store.links, id, params.MOST)
        events = await run_in_threadpool(lambda: self._store.events(params.MOST, message=id))
        timeline = sorted(events.rows, key=lambda event: event["at"], reverse=True)
        return self.render(
            *("message.html",),
            session=session,
            message=row,
            people=people,
            links=links.rows,
            events=timeline[:_TIMELINE],
            more=len(timeline) > _TIMELINE or events.next is not None,
        )

    async def login(self, request: Request) -> Response:
        """The form that asks for a key."""
        if self.gate.session(request.cookies.get(COOKIE)):
            return see_other("/")
        return self.render("login.html", session=None, wrong=False)

    async def sign_in(self, request: Request) -> Response:
        """Open a session for a key."""
        key = self.gate.key((await form_of(request)).get("key", "").strip())
        if key is None:
            return self.render("login.html", 401, session=None, wrong=True)
        return self._with_cookie(see_other("/"), self.gate.open_session(key), SESSION_SECONDS)

    async def sign_out(self, request: Request) -> Response:
        """End the session in this browser; the form must hold the session's own token."""
        session = self.gate.session(request.cookies.get(COOKIE))
        if session is None:
            return see_other("/login")
        if not session.owns((await form_of(request)).get("csrf", "")):
            text = "This form is not from your session. Go back, reload the page and try again."
            return self.render("problem.html", 403, session=session, title="Not signed out", text=text)
        return self._with_cookie(see_other("/login"), "", 0)

    async def static(self, request: Request) -> Response:
        """Style sheet and icon."""
        name = request.path_params["name"]
        body = self._files.get(name)
        if body is None:
            return Response("not found\n", 404, media_type="text/plain")
        media_type = "text/css; charset=utf-8" if name.endswith(".css") else "image/svg+xml"
        return Response(body, 200, {"Cache-Control": "public, max-age=86400"}, media_type)

    def _with_cookie(self, response: Response, value: str, seconds: int) -> Response:
        response.set_cookie(
            COOKIE, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="strict"
        )
        return response

    def _when(self, seconds: float) -> dict[str, str]:
        """A time as people read it, and as machines do."""
        moment = datetime.fromtimestamp(seconds, self._zone)
        same_year = moment.year == datetime.fromtimestamp(self._clock(), self._zone).year
        text = f"{moment.day} {moment:%b}" + ("" if same_year else f" {moment.year}") + f", {moment:%H:%M}"
        return {"text": text, "full": f"{moment:%Y-%m-%d %H:%M:%S %Z}", "iso": moment.isoformat(timespec="seconds")}


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}".replace(",", " ")


def see_other(path: str) -> Response:
    """To another page of ours, by path alone: never built from the request's Host."""
    return Response(status_code=303, headers={"Location": path, "Cache-Control": "no-store"})


async def form_of(request: Request, most: int = _LARGEST_FORM) -> Mapping[str, str]:
    """The fields of a form; none where it is larger."""
    try:
        body = await read_body(request.receive, most)
    except (TooLarge, Gone):
        return {}
    return await run_in_threadpool(fields_of, request.headers.get("content-type", ""), body)
