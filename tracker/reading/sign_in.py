"""Signing in with an API key, and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import StoreError
from tracker.hits.privacy import client_address
from tracker.reading.addresses import Address, local
from tracker.reading.attempts import Attempts
from tracker.reading.auth import Gate
from tracker.reading.frame import Frame, Visit, form_of, posted, see_other
from tracker.reading.sessions import COOKIE, SESSION_SECONDS

if TYPE_CHECKING:
    from tracker.config import TrackerConfig


class SignIn:
    """The door of the dashboard. Ten wrong keys from one address shut it out for the rest of ten minutes."""

    def __init__(self, config: TrackerConfig, frame: Frame, gate: Gate) -> None:
        self.frame = frame
        self._gate = gate
        self._config = config
        self._attempts = Attempts(gate.clock)

    def routes(self) -> list[Route]:
        """The form, and what it does."""
        return [
            Route("/login", self.form, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """The form that asks for a key."""
        wanted = local(request.query_params.get("next", ""))
        session = self.frame.sessions.claimed(request.cookies.get(COOKIE))
        if session is not None:
            try:
                if await run_in_threadpool(self.frame.sessions.stands, session):
                    return see_other(wanted)
            except StoreError:
                return see_other(wanted)  # the page itself says that the store is away
        return self._shown(wanted)

    async def enter(self, request: Request) -> Response:
        """Open a session for a key."""
        fields = await form_of(request)
        wanted, address = local(fields.get("next", "")), self._address(request)
        # A form on another site could sign its reader in with a key of that site's own.
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return self._shown(wanted, 403, error="elsewhere")
        seconds = self._attempts.wait(address)
        if seconds:
            return self._shut_out(wanted, seconds)
        key = self._gate.key(fields.get("key", "").strip())
        if key is None:
            self._attempts.failed(address)
            return self._shown(wanted, 401, error="wrong")
        return self._with_cookie(request, see_other(wanted), self.frame.sessions.open(key), SESSION_SECONDS)

    @posted(write=False)
    async def leave(self, visit: Visit, fields: Mapping[str, str]) -> Response:
        """End the session, here and wherever its cookie was copied to."""
        await run_in_threadpool(self.frame.sessions.end, visit.session)
        return self._with_cookie(visit.request, see_other("/login"), "", 0)

    def _shown(self, wanted: str, status: int = 200, **values: Any) -> Response:
        values = {"error": None, "minutes": 0, **values, "wanted": wanted, "address": Address("/login")}
        return self.frame.page("login.html", status, session=None, **values)

    def _shut_out(self, wanted: str, seconds: int) -> Response:
        answer = self._shown(wanted, 429, error="shut out", minutes=-(-seconds // 60))
        answer.headers["Retry-After"] = str(seconds)
        return answer

    def _address(self, request: Request) -> str | None:
        forwarded = request.headers.getlist("x-forwarded-for")
        peer = request.client.host if request.client else None
        return client_address(peer, forwarded, self._config.trusted_proxies)

    def _with_cookie(self, request: Request, response: Response, value: str, seconds: int) -> Response:
        response.set_cookie(
            COOKIE, value, max_age=seconds, path="/", secure=self._secure(request), httponly=True, samesite="strict"
        )
        return response

    def _secure(self, request: Request) -> bool:
        """Whether the browser came by HTTPS: the dashboard is at ``public_url``, unless ``admin_listen`` gives it an
        address of its own, of which only the proxy before it can tell."""
        if self._config.admin_listen is None:
            return self._config.public_url.startswith("https://")
        peer = request.client.host if request.client else None
        believed = client_address(peer, ["0.0.0.0"], self._config.trusted_proxies) == "0.0.0.0"  # noqa: S104
        return believed and request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
