"""The dashboard: the list of messages, one message, signing in and out. HTML from templates, no script."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import StoreError
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
_ROWS, _TIMELINE, _LARGEST_FORM = 50, 200, 10_000

Page = Callable[["Pages", Request, Session], Awaitable[Response]]
Endpoint = Callable[["Pages", Request], Awaitable[Response]]


def signed_in(page: Page) -> Endpoint:
    """A page for those who are signed in; its failures are pages too."""

    @wraps(page)
    async def answer(pages: Pages, request: Request) -> Response:
        session = pages.gate.session(request.cookies.get(COOKIE))
        if session is None:
            return _see_other("/login")
        try:
            return await page(pages, request, session)
        except BadRequest as error:
            return pages.render("problem.html", 400, session=session, title="That did not work", text=str(error))
        except StoreError:
            text = "The store cannot be read now. Mail and links keep working; reload this page in a few seconds."
            return pages.render("problem.html", 503, session=session, title="The store is away", text=text)

    return answer


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
            page = await run_in_threadpool(self._store.messages, wanted, _ROWS, params.cursor(asked))
        except ValueError:
            raise params.bad_cursor() from None
        older = None
        if page.next is not None:
            cursor = params.seal_cursor(page.next) or ""
            older = "/?" + urlencode({"q": query, "cursor": cursor} if query else {"cursor": cursor})
        return self.render(
            *("messages.html",),
            session=session,
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
            return _see_other("/")
        return self.render("login.html", session=None, wrong=False)

    async def sign_in(self, request: Request) -> Response:
        """Open a session for a key."""
        key = self.gate.key((await _form(request)).get("key", "").strip())
        if key is None:
            return self.render("login.html", 401, session=None, wrong=True)
        return self._with_cookie(_see_other("/"), self.gate.open_session(key), SESSION_SECONDS)

    async def sign_out(self, request: Request) -> Response:
        """End the session in this browser; the form must hold the session's own token."""
        session = self.gate.session(request.cookies.get(COOKIE))
        if session is None:
            return _see_other("/login")
        sent = (await _form(request)).get("csrf", "")
        if not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            text = "This form is not from your session. Go back, reload the page and try again."
            return self.render("problem.html", 403, session=session, title="Not signed out", text=text)
        return self._with_cookie(_see_other("/login"), "", 0)

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


def _see_other(path: str) -> Response:
    """To another page of ours, by path alone: never built from the request's Host."""
    return Response(status_code=303, headers={"Location": path, "Cache-Control": "no-store"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; empty for anything else."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=None)
    return {name: values[0] for name, values in fields.items()}
