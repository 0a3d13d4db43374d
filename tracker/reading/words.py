"""Codes of ours in plain words, for people. Pure."""

from __future__ import annotations

from tracker.reading import reasons

LINK_TYPES = {"tracked": "tracked", "opt_out": "opt-out", "mirror": "web copy", "never": "never tracked"}
STATUSES = {
    "pending": "on its way",
    "sent": "delivered",
    "bounced": "bounced",
    "error": "given up",
    "suppressed": "suppressed",
}
STATES = {**STATUSES, "opened": "opened", "clicked": "clicked"}
SUPPRESSIONS = {"mail": "no mail", "tracking": "no tracking"}
EVENTS = {
    "accepted": "Accepted",
    "sent": "Taken by the smarthost",
    "deferred": "Deferred, will be tried again",
    "bounced": "Bounced",
    "error": "Given up",
    "suppressed": "Suppressed",
    "open": "Opened",
    "click": "Clicked",
    "opt_out_click": "Opt-out link clicked",
    "mirror_view": "Web copy viewed",
    "opt_out": "Opted out",
    "opt_in": "Took the opt-out back",
    "complaint": "Complained of spam",
}
KINDS = {
    "browser": "browser",
    "mail_client": "mail program",
    "image_proxy": "image proxy",
    "repeat": "repeat, not counted",
    "prefetch": "prefetch",
    "privacy_proxy": "privacy proxy",
    "delivery_fetch": "fetched at delivery",
    "scanner": "scanner",
    "bot": "bot",
    "head": "HEAD request",
}
"""What made a hit."""


def why_untracked(reason: str | None) -> str:
    """The sentence for a reason code."""
    return reasons.of_mail(reason).why
