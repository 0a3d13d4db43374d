"""Who may read: API keys as bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal, Protocol

from tracker.model import Clock


class ApiKey(Protocol):
    """One key of ``tracker.api_keys``."""

    @property
    def key(self) -> str:
        """The secret itself."""

    @property
    def access(self) -> Literal["read", "write"]:
        """What it allows."""


class Gate:
    """Knows the keys; compares in constant time."""

    def __init__(self, keys: Sequence[ApiKey], clock: Clock) -> None:
        self.keys = keys
        self.clock = clock

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

    def bearer(self, header: str | None) -> ApiKey | None:
        """The key in an Authorization header (RFC 6750)."""
        scheme, _, value = (header or "").partition(" ")
        return self.key(value.strip()) if scheme.lower() == "bearer" else None
