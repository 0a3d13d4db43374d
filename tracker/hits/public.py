"""The two public routes, the pixel and the redirect, as bare ASGI: every answer comes from the token alone."""

from __future__ import annotations

from tracker.errors import BadToken
from tracker.hits.recorder import Recorder
from tracker.hits.witness import Receive, Scope, Send, Witness
from tracker.model import Hit
from tracker.tokens import Click, Keyring, Open

Headers = list[tuple[bytes, bytes]]

GIF = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"  # 1x1, transparent
)
"""The pixel, 43 bytes."""

PUBLIC_HEADERS: Headers = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex"),
    (b"x-content-type-options", b"nosniff"),
]
"""What every public answer bears (contract, section 5)."""

_LONGEST = 4096


class HitRoutes:
    """``/o/TOKEN.gif`` and ``/c/TOKEN``; an ASGI application for paths that begin so."""

    prefixes = ("/o/", "/c/")

    def __init__(self, keyring: Keyring, recorder: Recorder, witness: Witness) -> None:
        self._keyring = keyring
        self._recorder = recorder
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in ("GET", "HEAD"):
            await answer(send, method, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        claim = self._claim(scope["path"])
        if claim is None:
            await not_found(send, method)
            return
        await self._recorder.hit(self._hit(scope, claim))
        if isinstance(claim, Click):
            await answer(send, method, 302, [(b"location", claim.url.encode("ascii"))], b"")
        else:
            await answer(send, method, 200, [(b"content-type", b"image/gif")], GIF)

    def _claim(self, path: str) -> Open | Click | None:
        try:
            if path.startswith("/o/"):
                return self._keyring.open(Open, path[3:-4]) if path.endswith(".gif") and path.isascii() else None
            if len(path) > _LONGEST or not path.isascii():
                return None
            claim = self._keyring.open(Click, path[3:])
        except BadToken:
            return None
        # Sealed by us, yet never let anything but one plain web address into a header.
        return claim if _is_plain(claim.url) else None

    def _hit(self, scope: Scope, claim: Open | Click) -> Hit:
        if isinstance(claim, Click):
            about = (claim.message, claim.recipient, "click", claim.position, claim.url, claim.type)
            return self._witness.hit(scope, *about)
        return self._witness.hit(scope, claim.message, claim.recipient, "open")


def _is_plain(url: str) -> bool:
    web = url[:6].lower().startswith(("http:", "https:"))
    return web and url.isascii() and url.isprintable()


async def not_found(send: Send, method: str) -> None:
    """The answer to what we did not seal."""
    await answer(send, method, 404, [(b"content-type", b"text/plain; charset=utf-8")], b"not found\n")


async def answer(send: Send, method: str, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer, with the headers that every public one bears; HEAD gets them alone."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *PUBLIC_HEADERS]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
