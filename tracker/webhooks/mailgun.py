"""Mailgun's webhooks (documentation.mailgun.com, "Webhook Payloads" and "Securing Webhooks")."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from tracker.hits.agents import client_of
from tracker.webhooks.names import HITS
from tracker.webhooks.notice import Notice, codes_of, octets_of
from tracker.webhooks.post import Post

BATCH = 1
EVENTS = {
    "queued": "accepted",
    "sent": "delivered",
    "deferred": "failed",
    "bounced": "failed",
    "failed": "failed",
    "rejected": "failed",
    "opened": "opened",
    "clicked": "clicked",
    "unsubscribed": "unsubscribed",
    "complained": "complained",
}
"""What Mailgun calls each event."""

_REASONS = {"deferred": "generic", "bounced": "bounce", "failed": "old", "rejected": "suppress-unsubscribe"}
_DEVICES = {"desktop": "desktop", "phone": "mobile", "tablet": "tablet"}
_TOKEN = 50


def check(secret: str | None) -> None:
    """Raise ValueError where there is no signing key, or it could not be one."""
    if secret is None:
        raise ValueError("is required with format mailgun: the key that its signatures are made with")
    if not secret.isascii():
        raise ValueError("must be ASCII with format mailgun")


def told(name: str) -> bool:
    """Mailgun has no word for an opt-out that was taken back."""
    return name in EVENTS


def payload(notices: Sequence[Notice]) -> Any:
    """The body of one event, without its signature."""
    (notice,) = notices
    domain = notice.sender.rpartition("@")[2]
    data: dict[str, Any] = {
        "event": EVENTS[notice.name],
        "id": notice.id,
        "timestamp": notice.at,
        "log-level": "info",
        "recipient": notice.recipient or "",
        "recipient-domain": (notice.recipient or "").rpartition("@")[2],
        "tags": [] if notice.tag is None else [notice.tag],
        "campaigns": [],
        "user-variables": dict(notice.metadata),
        "flags": {"is-test-mode": False},
        "domain": {"name": domain},
        "message": {"headers": _headers(notice)},
    }
    if notice.name in ("queued", "sent", "deferred", "bounced", "failed", "rejected"):
        data["envelope"] = {"sender": notice.sender, "targets": ",".join(notice.recipients), "transport": "smtp"}
    if notice.name in ("sent", "deferred", "bounced", "failed", "rejected"):
        data |= _outcome(notice)
    if notice.name in HITS:
        data |= _hit(notice)
    if notice.name == "clicked":
        data["url"] = notice.url
    return {"event-data": data}


def post(notices: Sequence[Notice], secret: str | None, now: float) -> Post:
    """The request. The token, by which receivers know an event again, stays the same at every try."""
    at = str(int(now))
    token = hashlib.sha512(notices[0].id.encode()).hexdigest()[:_TOKEN]
    mac = hmac.new((secret or "").encode(), f"{at}{token}".encode(), hashlib.sha256).hexdigest()
    signature = {"timestamp": at, "token": token, "signature": mac}
    return Post(octets_of({"signature": signature, **payload(notices)}), {"webhook-id": notices[0].id})


def _headers(notice: Notice) -> dict[str, str]:
    bare = notice.message_id.strip().removeprefix("<").removesuffix(">")
    return {"message-id": bare, "from": notice.sender, "to": ", ".join(notice.recipients), "subject": notice.subject}


def _outcome(notice: Notice) -> dict[str, Any]:
    code, _ = codes_of(notice.reply)
    status: dict[str, Any] = {"code": code or (250 if notice.name == "sent" else 0), "message": notice.reply}
    status |= {"description": notice.reason or "", "enhanced-code": notice.status}
    if notice.name == "sent":
        return {"delivery-status": status}
    temporary = notice.name == "deferred"
    level = {"log-level": "warn" if temporary else "error", "severity": "temporary" if temporary else "permanent"}
    return {"delivery-status": status, **level, "reason": _why(notice)}


def _why(notice: Notice) -> str:
    if notice.name == "rejected" and "exist" in (notice.reason or ""):
        return "suppress-bounce"
    return "generic" if notice.bounce == "soft" else _REASONS[notice.name]


def _hit(notice: Notice) -> dict[str, Any]:
    device, system, program = client_of(notice.agent)
    client = {
        "client-name": program,
        "client-os": system,
        "client-type": _client_type(notice, device),
        "device-type": _DEVICES.get(device, "unknown"),
        "user-agent": notice.agent or "",
        "bot": _bot(notice, program),
    }
    nowhere = {"country": "Unknown", "region": "Unknown", "city": "Unknown"}
    return {"ip": notice.address or "", "geolocation": nowhere, "client-info": client}


def _client_type(notice: Notice, device: str) -> str:
    if notice.machine:
        return "robot"
    if notice.kind in ("mail_client", "image_proxy"):
        return "email client"
    return "mobile browser" if device in ("phone", "tablet") else "browser"


def _bot(notice: Notice, program: str) -> str:
    """Whose machine it was, empty for a person's."""
    if not notice.machine:
        return ""
    if notice.kind == "privacy_proxy":
        return "apple"
    return "gmail" if program == "Gmail" or "Gmail" in (notice.reason or "") else "generic"
