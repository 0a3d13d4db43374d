"""The frame of the dashboard: what every page has in common. HTML from templates, under a policy that lets nothing in
from elsewhere; every page works without script.

A page is a class with ``frame`` and ``routes()``; its endpoints are methods under ``@signed_in``, which get a
``Visit``, and under ``@posted()`` for what its forms do. The navigation shows the entries of ``NAV`` that some page has
a route for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import StoreError
from tracker.forms import Gone, TooLarge, fields_of, read_body
from tracker.model import Clock
from tracker.reading import figures, params, timeline, words
from tracker.reading.addresses import Address
from tracker.reading.params import BadRequest
from tracker.reading.sessions import COOKIE, Session, Sessions

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

ROWS = 50
"""Rows of a list that are shown at once."""

SENDERS = 200
"""Senders that a field offers."""

_HERE = Path(__file__).parent
_CSP = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind} 'self'" for kind in ("style-src", "img-src", "script-src", "connect-src", "frame-src")),
        *("form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"),
    ]
)
_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_LARGEST_FORM = 10_000


class Entry(NamedTuple):
    """One entry of the navigation; its icon is in templates/icons.html by the same name."""

    name: str
    path: str
    title: str


NAV: tuple[tuple[Entry, ...], ...] = (
    (
        Entry("overview", "/", "Overview"),
        Entry("report", "/report", "Report"),
        Entry("mailings", "/mailings", "Mailings"),
        Entry("messages", "/messages", "Messages"),
    ),
    (Entry("links", "/links", "Links"), Entry("suppressions", "/suppressions", "Suppressions")),
    (
        Entry("webhooks", "/webhooks", "Webhooks"),
        Entry("queue", "/queue", "Queue"),
        Entry("sandbox", "/sandbox", "Sandbox"),
        Entry("settings", "/settings", "Settings"),
    ),
)
"""The navigation, in groups."""


class Part(Protocol):
    """Some of the dashboard's pages."""

    @property
    def frame(self) -> Frame:
        """What they are shown in."""

    def routes(self) -> list[Route]:
        """Where they are."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    frame: Frame
    request: Request
    session: Session

    def asked(self, *known: str) -> dict[str, str]:
        """The parameters of the request. Raises BadRequest for one that is not ``known``."""
        return params.single(self.request.query_params.multi_items(), known)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page made of a template. It gets ``values``, ``session``, ``address`` (this page's own) and ``here`` (the
        entry of the navigation that it belongs to)."""
        here = here_of(self.request.url.path)
        # What a form's page leads on to is what it stands on.
        got = self.request.method in ("GET", "HEAD") or here is None
        path = self.request.url.path if got or here is None else here.path
        address = Address(path, self.request.query_params.multi_items())
        return self.frame.page(template, status, session=self.session, address=address, here=here, **values)

    def problem(self, status: int, title: str, text: str) -> Response:
        """A page that says what is wrong and what to do."""
        return self.page("problem.html", status, title=title, text=text)


P = TypeVar("P", bound=Part)
Page = Callable[[P, Visit], Awaitable[Response]]
Form = Callable[[P, Visit, Mapping[str, str]], Awaitable[Response]]
Endpoint = Callable[[P, Request], Awaitable[Response]]


def signed_in(page: Page[P]) -> Endpoint[P]:
    """A page for those who are signed in; its failures are pages too."""

    @wraps(page)
    async def answer(part: P, request: Request) -> Response:
        frame = part.frame
        session = frame.sessions.claimed(request.cookies.get(COOKIE))
        if session is None:
            return _to_sign_in(request)
        visit = Visit(frame, request, session)
        try:
            if not await run_in_threadpool(frame.sessions.stands, session):
                return _to_sign_in(request)
            return await page(part, visit)
        except BadRequest as error:
            return visit.problem(400, "That did not work", str(error))
        except StoreError:
            text = "The store cannot be reached now. Mail and links keep working; try again in a few seconds."
            return visit.problem(503, "The store is away", text)

    return answer


