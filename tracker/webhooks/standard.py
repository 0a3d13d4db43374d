"""Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec 1.0.0), events named as in django-anymail."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from tracker.webhooks.names import HITS
from tracker.webhooks.notice import Notice, instant, octets_of
from tracker.webhooks.post import Post

BATCH = 1
PREFIX = "whsec_"
_FEWEST, _MOST = 24, 64


def check(secret: str | None) -> None:
    """Raise ValueError for what is no secret of Standard Webhooks."""
    if secret is not None:
        _key(secret)


def told(name: str) -> bool:
    """Every event is told."""
    return True


def payload(notices: Sequence[Notice]) -> Any:
    """``type``, ``timestamp`` and ``data`` of one event."""
    (notice,) = notices
    data: dict[str, Any] = {
        "id": notice.id,
        "message": notice.message,
        "message_id": notice.message_id,
        "sender": notice.sender,
        "subject": notice.subject,
        "tag": notice.tag,
        "mailing": notice.mailing,
        "metadata": dict(notice.metadata),
        "recipient": notice.recipient,
        "reason": notice.reason,
    }
    if notice.name == "queued":
        data |= {"recipients": list(notice.recipients)}
    if notice.name in ("sent", "deferred", "bounced", "failed", "complained"):
        data |= {"reply": notice.reply}
    if notice.name == "bounced":
        data |= {"bounce": notice.bounce}
    if notice.name in HITS:
        data |= {"class": notice.cls, "kind": notice.kind, "first": notice.first}
        data |= {"ip": notice.address, "user_agent": notice.agent}
    if notice.name == "clicked":
        data |= {"url": notice.url, "label": notice.label, "position": notice.position}
    return {"type": notice.word, "timestamp": instant(notice.at), "data": data}


def post(notices: Sequence[Notice], secret: str | None, now: float) -> Post:
    """The request; signed where there is a secret."""
    body, id, at = octets_of(payload(notices)), notices[0].id, str(int(now))
    headers = {"webhook-id": id, "webhook-timestamp": at}
    if secret is not None:
        mac = hmac.digest(_key(secret), f"{id}.{at}.".encode() + body, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(mac).decode()}"
    return Post(body, headers)


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _FEWEST <= len(key) <= _MOST:
        raise ValueError(
            f"must be {PREFIX} and {_FEWEST} to {_MOST} random octets in base64; `openssl rand -base64 32` makes some"
        )
    return key
