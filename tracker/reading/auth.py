"""Who may read: API keys as bearer tokens, and sessions of the dashboard that were opened with one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tracker.model import Clock

SESSION_SECONDS = 12 * 3600
COOKIE = "tracepost_session"


class ApiKey(Protocol):
    """One key of ``tracker.api_keys``."""

    @property
    def key(self) -> str:
        """The secret itself."""

    @property
    def access(self) -> Literal["read", "write"]:
        """What it allows."""


@dataclass(frozen=True, slots=True)
class Session:
    """An open session: what it may do and the token that its forms must send back."""

    access: Literal["read", "write"]
    csrf: str

    def owns(self, token: str) -> bool:
        """Whether a form with this token is from a page of this session."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.csrf.encode())


class Gate:
    """Knows the keys; compares in constant time."""

    def __init__(self, keys: Sequence[ApiKey], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Know these keys from now on; sessions that were opened with another one end."""
        self._keys = keys

    def key(self, text: str) -> ApiKey | None:
        """The key that reads so, None if there is none; always looks at all of them."""
        offered, found = hashlib.sha256(text.encode("utf-8", "replace")).digest(), None
        for key in self._keys:
            if hmac.compare_digest(offered, hashlib.sha256(key.key.encode()).digest()):
                found = key
        return found

    def bearer(self, header: str | None) -> ApiKey | None:
        """The key in an Authorization header (RFC 6750)."""
        scheme, _, value = (header or "").partition(" ")
        return self.key(value.strip()) if scheme.lower() == "bearer" else None

    def open_session(self, key: ApiKey) -> str:
        """A cookie's value: it ends by itself after 12 hours, and at once when its key is taken out."""
        head = f"{int(self._clock()) + SESSION_SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{head}.{_mac(key, 'session', head)}"

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie's value, None unless one of the keys opened it and it has not ended."""
        head, _, mac = (cookie or "").rpartition(".")
        ends = head.partition(".")[0]
        if not (ends.isascii() and ends.isdigit() and len(ends) < 12 and mac.isascii()):
            return None
        for key in self._keys:
            if hmac.compare_digest(_mac(key, "session", head), mac):
                alive = self._clock() < int(ends)
                return Session(key.access, _mac(key, "csrf", head)) if alive else None
        return None


def _mac(key: ApiKey, purpose: str, text: str) -> str:
    secret = hashlib.sha256(b"tracepost dashboard\0" + key.key.encode()).digest()
    return hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
