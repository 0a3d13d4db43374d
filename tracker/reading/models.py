"""What the API says and takes, as models: each row, each body. The document at ``/api/openapi.json`` and the columns of
JSON and CSV are made from them; answers are not, since that costs time: tests hold the two equal. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel

from tracker.model import LinkType, Status, SuppressionKind

Count = Annotated[int, Field(ge=0)]
Time = Annotated[datetime, Field(description="UTC, RFC 3339 with milliseconds.")]
Address = Annotated[str, Field(pattern=r"^\s*\S[^\x00-\x1f\x7f]*@[^@\s\x00-\x1f\x7f]+\s*$", max_length=1000)]


class EventType(StrEnum):
    """What can happen to a message, its recipients and its links."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    ERROR = "error"
    SUPPRESSED = "suppressed"
    COMPLAINT = "complaint"
    RETURNED = "returned"
    OPEN = "open"
    CLICK = "click"
    OPT_OUT_CLICK = "opt_out_click"
    MIRROR_VIEW = "mirror_view"
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"


class Model(BaseModel):
    """Everything that is said here, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, populate_by_name=True)


def columns(model: type[BaseModel]) -> tuple[str, ...]:
    """The names of a model's fields as they are written, in order."""
    return tuple(field.serialization_alias or field.alias or name for name, field in model.model_fields.items())


R = TypeVar("R", bound=BaseModel)


class Rows(Model, Generic[R]):
    """One page of a list."""

    items: list[R]
    next: str | None
    """The cursor of the page after this one, null at the end."""

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """A name that can stand in a reference."""
        return f"PageOf{params[0].__name__}"


def page_of(model: type[BaseModel]) -> type[BaseModel]:
    """The model of a page of a list."""
    return Rows[model]  # type: ignore[valid-type]


class Problem(Model):
    """An error (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    """What to do about it, in a sentence."""


# -- messages --------------------------------------------------------------------------------------------------------


class Counts(Model):
    """The count columns of messages and mailings."""

    recipients: Count
    """Copies: suppressed, sent, bounced in session, errors and pending together."""
    sent: Count
    """Copies that the smarthost accepted."""
    delivered: Count
    """Sent, less those that bounced later."""
    bounced: Count
    """Refused for good, in session or by a notification."""
    errors: Count
    """Given up without a refusal."""
    pending: Count
    suppressed: Count
    """Not sent, since the recipient is on the suppression list."""
    complaints: Count
    opens: Count
    """Opens by people."""
    unique_opens: Count | None
    """Recipients who opened; null where hits are tied to no recipient."""
    machine_opens: Count
    clicks: Count
    """Clicks by people, those on opt-out and mirror links left out."""
    unique_clicks: Count | None
    """Recipients who clicked; null where hits are tied to no recipient."""
    machine_clicks: Count
    opt_outs: Count
    """Confirmed opt-outs that stand."""
    opt_out_clicks: Count
    mirror_views: Count


class _AboutMessage(Model):
    id: UUID
    message_id: str | None
    """The header's Message-ID."""
    mailing: str | None
    """X-Track-Mailing."""
    sender: str | None
    subject: str | None
    tag: str | None
    metadata: dict[str, str]
    accepted_at: Time
    instrumented: bool
    """Whether the mail was tracked."""
    reason: str | None
    """Why it was not, as a code."""


class Message(Counts, _AboutMessage):  # the fields of the last base stand first
    """One accepted SMTP transaction. What hits tell before the acceptance is known is null."""


class Recipient(Model):
    """One recipient of a message."""

    address: str | None
    """Null once it was forgotten or its time is over."""
    status: Status | None
    status_at: Time | None
    reply: str | None
    """The smarthost's last reply."""
    opens: Count
    machine_opens: Count
    clicks: Count
    machine_clicks: Count
    first_open_at: Time | None
    last_open_at: Time | None
    first_click_at: Time | None
    last_click_at: Time | None


class MessageDetail(Message):
    """A message and its recipients."""

    recipients_detail: list[Recipient]


