"""The two public routes, the pixel and the redirect, as bare ASGI: every answer comes from the token alone."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracker.errors import BadToken
from tracker.hits.classify import SIGNAL_HEADERS, as_repeat, classify
from tracker.hits.privacy import client_address, keep_address, keep_agent
from tracker.hits.recorder import Recorder
from tracker.model import Clock, Hit, LinkType, new_id
from tracker.redaction import without_addresses
from tracker.tokens import Click, Keyring, Open

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
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
_SHARED_TOKENS = 50_000


class SharedRepeats:
    """Tells repeats on links that name no recipient, where the store cannot: remembers for seconds, in memory alone and
    under a key that dies with the process, who asked for which token."""

    def __init__(self, size: int = _SHARED_TOKENS) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._key = os.urandom(32)
        self._size = size

    def judge(self, hit: Hit) -> Hit:
        """The hit, as a repeat if the same visitor just made it."""
        if hit.verdict is None:
            return hit
        who = f"{hit.message} {hit.position} {hit.verdict.cls} {hit.address} {hit.agent}"
        name = hashlib.blake2b(who.encode(), key=self._key, digest_size=16).digest()
        verdict = as_repeat(hit.verdict, hit.at, self._seen.get(name))
        if verdict.kind != "repeat":
            self._seen[name] = hit.at
            self._seen.move_to_end(name)
            if len(self._seen) > self._size:
                self._seen.popitem(last=False)
        return replace(hit, verdict=verdict)


class HitRoutes:
    """``/o/TOKEN.gif`` and ``/c/TOKEN``; an ASGI application for paths that begin so."""

    prefixes = ("/o/", "/c/")

    def __init__(self, config: TrackerConfig, keyring: Keyring, recorder: Recorder, clock: Clock) -> None:
        self._config = config
        self._keyring = keyring
        self._recorder = recorder
        self._clock = clock
        self._shared = SharedRepeats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in ("GET", "HEAD"):
            await _answer(send, method, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        claim = self._claim(scope["path"])
        if claim is None:
            await _answer(send, method, 404, [(b"content-type", b"text/plain; charset=utf-8")], b"not found\n")
            return
        await self._recorder.hit(self._hit(scope, claim))
        if isinstance(claim, Click):
            await _answer(send, method, 302, [(b"location", claim.url.encode("ascii"))], b"")
        else:
            await _answer(send, method, 200, [(b"content-type", b"image/gif")], GIF)

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
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        peer = scope.get("client")
        forwarded = (value for name, value in headers if name == "x-forwarded-for")
        at, click = self._clock(), isinstance(claim, Click)
        hit = Hit(
            id=new_id(at),
            at=at,
            message=claim.message,
            recipient=claim.recipient,
            event="click" if click else "open",
            position=claim.position if isinstance(claim, Click) else 0,
            url=claim.url if isinstance(claim, Click) else None,
            type=claim.type if isinstance(claim, Click) else LinkType.TRACKED,
            method=scope["method"],
            address=client_address(peer[0] if peer else None, forwarded, self._config.trusted_proxies),
            agent=next((value for name, value in headers if name == "user-agent"), None),
            headers={name: value[:200] for name, value in headers if name in SIGNAL_HEADERS},
        )
        return self._within_privacy(replace(hit, verdict=classify(hit)))

    def _within_privacy(self, hit: Hit) -> Hit:
        """The judged hit with no more about the person than may be stored."""
        if hit.recipient is None:
            # A link can have been made for one reader, and say so.
            url = None if hit.url is None else without_addresses(hit.url)
            return replace(self._shared.judge(hit), address=None, agent=None, url=url)
        privacy = self._config.privacy
        return replace(
            hit,
            address=keep_address(hit.address, privacy.ip),
            agent=keep_agent(hit.agent, privacy.user_agent),
        )


def _is_plain(url: str) -> bool:
    web = url[:6].lower().startswith(("http:", "https:"))
    return web and url.isascii() and url.isprintable()


async def _answer(send: Send, method: str, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *PUBLIC_HEADERS]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