def posted(most: int = _LARGEST_FORM, write: bool = True) -> Callable[[Form[P]], Endpoint[P]]:
    """What a form of at most so many octets does, sent by whoever is signed in, from a page of the session's own, and
    unless ``write`` is off with a key that may write."""

    def endpoint(form: Form[P]) -> Endpoint[P]:
        @wraps(form)
        async def answer(part: P, visit: Visit) -> Response:
            fields = await form_of(visit.request, most)
            if not visit.session.owns(fields.get("csrf", "")):
                text = (
                    "This form is not from your session, or it was too large. Go back, reload the page and try again."
                )
                return visit.problem(403, "Nothing was changed", text)
            if write and visit.session.access != "write":
                text = "You signed in with a key that may only read. Sign in with one that may write."
                return visit.problem(403, "Nothing was changed", text)
            return await form(part, visit, fields)

        return signed_in(answer)

    return endpoint


class Frame:
    """The frame of one dashboard; times are shown in ``tracker.timezone``. ``sample`` is a command that sends a sample
    mail, shown where there is none. ``shows`` says of entries of the navigation, by name, whether there is anything
    behind them now."""

    def __init__(self, config: TrackerConfig, sessions: Sessions, clock: Clock, sample: str | None) -> None:
        self.sessions = sessions
        self.zone = ZoneInfo(config.timezone)
        self.clock = clock
        self.shows: dict[str, Callable[[], bool]] = {}
        self._nav: Sequence[Sequence[Entry]] = NAV
        self._files = {file.name: file.read_bytes() for file in sorted((_HERE / "static").iterdir())}
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        styles = sorted((name for name in self._files if name.endswith(".css")), key=lambda name: name != "style.css")
        version = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        shared = {"version": version, "words": words, "zone": config.timezone, "styles": styles}
        shared |= {"people": timeline.people, "sample": sample}
        self._templates.globals.update(shared)
        filters = {
            "when": self._when,
            "number": figures.number,
            "percent": figures.percent,
            "day": figures.day,
            "enhanced": words.enhanced,
        }
        filters |= {"octets": figures.octets, "span": figures.span}
        self._templates.filters.update(filters)

    def routes(self, parts: Iterable[Part]) -> list[Route]:
        """The routes of all pages; the navigation shows what there is."""
        routes = [route for part in parts for route in part.routes()]
        paths = {route.path for route in routes if "GET" in (route.methods or ())}
        groups = ([entry for entry in group if entry.path in paths] for group in NAV)
        self._nav = [group for group in groups if group]
        return [*routes, Route("/static/{name}", self.static)]

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page made of a template."""
        nav = [[entry for entry in group if self.shows.get(entry.name, _always)()] for group in self._nav]
        html = self._templates.get_template(template).render(nav=nav, **values)
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store", "X-Frame-Options": "DENY"}
        return Response(html.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")

    async def static(self, request: Request) -> Response:
        """Style sheets, scripts and icons."""
        name = request.path_params["name"]
        body = self._files.get(name)
        if body is None:
            return Response("not found\n", 404, media_type="text/plain")
        media_type = _MEDIA_TYPES[Path(name).suffix]
        return Response(body, 200, {"Cache-Control": "public, max-age=86400"}, media_type)

    def _when(self, seconds: float) -> dict[str, str]:
        return figures.when(seconds, self.zone, self.clock())


def _always() -> bool:
    return True


def here_of(path: str) -> Entry | None:
    """The entry of the navigation that a page belongs to."""
    entries = [entry for group in NAV for entry in group]
    return next((entry for entry in entries if path == entry.path or path.startswith(f"{entry.path}/")), None)


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


def _to_sign_in(request: Request) -> Response:
    """To the form that asks for a key, and from there back to the page that was wanted."""
    wanted = Address(request.url.path, request.query_params.multi_items()).but()
    return see_other(Address("/login").but(next=wanted if request.method == "GET" and wanted != "/" else None))
