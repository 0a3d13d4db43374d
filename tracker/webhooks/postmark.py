"""Postmark's webhooks (postmarkapp.com/developer, "Webhooks"). They are not signed: a receiver knows them by a user
name and password in the URL, or by a header that ``secret`` holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from tracker.hits.agents import client_of
from tracker.webhooks.notice import Notice, instant, octets_of
from tracker.webhooks.post import Post

BATCH = 1
_TYPES = {
    "hard": ("HardBounce", 1, "Hard bounce", "The server was unable to deliver your message."),
    "soft": ("SoftBounce", 4096, "Soft bounce", "Unable to deliver your message for now."),
    "deferred": (
        "Transient",
        2,
        "Message delayed",
        "The server could not deliver your message yet and will try again.",
    ),
    "failed": ("SoftBounce", 4096, "Soft bounce", "The server gave up to deliver your message."),
    "rejected": ("ManuallyDeactivated", 100002, "Manually deactivated", "The address is on the suppression list."),
    "complained": ("SpamComplaint", 100001, "Spam complaint", "The subscriber marked this message as spam."),
}
RECORDS = {
    "sent": "Delivery",
    "deferred": "Bounce",
    "bounced": "Bounce",
    "failed": "Bounce",
    "rejected": "Bounce",
    "opened": "Open",
    "clicked": "Click",
    "unsubscribed": "SubscriptionChange",
    "subscribed": "SubscriptionChange",
    "complained": "SpamComplaint",
}
"""What Postmark calls each event."""

_PLATFORMS = {"desktop": "Desktop", "phone": "Mobile", "tablet": "Mobile", "watch": "Mobile"}
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "webhook-id", "user-agent")


def check(secret: str | None) -> None:
    """Raise ValueError for what is no header."""
    match = None if secret is None else _HEADER.fullmatch(secret)
    if secret is not None and (match is None or match[1].lower() in _OURS):
        raise ValueError('must be a header with format postmark, such as "X-Webhook-Token: 4f5c…": it signs nothing')


def told(name: str) -> bool:
    """Postmark does not tell that a message was accepted."""
    return name in RECORDS


def payload(notices: Sequence[Notice]) -> Any:
    """The body of one event."""
    (notice,) = notices
    record: dict[str, Any] = {
        "RecordType": RECORDS[notice.name],
        "MessageID": notice.message,
        "MessageStream": "outbound",
        "ServerID": 0,
        "Metadata": dict(notice.metadata),
        "Tag": notice.tag or "",
    }
    at, who = instant(notice.at), notice.recipient or ""
    if notice.name in ("opened", "clicked"):
        return record | _hit(notice, who, at)
    if notice.name == "sent":
        return record | {"Recipient": who, "DeliveredAt": at, "Details": notice.reply}
    if notice.name in ("unsubscribed", "subscribed"):
        out = notice.name == "unsubscribed"
        change = {"SuppressSending": out, "SuppressionReason": "ManualSuppression" if out else None}
        return record | {"Recipient": who, "ChangedAt": at, "Origin": "Recipient", **change}
    return record | _bounce(notice, who, at)


def post(notices: Sequence[Notice], secret: str | None, now: float) -> Post:
    """The request; with the header of ``secret``."""
    headers = {"webhook-id": notices[0].id}
    match = None if secret is None else _HEADER.fullmatch(secret)
    if match is not None:
        headers[match[1]] = match[2]
    return Post(octets_of(payload(notices)), headers)


def _hit(notice: Notice, who: str, at: str) -> dict[str, Any]:
    device, system, program = client_of(notice.agent)
    platform = "WebMail" if notice.kind == "image_proxy" else _PLATFORMS.get(device, "Unknown")
    hit: dict[str, Any] = {
        "Recipient": who,
        "ReceivedAt": at,
        "UserAgent": notice.agent or "",
        "Client": {"Name": program, "Company": "", "Family": program},
        "OS": {"Name": system, "Company": "", "Family": system},
        "Platform": platform,
        "Geo": {"IP": notice.address or ""},
    }
    if notice.name == "opened":
        return hit | {"FirstOpen": notice.first}
    return hit | {"OriginalLink": notice.url, "ClickLocation": "HTML"}


def _bounce(notice: Notice, who: str, at: str) -> dict[str, Any]:
    kind = notice.name if notice.name != "bounced" else notice.bounce or "hard"
    type, code, name, description = _TYPES[kind]
    number = int.from_bytes(hashlib.sha256(notice.id.encode()).digest()[:6], "big")
    about = {"ID": number, "Type": type, "TypeCode": code, "Name": name, "Description": description}
    about |= {"Details": notice.reply or notice.reason or "", "Email": who, "From": notice.sender, "BouncedAt": at}
    inactive = notice.bounce == "hard" or notice.name in ("rejected", "complained")
    return about | {"Subject": notice.subject, "DumpAvailable": False, "Inactive": inactive, "CanActivate": False}
