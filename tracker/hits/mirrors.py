"""The mirror page: a mail's HTML on the web, as one of its recipients got it. Bare ASGI.

What is shown was written by whoever sent the mail: the policy lets no script run and nothing but pictures load, and
puts the page into an origin of its own.
"""

from __future__ import annotations

import asyncio

import structlog

from tracker.errors import BadToken, StoreError
from tracker.hits.public import Headers, answer, not_found
from tracker.hits.recorder import Recorder
from tracker.hits.witness import Receive, Scope, Send, Witness
from tracker.mirror import Viewer, fill, unpack
from tracker.model import MIRROR_PAGE, Clock, LinkType
from tracker.store.base import Store
from tracker.tokens import Keyring, Mirror

log = structlog.get_logger()

POLICY = (
    b"sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation; default-src 'none';"
    b" img-src https: http: data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    b" frame-ancestors 'self'"
)
"""What the page may do: show pictures and lead away (contract, section 5)."""

RETRY_AFTER = 30
"""Seconds after which to ask again while the store is away."""

_HEADERS: Headers = [
    # it wins over what the page says of its own charset
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY),
    # the links of a page are looked up ahead unless told not to
    (b"x-dns-prefetch-control", b"off"),
]
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>{0}</title></head><body><h1>{0}</h1><p>{1}</p></body></html>'
)
_GONE = _PAGE.format("No longer here", "The web copy of this mail is not kept any more.").encode()
_AWAY = _PAGE.format("Not now", "The web copy of this mail cannot be shown now. Please try again later.").encode()
_LONGEST = 4096


class MirrorPages:
    """``/m/TOKEN``; an ASGI application for paths that begin so. ``retention`` is how long pages are kept, in
    seconds."""

    prefix = "/m/"

    def __init__(
        self, keyring: Keyring, store: Store, recorder: Recorder, clock: Clock, witness: Witness, retention: float
    ) -> None:
        self._keyring = keyring
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._witness = witness
        self._retention = retention

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in ("GET", "HEAD"):
            await answer(send, method, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        claim = self._claim(scope["path"])
        if claim is None:
            await not_found(send, method)
            return
        try:
            page = await asyncio.to_thread(self._page, claim)
        except StoreError as error:
            log.warning("a mirror page cannot be shown now", cause=repr(error.__cause__))
            await answer(send, method, 503, [*_HEADERS, (b"retry-after", b"%d" % RETRY_AFTER)], _AWAY)
            return
        if page is None:
            await answer(send, method, 410, _HEADERS, _GONE)
            return
        # by which of the mail's links the reader came is not in the token
        about = (claim.message, claim.recipient, "click", MIRROR_PAGE, None, LinkType.MIRROR)
        await self._recorder.hit(self._witness.hit(scope, *about))
        await answer(send, method, 200, _HEADERS, page)

    def _claim(self, path: str) -> Mirror | None:
        try:
            return self._keyring.open(Mirror, path[3:]) if path.isascii() and len(path) <= _LONGEST else None
        except BadToken:
            return None

    def _page(self, claim: Mirror) -> bytes | None:
        """The page, None where it is not kept any more. Raises StoreError."""
        row = self._store.page(str(claim.message), claim.recipient)
        if row is None or row["at"] + self._retention < self._clock():
            return None
        viewer = Viewer(claim.message, claim.recipient, row["sender"], row["address"])
        try:
            return fill(unpack(row["content"]), viewer, self._keyring).encode("utf-8", "replace")
        except ValueError:
            log.error("a mirror page cannot be read", message=str(claim.message))
            return None