class Link(Model):
    """One occurrence of a link in a message."""

    position: int
    """From 1."""
    url: str | None
    """Of a link that is a tracking link of ours already without its token."""
    label: str | None
    type: LinkType
    reason: str | None
    """Who decided the type, or why the link was left as it is."""
    tracked: bool
    clicks: Count
    unique_clicks: Count | None
    machine_clicks: Count


class _AboutMailing(Model):
    id: str
    """Made of sender and mailing, else of tag and day, else of subject and day."""
    sender: str | None
    mailing: str | None
    """X-Track-Mailing."""
    tag: str | None
    subject: str | None
    name: str | None
    """What to call it: mailing, tag or subject."""
    messages: Count
    first_accepted_at: Time
    last_accepted_at: Time
    instrumented: Count
    """How many of its messages were tracked."""


class Mailing(Counts, _AboutMailing):
    """The messages of one sender that belong together: one mailing, else one tag or one subject on one day."""


class MailingLink(Model):
    """One link of a mailing, summed over its messages."""

    position: int
    url: str | None
    label: str | None
    type: LinkType | None
    reason: str | None
    clicks: Count
    unique_clicks: Count | None
    machine_clicks: Count


class Event(Model):
    """One thing that happened."""

    cursor: str
    """Where to go on after this event."""
    id: UUID
    at: Time
    type: EventType
    message: UUID
    recipient: str | None
    """The address, null where hits are tied to no recipient or it was forgotten."""
    position: int | None
    """Of the link, 0 for an open."""
    url: str | None
    class_: Annotated[Literal["human", "machine"] | None, Field(alias="class")]
    kind: str | None
    reason: str | None
    rules: int | None
    """The version of the rules that judged the hit."""
    address: str | None
    """Where the hit came from, as far as tracker.privacy keeps it."""
    agent: str | None
    signals: dict[str, str] | None
    """What else of the request the rules look at."""
    reply: str | None
    """The smarthost's."""


# -- links -----------------------------------------------------------------------------------------------------------


class Url(Model):
    """A URL seen in links, without its query."""

    url: str
    type: LinkType
    """Of its newest link."""
    saved_type: LinkType | None
    """The type saved for later mail."""
    links: Count
    messages: Count
    clicks: Count
    machine_clicks: Count
    last_seen_at: Time | None


class LinkTypeToSave(Model):
    """A type for a URL or glob in later mail."""

    url: Annotated[str, Field(pattern=r"^(https?://|\*)[^\x00-\x1f\x7f]*$", max_length=2000)]
    """A URL, or a glob such as https://example.com/reset/*."""
    sender: Address | Literal["", "*"] | None = None
    """For one sender alone; null or * for every sender."""
    type: LinkType | None
    """Null: no longer saved."""


class SavedLinkType(Model):
    """What is saved now."""

    url: str
    sender: str | None
    type: LinkType | None


# -- suppressions and people -----------------------------------------------------------------------------------------


class Suppression(Model):
    """An entry of the suppression list."""

    address: str | None
    """Null once it was forgotten; the entry holds on."""
    sender: str | None
    """Null: every sender."""
    kind: SuppressionKind
    """mail: none at all; tracking: plain links and no pixel."""
    reason: str
    since: Time


class SuppressionToAdd(Model):
    """An entry to add; all but the address may be left out."""

    address: Address
    sender: Address | Literal["", "*"] | None = None
    """Null or *: every sender."""
    kind: SuppressionKind | Literal[""] | None = None
    """mail, unless given."""
    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=2000)] | None = None
    since: str | None = None
    """A date, or an RFC 3339 time; now, unless given."""


class SuppressionsToAdd(RootModel[SuppressionToAdd | list[SuppressionToAdd]]):
    """One entry, or a list of them: all are added, or where one is wrong, none."""


class SuppressionsAdded(Model):
    """What came of it."""

    added: Count
    unchanged: Count
    """Were on the list already."""


class SuppressionsRemoved(Model):
    """What came of it."""

    removed: Count


class PersonForgotten(Model):
    """What came of it."""

    forgotten: bool
    """Nothing is left of the person."""
    messages: Count
    """How many it had got."""
    queued: Count
    """Mails in the queue that still name it."""
