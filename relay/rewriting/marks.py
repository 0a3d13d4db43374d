"""What apps write on a link to say how it is to be tracked: ours and the other services', one table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay.rewriting.html import unescape
from tracker.model import LinkType

OURS = "Tracepost"


@dataclass(frozen=True, slots=True)
class Mark:
    """What one attribute may say. ``values``: those that speak, in lower case and with ``-`` as ``_``; None: its
    presence says ``never``."""

    service: str
    values: Mapping[str, LinkType] | None


@dataclass(frozen=True, slots=True)
class Marked:
    """What the attributes of a link say of its type, and which of them. A ``switch`` is another service's way to say
    that clicks are not counted: it does not keep a placeholder from being filled in."""

    type: LinkType
    reason: str
    switch: bool


_TYPES = {
    "tracked": LinkType.TRACKED,
    "opt_out": LinkType.OPT_OUT,
    "mirror": LinkType.MIRROR,
    "never": LinkType.NEVER,
}
_ADOBE = {
    "optout": LinkType.OPT_OUT,
    "direct_optout": LinkType.OPT_OUT,
    "external_optout": LinkType.OPT_OUT,
    "mirrorpage": LinkType.MIRROR,
    "mirror_page": LinkType.MIRROR,
}
_TRUE = {"true": LinkType.NEVER}

MARKS: dict[str, Mark] = {
    # contract, section 3
    "data-track": Mark(OURS, _TYPES),
    # experienceleague.adobe.com/docs/journey-optimizer, "Links and tracking in messages"
    "data-tracking-type": Mark("Adobe", _TYPES | _ADOBE),
    "data-nl-type": Mark("Adobe", _ADOBE),
    # twilio.com/docs/sendgrid/ui/account-and-settings/tracking, "Disable click tracking on individual links"
    "clicktracking": Mark("SendGrid", {"off": LinkType.NEVER}),
    # documentation.mailgun.com/docs/mailgun/user-manual/tracking-messages/tracking-clicks
    "disable-tracking": Mark("Mailgun", _TRUE),
    # postmarkapp.com/developer/user-guide/tracking-links, "Excluding links from being tracked"
    "data-pm-no-track": Mark("Postmark", None),
    # docs.aws.amazon.com/ses/latest/dg/faqs-metrics.html, "Can I disable click tracking?"
    "ses:no-track": Mark("Amazon SES", None),
    # mailchimp.com/developer/transactional/docs/activity-reports, "mc:disable-tracking"
    "mc:disable-tracking": Mark("Mandrill", None),
    # developers.sparkpost.com/api/template-language, "Per-link disabling of click tracking"
    "data-msys-clicktrack": Mark("SparkPost", {"0": LinkType.NEVER}),
    # support.sparkpost.com/docs/user-guide/setting-up-unsubscribe-links
    "data-msys-unsubscribe": Mark("SparkPost", {"1": LinkType.OPT_OUT}),
    # docs.mautic.org, "Emails: disable tracking of a link"
    "mautic:disable-tracking": Mark("Mautic", _TRUE),
}
"""Attribute name (lower case) to what it may say."""

LABELS = ("data-track-label", "data-label", "data-msys-linkname")
"""Attributes that name a link, the first one present wins. The last is SparkPost's, from its template language."""

NO_TRACK = "+notrack"
"""What a scheme ends in to say ``never``: docs.postalserver.io/features/click-and-open-tracking."""


def marked(attributes: Iterable[tuple[str, str]]) -> Marked | None:
    """What the attributes of a link, as names in lower case and values as they stand, say of it: ours before those of
    other services, else the first that speaks; None where none does."""
    first = None
    for name, value in attributes:
        if name not in MARKS:
            continue
        mark = MARKS[name]
        said = unescape(value, attribute=True).strip().lower().replace("-", "_")
        type = LinkType.NEVER if mark.values is None else mark.values.get(said)
        if type is None:
            continue
        own = mark.values is not None and mark.values.keys() >= _TYPES.keys()
        found = Marked(type, f"attribute {name}", not own and type is LinkType.NEVER)
        if mark.service == OURS:
            return found
        first = first or found
    return first


def label(attributes: Iterable[tuple[str, str]]) -> str:
    """The name that attributes give their link, empty where they give none."""
    given = dict(attributes)
    return next((given[name] for name in LABELS if given.get(name)), "")
