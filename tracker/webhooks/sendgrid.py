"""SendGrid's Event Webhook (twilio.com/docs/sendgrid/for-developers/tracking-events/event): events in an array, signed
by ECDSA on P-256 over timestamp and body."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tracker.webhooks.names import HITS
from tracker.webhooks.notice import Notice, codes_of, octets_of
from tracker.webhooks.post import Post

BATCH = 100
SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
EVENTS = {
    "queued": "processed",
    "sent": "delivered",
    "deferred": "deferred",
    "bounced": "bounce",
    "failed": "bounce",
    "rejected": "dropped",
    "opened": "open",
    "clicked": "click",
    "unsubscribed": "unsubscribe",
    "subscribed": "group_resubscribe",
    "complained": "spamreport",
}
"""What SendGrid calls each event."""


def check(secret: str | None) -> None:
    """Raise ValueError for what is no private key on P-256."""
    if secret is not None:
        _key(secret)


def told(name: str) -> bool:
    """Every event is told."""
    return True


def payload(notices: Sequence[Notice]) -> Any:
    """The events in one array; a mail that was accepted is one event a recipient."""
    return [entry for notice in notices for entry in _entries(notice)]


def post(notices: Sequence[Notice], secret: str | None, now: float) -> Post:
    """The request; signed where there is a key."""
    body, at = octets_of(payload(notices)), str(int(now))
    headers = {"webhook-id": notices[0].id, TIMESTAMP: at}
    if secret is not None:
        signature = _key(secret).sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers[SIGNATURE] = base64.b64encode(signature).decode()
    return Post(body, headers)


def _entries(notice: Notice) -> Iterator[dict[str, Any]]:
    if notice.name == "queued" and len(notice.recipients) > 1:
        for number, each in enumerate(notice.recipients, 1):
            yield _entry(notice, each, f"{notice.id}.{number}")
    else:
        yield _entry(notice, notice.recipient or "", notice.id)


def _entry(notice: Notice, who: str, id: str) -> dict[str, Any]:
    """One event; the unique arguments stand beside its fields, and never in their place."""
    entry: dict[str, Any] = {
        "email": who,
        "timestamp": int(notice.at),
        "event": EVENTS[notice.name],
        "sg_event_id": id,
        "sg_message_id": notice.message,
        "smtp-id": notice.message_id,
        "category": [] if notice.tag is None else [notice.tag],
    }
    if notice.name in HITS:
        entry |= {"useragent": notice.agent or "", "ip": notice.address or ""}
    if notice.name == "opened":
        entry["sg_machine_open"] = notice.machine
    if notice.name == "clicked":
        place = {"index": max(0, notice.position - 1), "type": "html"}
        entry |= {"url": notice.url, "url_offset": place}
    return {**notice.metadata, **entry, **_outcome(notice)}


def _outcome(notice: Notice) -> dict[str, Any]:
    if notice.name in ("sent", "deferred"):
        return {"response": notice.reply}
    if notice.name == "rejected":
        gone = "exist" in (notice.reason or "")
        return {"reason": "Bounced Address" if gone else "Unsubscribed Address"}
    if notice.name in ("bounced", "failed"):
        code, _ = codes_of(notice.reply)
        kind = "expired" if notice.name == "failed" else "blocked" if notice.bounce == "soft" else "bounce"
        return {"reason": notice.reply, "status": notice.status or str(code or ""), "type": kind}
    return {}


@lru_cache(maxsize=16)
def _key(secret: str) -> ec.EllipticCurvePrivateKey:
    key: Any = None
    try:
        if "-----BEGIN" in secret:
            key = serialization.load_pem_private_key(secret.encode(), None)
        else:
            key = serialization.load_der_private_key(base64.b64decode("".join(secret.split()), validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        pass
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(
            "must be a private key on P-256 with format sendgrid, in PEM or DER in base64;"
            " `openssl ecparam -name prime256v1 -genkey -noout` makes one"
        )
    return key
