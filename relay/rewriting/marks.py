"""What apps write on a link to say how it is to be tracked: ours and the other services', one table. Pure."""

from __future__ import annotations

from tracker.model import LinkType

_TYPES = {
    "tracked": LinkType.TRACKED,
    "opt-out": LinkType.OPT_OUT,
    "opt_out": LinkType.OPT_OUT,
    "mirror": LinkType.MIRROR,
    "never": LinkType.NEVER,
}
_ANY: dict[str, LinkType] | None = None

MARKS: dict[str, dict[str, LinkType] | None] = {
    # ours: contract, section 3
    "data-track": _TYPES,
    "data-tracking-type": _TYPES,
    # SendGrid, "Click Tracking: disable for one link"
    "clicktracking": {"off": LinkType.NEVER},
    # Mailgun, "Tracking Messages: disable-tracking"
    "disable-tracking": {"true": LinkType.NEVER},
    # Postmark, "Link Tracking: data-pm-no-track"
    "data-pm-no-track": _ANY,
    # Amazon SES, "Metrics FAQ: ses:no-track"
    "ses:no-track": _ANY,
    # Mailchimp Transactional, "mc:disable-tracking"
    "mc:disable-tracking": _ANY,
    # SparkPost, "data-msys-clicktrack"
    "data-msys-clicktrack": {"0": LinkType.NEVER},
    # Mautic, "mautic:disable-tracking"
    "mautic:disable-tracking": {"true": LinkType.NEVER},
}
"""Attribute name to the values that speak; None: its presence says ``never``."""

LABELS = ("data-track-label", "data-label")
"""Attributes that name a link, the first one present wins."""


def mark(name: str, value: str) -> LinkType | None:
    """The type that one attribute gives its link, None where it says nothing. ``name`` in lower case."""
    if name not in MARKS:
        return None
    values = MARKS[name]
    return LinkType.NEVER if values is None else values.get(value.strip().lower())
