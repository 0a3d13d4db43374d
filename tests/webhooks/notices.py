"""Notices to be told, and a receiver of each service's own to tell them to."""

from __future__ import annotations

import base64
import warnings
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tracker.facts import NOW
from tracker.webhooks.names import NAMES
from tracker.webhooks.notice import Notice, notice_id

STANDARD_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
MAILGUN_SECRET = "key-0123456789abcdef"
MESSAGE = "01890000-0000-7000-8000-000000000001"

REPLIES = {
    "sent": "250 2.0.0 Ok: queued as 4F3C",
    "deferred": "451 4.7.1 Greylisted, come again",
    "bounced": "550 5.1.1 No such user",
    "failed": "451 4.4.1 No answer",
    "rejected": "opted out",
}


def notice(name: str, **changes: Any) -> Notice:
    hit = name in ("opened", "clicked")
    fields: dict[str, Any] = {
        "id": notice_id("endpoint", MESSAGE, name),
        "name": name,
        "word": name,
        "at": NOW + 0.25,
        "message": MESSAGE,
        "message_id": "<one@example.com>",
        "sender": "news@example.com",
        "subject": "Spring offers",
        "tag": "spring",
        "mailing": "spring-1",
        "metadata": {"order": "42"},
        "recipients": ("ann@example.net",),
        "reply": REPLIES.get(name, ""),
        "reason": {"rejected": "opted out", "opened": "an ordinary browser"}.get(name),
        "bounce": "hard" if name == "bounced" else None,
    }
    if hit:
        fields |= {"cls": "human", "kind": "browser", "address": "192.0.2.0", "agent": "Firefox on Linux"}
        fields |= {"first": True, "reason": "an ordinary browser"}
    if name == "clicked":
        fields |= {"url": "https://example.com/?a=1&b=ü", "label": "Shop", "position": 3}
    return Notice(**{**fields, **changes})


def all_notices() -> list[Notice]:
    return [notice(name) for name in NAMES]


@cache
def signing_pair() -> tuple[str, str]:
    """A private key as the configuration has it, and its public one as SendGrid shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem, base64.b64encode(der).decode()


def anymail_events(service: str, body: bytes, headers: dict[str, str], **settings: Any) -> list[Any]:
    """The events that django-anymail's own view for a service reads from a request. Raises what it raises."""
    from django.conf import settings as django

    if not django.configured:
        django.configure(ANYMAIL={}, ALLOWED_HOSTS=["testserver"], DEFAULT_CHARSET="utf-8", USE_TZ=True)
    from anymail.signals import tracking
    from anymail.webhooks.mailgun import MailgunTrackingWebhookView
    from anymail.webhooks.postmark import PostmarkTrackingWebhookView
    from anymail.webhooks.sendgrid import SendGridTrackingWebhookView
    from django.test import RequestFactory

    views: dict[str, Any] = {
        "mailgun": MailgunTrackingWebhookView,
        "postmark": PostmarkTrackingWebhookView,
        "sendgrid": SendGridTrackingWebhookView,
    }
    seen: list[Any] = []

    def hear(sender: object, event: Any, esp_name: str, **more: object) -> None:
        seen.append(event)

    extra = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    request = RequestFactory().post("/", body, content_type="application/json", **extra)
    tracking.connect(hear, weak=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of an unsigned service, and of SendGrid's support
            view = views[service].as_view(**settings)
            view(request)
    finally:
        tracking.disconnect(hear)
    return seen
