"""Who may read: API keys as bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal, Protocol

from starlette.requests import Request

from tracker.hits.privacy import Network, client_address
from tracker.model import Clock
from tracker.reading.attempts import Attempts


class ApiKey(Protocol):
    """One key of ``tracker.api_keys``."""

    @property
    def key(self) -> str:
        """The secret itself."""

    @property
    def access(self) -> Literal["read", "write"]:
        """What it allows."""


class ShutOut(Exception):
    """Too many different wrong keys came from an address; ``seconds`` until it may try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong keys came from your address; try again in {math.ceil(seconds / 60)} minutes.")
        self.seconds = seconds


class Gate:
    """Knows the keys; compares in constant time. ``proxies`` are the networks whose X-Forwarded-For is believed."""

    def __init__(self, keys: Sequence[ApiKey], clock: Clock, proxies: Sequence[Network] = ()) -> None:
        self.keys = keys
        self.clock = clock
        self._proxies = proxies
        self._guesses = Attempts(clock)

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Know these keys from now on; sessions that were opened with another one end."""
        self.keys = keys

    def key(self, text: str) -> ApiKey | None:
        """The key that reads so, None if there is none; always looks at all of them."""
        offered, found = hashlib.sha256(text.encode("utf-8", "replace")).digest(), None
        for key in self.keys:
            if hmac.compare_digest(offered, hashlib.sha256(key.key.encode()).digest()):
                found = key
        return found

    def offered(self, request: Request, text: str) -> ApiKey | None:
        """The key that a program sends with each request. Raises ShutOut where its address guesses: one that sends the
        same wrong key time and again does not, and on this machine many may share an address."""
        peer = request.client.host if request.client else None
        address = client_address(peer, request.headers.getlist("x-forwarded-for"), self._proxies)
        key = self.key(text)
        if address is None or ip_address(address).is_loopback:
            return key
        if seconds := self._guesses.wait(address):
            raise ShutOut(seconds)
        if key is None and text:
            self._guesses.failed(address, hashlib.sha256(text.encode("utf-8", "replace")).digest())
        return key


def bearer(header: str | None) -> str:
    """What an Authorization header bears (RFC 6750); empty where it is none of that kind."""
    scheme, _, value = (header or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
