"""From a request on a link of ours to the hit that is kept of it: judged, and no more about the person than may be."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tracker.hits.classify import classify
from tracker.hits.judging import as_repeat
from tracker.hits.privacy import client_address, keep_address, keep_agent
from tracker.hits.rules import SIGNAL_HEADERS
from tracker.model import Clock, Hit, LinkType, new_id
from tracker.redaction import without_addresses

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SHARED_TOKENS = 50_000


class SharedRepeats:
    """Tells repeats on links that name no recipient, where the store cannot: remembers for seconds, in memory alone and
    under a key that dies with the process, who asked for which token."""

    def __init__(self, size: int = _SHARED_TOKENS) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._key = os.urandom(32)
        self._size = size

    def judge(self, hit: Hit, path: str) -> Hit:
        """The hit on a token, which is in its path, as a repeat if the same visitor just made it."""
        if hit.verdict is None:
            return hit
        who = f"{path} {hit.verdict.cls} {hit.address} {hit.agent}"
        name = hashlib.blake2b(who.encode(), key=self._key, digest_size=16).digest()
        verdict = as_repeat(hit.verdict, hit.at, self._seen.get(name))
        if verdict.kind != "repeat":
            self._seen[name] = hit.at
            self._seen.move_to_end(name)
            if len(self._seen) > self._size:
                self._seen.popitem(last=False)
        return replace(hit, verdict=verdict)


class Witness:
    """Sees who asks for what."""

    def __init__(self, config: TrackerConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._shared = SharedRepeats()

    def hit(
        self,
        scope: Scope,
        message: UUID,
        recipient: int | None,
        event: str,
        position: int = 0,
        url: str | None = None,
        type: LinkType = LinkType.TRACKED,
    ) -> Hit:
        """The hit of one request, to be kept."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        peer = scope.get("client")
        forwarded = (value for name, value in headers if name == "x-forwarded-for")
        at = self._clock()
        hit = Hit(
            id=new_id(at),
            at=at,
            message=message,
            recipient=recipient,
            event=event,
            position=position,
            url=url,
            type=type,
            method=scope["method"],
            address=client_address(peer[0] if peer else None, forwarded, self._config.trusted_proxies),
            agent=next((value for name, value in headers if name == "user-agent"), None),
            headers={name: value[:200] for name, value in headers if name in SIGNAL_HEADERS},
        )
        return self._within_privacy(replace(hit, verdict=classify(hit)), scope["path"])

    def _within_privacy(self, hit: Hit, path: str) -> Hit:
        """The judged hit with no more about the person than may be stored."""
        if hit.recipient is None:
            # A link can have been made for one reader, and say so.
            url = None if hit.url is None else without_addresses(hit.url)
            return replace(self._shared.judge(hit, path), address=None, agent=None, url=url)
        privacy = self._config.privacy
        return replace(
            hit,
            address=keep_address(hit.address, privacy.ip),
            agent=keep_agent(hit.agent, privacy.user_agent),
            whole=privacy.user_agent == "full",
        )
