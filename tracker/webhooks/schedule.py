"""When a delivery that failed is tried again. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_MINUTE, _HOUR = 60.0, 3600.0

STANDARD = (5.0, *(n * _MINUTE for n in (5, 30)), *(n * _HOUR for n in (2, 5, 10, 14, 20, 24)))
"""Seconds after each failure: the schedule that Standard Webhooks proposes (spec 1.0.0, "Retries")."""

MAILGUN = (*(n * _MINUTE for n in (10, 10, 15, 30)), *(n * _HOUR for n in (1, 2, 4)))
"""Mailgun's own (documentation.mailgun.com, "Webhooks")."""

SCHEDULES = {"standard": STANDARD, "mailgun": MAILGUN, "postmark": STANDARD, "sendgrid": STANDARD}

SPREAD = 0.2
"""Each wait is up to this part longer, so that what failed together does not come back together."""

LONGEST_RETRY_AFTER = 6 * _HOUR
"""Seconds that an endpoint can put us off for at most."""


def next_try(format: str, tries: int, now: float, chance: float, retry_after: float | None = None) -> float | None:
    """The time of the next try after so many, None where that was the last. ``chance`` is in [0, 1); an answer that
    said when to come again (``retry_after``, in seconds) is heeded where that is later."""
    waits = SCHEDULES[format]
    if tries > len(waits):
        return None
    wait = waits[tries - 1] * (1 + SPREAD * chance)
    return now + max(wait, retry_after or 0.0)


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """What Retry-After (RFC 9110 section 10.2.3) asks for, in seconds from ``now``, as far as it is heeded; None where
    it asks for nothing that can be read."""
    text = (retry_after or "").strip()
    if not text:
        return None
    if text.isdecimal() and text.isascii():
        return LONGEST_RETRY_AFTER if len(text) > 9 else min(float(text), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(0.0, at - now), LONGEST_RETRY_AFTER)
