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
FOUND_BY = {
    "pending": "still on their way",
    "delivered": "delivered",
    "sent": "taken by the smarthost",
    "bounced": "bounced",
    "error": "given up",
    "suppressed": "suppressed",
}
"""States by which messages are found: at least one recipient is in it."""

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
    "returned": "Something came back",
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


_SUBJECTS = {
    "1.1": "no such mailbox",
    "1.2": "no such host",
    "1.3": "not a valid address",
    "1.6": "the mailbox has moved",
    "1.8": "the sender's host does not exist",
    "1.10": "the host takes no mail (null MX)",
    "2.1": "the mailbox is disabled",
    "2.2": "the mailbox is full",
    "2.3": "too large for the mailbox",
    "3.1": "the host's disk is full",
    "3.4": "too large for the host",
    "4.1": "the host does not answer",
    "4.2": "the connection broke",
    "4.4": "no way to the host",
    "4.7": "not delivered in time",
    "5.0": "refused in the dialogue",
    "6.0": "the content is refused",
    "7.0": "refused by policy",
    "7.1": "refused by policy or as spam",
    "7.23": "SPF check failed",
    "7.26": "authentication checks failed",
}
_CLASSES = {
    "0": "no reason given",
    "1": "the address",
    "2": "the mailbox",
    "3": "the host",
    "4": "the way there",
    "5": "the dialogue",
    "6": "the content",
    "7": "policy",
}


def enhanced(code: str) -> str:
    """What an enhanced status code says (RFC 3463, RFC 7505, RFC 7372), as far as it is known."""
    _, _, rest = code.partition(".")
    return _SUBJECTS.get(rest) or _CLASSES.get(rest.partition(".")[0], "")
