"""The models of the reports (contract, section 7), as ``models`` has those of rows. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tracker.reading.models import Count, Model, Time

Rate = Annotated[float, Field(ge=0)]


class Hits(Model):
    """What people and machines opened and clicked."""

    opens: Count
    unique_opens: Count | None
    machine_opens: Count
    clicks: Count
    unique_clicks: Count | None
    machine_clicks: Count


class _Clicks(Model):
    clicks: Count
    unique_clicks: Count | None
    machine_clicks: Count


class _Mail(Model):
    targeted: Count
    suppressed: Count
    sent: Count
    delivered: Count
    bounced: Count
    errors: Count
    complaints: Count
    open_tracked: Count
    """Delivered copies with a pixel."""
    click_tracked: Count
    """Delivered copies with a tracked link."""


class _Choices(Model):
    opt_outs: Count
    opt_out_clicks: Count
    mirror_views: Count


class _Part(_Choices, Hits, _Mail):
    messages: Count
    recipients: Count


class Totals(_Part):
    """The count columns of a report."""

    pending: Count
    """Of the mail accepted in the period."""


class Interval(Totals):
    """An hour or a day."""

    start: Time
    end: Time


class Rates(Model):
    """Of the mail accepted in the period with all its hits so far, as fractions; null where there is nothing to be a
    part of."""

    delivery: Rate | None
    bounce: Rate | None
    error: Rate | None
    open: Rate | None
    unique_open: Rate | None
    click: Rate | None
    unique_click: Rate | None
    click_to_open: Rate | None
    opt_out: Rate | None
    complaint: Rate | None


class UrlClicks(_Clicks):
    """A URL and its clicks."""

    url: str


class PathClicks(_Clicks):
    """A URL without its query, and its clicks."""

    path: str


class LabelClicks(_Clicks):
    """A link's label and its clicks."""

    label: str


class TopLinks(Model):
    """The links with the most clicks."""

    by_url: list[UrlClicks]
    by_path: list[PathClicks]
    by_label: list[LabelClicks]


class DomainCounts(_Part):
    """A domain of recipients."""

    domain: str


class BounceReason(Model):
    """Why mail bounced."""

    class_: Annotated[Literal["hard", "soft"], Field(alias="class")]
    code: str
    """The enhanced status code (RFC 3463)."""
    bounced: Count


class ClientHits(Hits):
    """A kind of device, system or mail client."""

    name: str


class Clients(Model):
    """What people and machines used."""

    device: list[ClientHits]
    system: list[ClientHits]
    mail_client: list[ClientHits]


class TagCounts(_Part):
    """The mail with one tag."""

    tag: str


class Report(Model):
    """A report on all mail, or that of one sender or tag. Totals and series count what happened in the period."""

    kind: Literal["live", "global"]
    from_: Annotated[Time, Field(alias="from")]
    to: Time
    timezone: str
    """In which days and hours are counted."""
    sender: str | None
    tag: str | None
    totals: Totals
    rates: Rates
    series: list[Interval]
    top_links: TopLinks
    recipient_domains: list[DomainCounts]
    bounce_reasons: list[BounceReason]
    clients: Clients
    tags: list[TagCounts]
