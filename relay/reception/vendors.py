"""The headers by which apps speak to other services: what each asks for, one reader a service. Pure.

An explicit switch (opens, or clicks) beats a generic one (tracking at all), whoever's it is; else the first service of
the table that speaks is heard. Header names, values and hosts are from the services' own pages, named below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from relay.reception.headers import Headers, json_object, readable, switch, texts


@dataclass(slots=True)
class Asked:
    """What the headers of one service ask for; None: nothing. ``tracking`` is a generic switch, ``clicks`` is about
    HTML and ``text`` about text parts. ``notes`` names what could not be understood."""

    tracking: bool | None = None
    opens: bool | None = None
    clicks: bool | None = None
    text: bool | None = None
    tag: str | None = None
    mailing: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def either(self, value: str | None, name: str) -> bool | None:
        """A switch of the header of that name."""
        found = None if value is None else switch(value)
        if value is not None and found is None:
            self.notes.append(f"{name} is neither yes nor no")
        return found

    def object(self, value: str, name: str) -> dict[str, Any]:
        """The JSON object of the header of that name, empty where it is none."""
        found = json_object(value)
        if found is None:
            self.notes.append(f"{name} is not a JSON object")
        return found or {}


def _mailgun(headers: Headers) -> Asked:
    asked = Asked(tag=readable(headers.first("X-Mailgun-Tag") or "") or None)
    asked.tracking = asked.either(headers.first("X-Mailgun-Track"), "X-Mailgun-Track")
    asked.opens = asked.either(headers.first("X-Mailgun-Track-Opens"), "X-Mailgun-Track-Opens")
    clicks = headers.first("X-Mailgun-Track-Clicks")
    if clicks is not None and clicks.strip().lower() == "htmlonly":
        asked.clicks, asked.text = True, False
    else:
        asked.clicks = asked.text = asked.either(clicks, "X-Mailgun-Track-Clicks")
    for value in headers.all("X-Mailgun-Variables"):
        asked.metadata |= texts(asked.object(value, "X-Mailgun-Variables"))
    return asked


_TRACK_LINKS = {
    "none": (False, False),
    "htmlandtext": (True, True),
    "htmlonly": (True, False),
    "textonly": (False, True),
}


def _postmark(headers: Headers) -> Asked:
    asked = Asked(tag=readable(headers.first("X-PM-Tag") or "") or None)
    asked.opens = asked.either(headers.first("X-PM-TrackOpens"), "X-PM-TrackOpens")
    links = headers.first("X-PM-TrackLinks")
    if links is not None and links.strip().lower() in _TRACK_LINKS:
        asked.clicks, asked.text = _TRACK_LINKS[links.strip().lower()]
    elif links is not None:
        asked.notes.append("X-PM-TrackLinks is none of None, HtmlAndText, HtmlOnly and TextOnly")
    asked.metadata = {name: readable(value) for name, value in headers.behind("X-PM-Metadata-").items()}
    return asked


def _sendgrid(headers: Headers) -> Asked:
    asked = Asked()
    value = headers.first("X-SMTPAPI")
    if value is None:
        return asked
    found = asked.object(value, "X-SMTPAPI")
    asked.tag = _first_text(found.get("category"))
    asked.metadata = texts(_object(found.get("unique_args")))
    filters = _object(found.get("filters"))
    clicks = _object(_object(filters.get("clicktrack")).get("settings"))
    asked.clicks, asked.text = switch(clicks.get("enable")), switch(clicks.get("enable_text"))
    if asked.clicks is False:
        asked.text = False
    asked.opens = switch(_object(_object(filters.get("opentrack")).get("settings")).get("enable"))
    return asked


_CLICKS = {
    "clicks": (True, True),
    "clicks_all": (True, True),
    "clicks_htmlonly": (True, False),
    "clicks_textonly": (False, True),
}


def _mandrill(headers: Headers) -> Asked:
    asked = Asked(tag=_first_text((headers.first("X-MC-Tags") or "").split(",")))
    track = headers.first("X-MC-Track")
    if track is not None:
        said = [each.strip().lower() for each in track.split(",")]
        asked.opens = "opens" in said
        asked.clicks, asked.text = next((_CLICKS[each] for each in said if each in _CLICKS), (False, False))
    for value in headers.all("X-MC-Metadata"):
        asked.metadata |= texts(asked.object(value, "X-MC-Metadata"))
    return asked


def _sparkpost(headers: Headers) -> Asked:
    asked = Asked()
    value = headers.first("X-MSYS-API")
    if value is None:
        return asked
    found = asked.object(value, "X-MSYS-API")
    options = _object(found.get("options"))
    asked.opens, asked.clicks = switch(options.get("open_tracking")), switch(options.get("click_tracking"))
    asked.tag, asked.mailing = _first_text(found.get("tags")), _first_text(found.get("campaign_id"))
    asked.metadata = texts(_object(found.get("metadata")))
    return asked


_PAIR = re.compile(r"\s*([^=,\s]+)\s*=\s*([^,]*)")


def _ses(headers: Headers) -> Asked:
    pairs = _PAIR.findall(readable(headers.first("X-SES-MESSAGE-TAGS") or ""))
    return Asked(metadata={name: value.strip() for name, value in pairs})


def _others(headers: Headers) -> Asked:
    """Headers that are heard but not ours to take out: they pass as they are."""
    tag = headers.first("X-Postal-Tag") or headers.first("X-Mailin-Tag")
    asked = Asked(tag=readable(tag or "") or None, mailing=readable(headers.first("X-Mailjet-Campaign") or "") or None)
    asked.opens = switch(headers.first("X-Mailjet-TrackOpen"))
    asked.clicks = switch(headers.first("X-Mailjet-TrackClick"))
    asked.tracking = switch(headers.first("X-EE-Tracking-Enabled"))
    refused = headers.first("X-No-Track")
    if (refused is not None and switch(refused) is not False) or readable(headers.first("X-AMP") or "") == "skip":
        asked.tracking = False
    return asked


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first_text(value: Any) -> str | None:
    """The first text of a list, or the text itself."""
    items = value if isinstance(value, list) else [value]
    return next((found for each in items if isinstance(each, str) and (found := readable(each))), None)


@dataclass(frozen=True, slots=True)
class Vendor:
    """A service. ``headers`` are taken out of a mail unless it goes to one of the service's ``hosts`` (globs);
    ``heard`` are read only. A name that ends in ``*`` stands for all that begin so. ``off`` says how its own tracking
    is turned off for one message, None where it has none."""

    name: str
    hosts: tuple[str, ...]
    headers: tuple[str, ...]
    read: Callable[[Headers], Asked]
    heard: tuple[str, ...] = ()
    off: str | None = None


VENDORS: tuple[Vendor, ...] = (
    # documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/pass-sending-options
    Vendor(
        "Mailgun",
        ("*.mailgun.org",),
        ("X-Mailgun-Track", "X-Mailgun-Track-Opens", "X-Mailgun-Track-Clicks", "X-Mailgun-Tag", "X-Mailgun-Variables"),
        _mailgun,
        off="X-Mailgun-Track: no",
    ),
    # postmarkapp.com/developer/user-guide/send-email-with-smtp, "SMTP headers"
    Vendor(
        "Postmark",
        ("*.postmarkapp.com",),
        ("X-PM-TrackOpens", "X-PM-TrackLinks", "X-PM-Tag", "X-PM-Metadata-*"),
        _postmark,
        off="X-PM-TrackOpens: false and X-PM-TrackLinks: None",
    ),
    # twilio.com/docs/sendgrid/for-developers/sending-email/building-an-x-smtpapi-header
    Vendor(
        "SendGrid",
        ("*.sendgrid.net",),
        ("X-SMTPAPI",),
        _sendgrid,
        off='X-SMTPAPI: {"filters": {"clicktrack": {"settings": {"enable": 0}},'
        ' "opentrack": {"settings": {"enable": 0}}}}',
    ),
    # mailchimp.com/developer/transactional/docs/smtp-integration, "X-MC-Track"
    Vendor(
        "Mandrill",
        ("*.mandrillapp.com",),
        ("X-MC-Track", "X-MC-Tags", "X-MC-Metadata"),
        _mandrill,
        off="X-MC-Track: none",
    ),
    # developers.sparkpost.com/api/smtp, "X-MSYS-API"
    Vendor(
        "SparkPost",
        ("*.sparkpostmail.com", "*.sparkpost.com"),
        ("X-MSYS-API",),
        _sparkpost,
        off='X-MSYS-API: {"options": {"open_tracking": false, "click_tracking": false}}',
    ),
    # docs.aws.amazon.com/ses/latest/dg/event-publishing-send-email.html
    Vendor(
        "Amazon SES",
        ("email-smtp.*.amazonaws.com", "email-smtp-fips.*.amazonaws.com"),
        ("X-SES-MESSAGE-TAGS",),
        _ses,
        off="X-SES-CONFIGURATION-SET: (a set that publishes no opens and clicks)",
    ),
    # docs.postalserver.io; dev.mailjet.com/docs/smtp_relay/custom_headers; developers.brevo.com, "Custom headers"
    Vendor(
        "Mailjet",
        ("*.mailjet.com",),
        (),
        _others,
        ("X-Mailjet-TrackOpen", "X-Mailjet-TrackClick", "X-Mailjet-Campaign", "X-Postal-Tag", "X-Mailin-Tag",
         "X-EE-Tracking-Enabled", "X-No-Track", "X-AMP"),
        "X-Mailjet-TrackOpen: 0 and X-Mailjet-TrackClick: 0",
    ),
)  # fmt: skip
"""Every service whose headers are understood."""

READ_HEADERS = tuple(name for vendor in VENDORS for name in (*vendor.headers, *vendor.heard))
"""Headers of other services that are read."""
_BEGINNINGS = tuple(name.lower().removesuffix("*") for name in READ_HEADERS)


def asked_by(headers: Headers) -> Asked:
    """What all the services' headers together ask for."""
    if not headers.any_begins(_BEGINNINGS):
        return Asked()
    found = [vendor.read(headers) for vendor in VENDORS]
    generic = _first(each.tracking for each in found)
    clicks = _first(each.clicks for each in found)
    opens = _first(each.opens for each in found)
    return Asked(
        generic,
        generic if opens is None else opens,
        generic if clicks is None else clicks,
        _first(each.text for each in found),
        _first(each.tag for each in found),
        _first(each.mailing for each in found),
        {name: value for each in reversed(found) for name, value in each.metadata.items()},
        [note for each in found for note in each.notes],
    )


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def vendor_of(host: str) -> Vendor | None:
    """The service whose own host this is."""
    name = host.lower().rstrip(".")
    return next((each for each in VENDORS if any(fnmatchcase(name, glob) for glob in each.hosts)), None)


def removed_headers(keeps: str | None) -> Sequence[str]:
    """The services' headers that are taken out of a mail; those of the service named ``keeps`` are left to it."""
    return tuple(name for vendor in VENDORS if vendor.name != keeps for name in vendor.headers)
