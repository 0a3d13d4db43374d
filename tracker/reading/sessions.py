"""Sessions of the dashboard: a cookie that one of the API keys signed, good for 12 hours, and ended for good by signing
out. Which ones were ended stands in the store, since several processes on several machines may answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal, Protocol

from tracker.reading.auth import ApiKey, Gate

SESSION_SECONDS = 12 * 3600
COOKIE = "tracepost_session"


@dataclass(frozen=True, slots=True)
class Session:
    """An open session: its name, when it ends by itself (seconds since the epoch), what it may do and the token that
    its forms must send back."""

    id: str
    ends: int
    access: Literal["read", "write"]
    csrf: str

    def owns(self, token: str) -> bool:
        """Whether a form with this token is from a page of this session."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.csrf.encode())


class EndedSessions(Protocol):
    """Remembers which sessions were ended. Both raise StoreError where the store cannot be reached now."""

    def end_session(self, id: str, until: float) -> None:
        """Remember it until it would have ended by itself."""

    def session_ended(self, id: str) -> bool:
        """Whether it was ended."""


class Sessions:
    """The sessions that the keys of a gate open."""

    def __init__(self, gate: Gate, ended: EndedSessions) -> None:
        self._gate = gate
        self._ended = ended

    def open(self, key: ApiKey) -> str:
        """A cookie's value: it ends by itself after 12 hours, and at once when its key is taken out."""
        head = f"{int(self._gate.clock()) + SESSION_SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{head}.{_mac(key, 'session', head)}"

    def claimed(self, cookie: str | None) -> Session | None:
        """The session of a cookie's value, None unless one of the keys opened it and its time is not over. Does not
        look whether it was ended."""
        head, _, mac = (cookie or "").rpartition(".")
        ends, _, id = head.partition(".")
        if not (ends.isascii() and ends.isdigit() and len(ends) < 12 and mac.isascii()):
            return None
        for key in self._gate.keys:
            if hmac.compare_digest(_mac(key, "session", head), mac):
                alive = self._gate.clock() < int(ends)
                return Session(id, int(ends), key.access, _mac(key, "csrf", head)) if alive else None
        return None

    def stands(self, session: Session) -> bool:
        """Whether nobody has ended it. Blocks; raises StoreError."""
        return not self._ended.session_ended(session.id)

    def end(self, session: Session) -> None:
        """End it, wherever its cookie was copied to. Blocks; raises StoreError."""
        self._ended.end_session(session.id, session.ends)


def _mac(key: ApiKey, purpose: str, text: str) -> str:
    secret = hashlib.sha256(b"tracepost dashboard\0" + key.key.encode()).digest()
    return hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
