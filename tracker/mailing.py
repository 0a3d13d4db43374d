"""Which messages are one mailing: apps send a newsletter as thousands of messages. Pure."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_OCTETS = 15


def mailing_key(sender: str, mailing: str | None, tag: str | None, subject: str, accepted_at: float, zone: str) -> str:
    """The id of a message's mailing, fit for a URL: the messages of one sender with one ``X-Track-Mailing``; else with
    one tag on one day of ``zone`` (an IANA name); else with one subject on one day. ``accepted_at`` in seconds since
    the epoch."""
    if mailing:
        named = ("mailing", mailing)
    else:
        day = datetime.fromtimestamp(accepted_at, UTC).astimezone(ZoneInfo(zone)).date().isoformat()
        named = ("tag", tag, day) if tag else ("subject", subject, day)  # type: ignore[assignment]
    name = "\0".join((sender.lower(), *named)).encode("utf-8", "surrogatepass")
    return urlsafe_b64encode(hashlib.sha256(name).digest()[:_OCTETS]).decode()
