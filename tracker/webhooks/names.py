"""The events that an endpoint can hear of, by their names in django-anymail's vocabulary. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracker.units import did_you_mean

NAMES = (
    "queued",
    "sent",
    "deferred",
    "bounced",
    "failed",
    "rejected",
    "opened",
    "clicked",
    "unsubscribed",
    "subscribed",
    "complained",
)
"""Every event, in the order in which a mail's life goes."""

SYNONYMS = {"accepted": "queued", "suppressed": "rejected", "delivered": "sent"}
"""Other names by which an event can be asked for, and is told to whoever did."""

TYPES = {
    "accepted": "queued",
    "sent": "sent",
    "deferred": "deferred",
    "bounced": "bounced",
    "error": "failed",
    "suppressed": "rejected",
    "open": "opened",
    "click": "clicked",
    "opt_out": "unsubscribed",
    "opt_in": "subscribed",
    "complaint": "complained",
}
"""The event that each type in the store is told as; other types are not told."""

HITS = ("opened", "clicked")
"""Events that a person or a machine makes."""


def parse_name(value: str) -> str:
    """A name as it stands in the configuration. Raises ValueError for what is no event."""
    known = [*NAMES, *SYNONYMS]
    if value not in known:
        listed = ", ".join(known)
        raise ValueError(f"{value!r} is no event{did_you_mean(value, known)}; there are {listed}")
    return value


def asked_for(names: Sequence[str]) -> Mapping[str, str]:
    """The events that an endpoint wants, all of them where it names none, each with the name that it is told by."""
    return {SYNONYMS.get(name, name): name for name in names or NAMES}
