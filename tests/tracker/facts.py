"""Facts to feed the tracker with."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tracker.model import (
    Accepted,
    Hit,
    Link,
    LinkType,
    NoMailbox,
    OptedIn,
    OptedOut,
    Outcome,
    Recipient,
    Status,
    SuppressionKind,
    new_id,
)

NOW = 1_790_000_000.0
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36"
)
TYPES = (LinkType.TRACKED, LinkType.TRACKED, LinkType.OPT_OUT, LinkType.MIRROR)


def accepted(message: UUID | None = None, at: float = NOW, people: int = 2, **changes: Any) -> Accepted:
    fields: dict[str, Any] = {
        "id": message or new_id(at),
        "message_id": "<one@example.com>",
        "sender": "news@example.com",
        "subject": "Spring offers",
        "tag": "spring",
        "mailing": "spring-1",
        "metadata": {"order": "42"},
        "accepted_at": at,
        "instrumented": True,
        "reason": None,
        "pixel": True,
        "recipients": tuple(Recipient(n, f"person{n}@example.net") for n in range(1, people + 1)),
        "links": tuple(
            Link(n, f"https://example.com/{n}?a=1", f"https://example.com/{n}?a=1", f"Link {n}", kind, "default", True)
            for n, kind in enumerate(TYPES, 1)
        ),
    }
    return Accepted(**{**fields, **changes})


def outcome(message: UUID, recipient: int = 1, status: Status = Status.SENT, at: float = NOW + 1) -> Outcome:
    return Outcome(message, recipient, status, at, "250 2.0.0 Ok")


def hit(message: UUID, recipient: int | None = 1, position: int = 0, at: float = NOW + 60, **changes: Any) -> Hit:
    fields: dict[str, Any] = {
        "id": new_id(at),
        "at": at,
        "message": message,
        "recipient": recipient,
        "event": "click" if position else "open",
        "position": position,
        "url": f"https://example.com/{position}?a=1" if position else None,
        "type": TYPES[position - 1] if position else LinkType.TRACKED,
        "method": "GET",
        "address": "192.0.2.0",
        "agent": BROWSER,
    }
    return Hit(**{**fields, **changes})


def opted_out(message: UUID, recipient: int | None = 1, at: float = NOW + 100, **changes: Any) -> OptedOut:
    return OptedOut(**{**_choice(message, recipient, at, "opt-out page"), **changes})


def opted_in(message: UUID, recipient: int | None = 1, at: float = NOW + 110, **changes: Any) -> OptedIn:
    return OptedIn(**{**_choice(message, recipient, at, "opt-out page"), **changes})


def no_mailbox(message: UUID, recipient: int = 1, address: str = "", at: float = NOW + 2) -> NoMailbox:
    return NoMailbox(message, recipient, address or f"person{recipient}@example.net", at)


def _choice(message: UUID, recipient: int | None, at: float, reason: str) -> dict[str, Any]:
    return {
        "id": new_id(at),
        "at": at,
        "message": message,
        "recipient": recipient,
        "sender": "news@example.com",
        "address": f"person{recipient or 1}@example.net",
        "kind": SuppressionKind.MAIL,
        "reason": reason,
    }
