"""The tracker's web application: the public routes, and the private ones for those who read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from tracker import ops
from tracker.hits.mirrors import MirrorPages
from tracker.hits.optout import Onward, OptOutPage
from tracker.hits.public import PUBLIC_HEADERS, HitRoutes
from tracker.hits.recorder import Recorder
from tracker.hits.wellknown import WellKnown
from tracker.hits.witness import Receive, Scope, Send, Witness
from tracker.model import Clock
from tracker.ops import Readiness
from tracker.reading.answers import problem
from tracker.reading.api import Api
from tracker.reading.auth import Gate
from tracker.reading.beside import NOTHING, Beside
from tracker.reading.events import EventApi
from tracker.reading.frame import Frame, Part
from tracker.reading.link_pages import LinkPages
from tracker.reading.mailing_pages import MailingPages
from tracker.reading.mailings import MailingApi
from tracker.reading.message_list import MessageList
from tracker.reading.message_page import MessagePage
from tracker.reading.openapi import Description
from tracker.reading.operations import routes_of
from tracker.reading.overview import Overview
from tracker.reading.people import Forget, Forgotten, PeopleApi
from tracker.reading.picture_page import PicturePage
from tracker.reading.postmark_api import PostmarkApi
from tracker.reading.queue_page import QueuePage
from tracker.reading.report_api import ReportApi
from tracker.reading.report_page import ReportPage
from tracker.reading.sandbox_pages import SandboxPages
from tracker.reading.sessions import Sessions
from tracker.reading.settings_page import SettingsPage
from tracker.reading.sign_in import SignIn
from tracker.reading.suppression_pages import SuppressionPages
from tracker.reading.suppressions import SuppressionApi
from tracker.reading.webhook_pages import WebhookPages
from tracker.store.base import Store
from tracker.tokens import Keyring
from tracker.webhooks.endpoint import endpoints_of

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

Application = Callable[[Scope, Receive, Send], Any]


def create_app(
    config: TrackerConfig,
    keyring: Keyring,
    store: Store,
    recorder: Recorder,
    clock: Clock,
    readiness: Readiness = dict,
    sample: str | None = None,
    gate: Gate | None = None,
    onward: Onward = lambda sender: None,
    forget: Forget | None = None,
    beside: Beside = NOTHING,
) -> Application:
    """What answers on ``tracker.listen``: the public routes, and the private ones too unless ``tracker.admin_listen``
    gives them a place of their own. ``sample`` is a command that sends a sample mail, shown while there is none;
    ``gate`` knows the API keys, by default those of ``config``; ``onward`` where people go after an opt-out;
    ``forget`` erases a person, by default in the store alone; ``beside`` is what the dashboard shows of the relay.
    Whoever calls starts and stops the recorder and opens the store."""
    routes: list[BaseRoute] = [ops.livez_route(keyring)]
    if config.well_known is not None:
        routes += WellKnown(config.well_known).routes()
    if config.admin_listen is None:
        routes += _private(config, store, recorder, clock, readiness, sample, gate, forget, beside)
    witness = Witness(config, clock)
    kept = config.retention.mirror_pages
    public: dict[str, Application] = {
        **dict.fromkeys(HitRoutes.prefixes, HitRoutes(keyring, recorder, witness)),
        OptOutPage.prefix: OptOutPage(keyring, recorder, clock, witness, onward),
        MirrorPages.prefix: MirrorPages(keyring, store, recorder, clock, witness, kept),
    }
    return _Door(public, _starlette(routes))


def create_admin_app(
    config: TrackerConfig,
    store: Store,
    recorder: Recorder,
    clock: Clock,
    readiness: Readiness = dict,
    sample: str | None = None,
    gate: Gate | None = None,
    forget: Forget | None = None,
    beside: Beside = NOTHING,
) -> Application:
    """What answers on ``tracker.admin_listen``: dashboard, API, metrics and readyz, and no public route."""
    routes = [ops.livez_route(), *_private(config, store, recorder, clock, readiness, sample, gate, forget, beside)]
    return _Door({}, _starlette(routes))


def _private(
    config: TrackerConfig,
    store: Store,
    recorder: Recorder,
    clock: Clock,
    readiness: Readiness,
    sample: str | None,
    gate: Gate | None,
    forget: Forget | None,
    beside: Beside,
) -> list[BaseRoute]:
    gate = gate or Gate(config.api_keys, clock, config.trusted_proxies)
    api = parts_of_the_api(config, store, clock, gate, forget or (lambda address: Forgotten(store.forget(address))))
    return [
        *ops.private_routes(store, readiness, recorder.registry),
        *(route for part in api for route in routes_of(part)),
        # Before the dashboard, whose messages stand under /messages/ too.
        *PostmarkApi(config, store, store, gate, clock).routes(),
        *_dashboard(config, store, recorder, clock, readiness, gate, sample, beside),
    ]


def parts_of_the_api(config: TrackerConfig, store: Store, clock: Clock, gate: Gate, forget: Forget) -> list[object]:
    """All whose operations are the API; ``tracker.reading.operations`` tells how to write one."""
    parts = [
        Api(config, store, gate),
        MailingApi(config, store, gate),
        EventApi(config, store, gate),
        SuppressionApi(store, gate),
        ReportApi(config, store, gate, clock),
        PeopleApi(gate, forget),
    ]
    return [*parts, Description(parts)]


def _dashboard(
    config: TrackerConfig,
    store: Store,
    recorder: Recorder,
    clock: Clock,
    readiness: Readiness,
    gate: Gate,
    sample: str | None,
    beside: Beside,
) -> Sequence[BaseRoute]:
    frame = Frame(config, Sessions(gate, store), clock, sample)
    picture = PicturePage(frame, store, config.public_url, config.retention.mirror_pages)
    parts: list[Part] = [
        SignIn(config, frame, gate),
        Overview(frame, store, readiness, partial(ops.figures, recorder.registry)),
        ReportPage(frame, store),
        MailingPages(frame, store),
        MessageList(frame, store),
        picture,
        MessagePage(frame, store, picture),
        LinkPages(frame, store),
        SuppressionPages(frame, store),
        WebhookPages(frame, store.deliveries(), beside.endpoints or (lambda: endpoints_of(config))),
        QueuePage(frame, beside.queue),
        *([SandboxPages(frame, beside.inbox, beside.target, config.public_url)] if beside.inbox else []),
        *([SettingsPage(frame, beside.configuration)] if beside.configuration else []),
    ]
    return frame.routes(parts)


def _starlette(routes: list[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed})
    # A redirect to the path with a slash would be built from the request's Host.
    app.router.redirect_slashes = False
    return app


_WHAT_TO_DO = {
    404: "There is nothing here; what there is stands in /api/openapi.json.",
    405: "This path takes another method; see 'Allow'.",
}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if request.url.path.startswith("/api/"):
        detail = _WHAT_TO_DO.get(error.status_code, f"{error.detail}.")
        return problem(error.status_code, error.detail, detail, headers)
    return PlainTextResponse(f"{error.detail.lower()}\n", error.status_code, headers)


async def _failed(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return problem(500, "Internal Server Error", "Something failed here; the log of the service says what.")
    return PlainTextResponse("something failed here; the log of the service says what\n", 500)


class _Door:
    """The outermost application: ``public`` routes, by how their paths begin (``/c/``), go straight through, and no
    answer leaves without the headers that every public answer bears."""

    def __init__(self, public: Mapping[str, Application], app: Starlette) -> None:
        self._public = public
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        public = self._public.get(scope["path"][:3])
        if public is not None:
            await public(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                message["headers"] = headers + [pair for pair in PUBLIC_HEADERS if pair[0] not in present]
            await send(message)

        await self._app(scope, receive, with_headers)
