"""Which sender's settings hold for a message, and what the message itself asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import getaddresses
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from relay.reception.headers import LONGEST, Headers, encodable, json_object, readable, switch, texts
from relay.reception.vendors import READ_HEADERS, Asked, asked_by, removed_headers

if TYPE_CHECKING:
    from relay.config import SenderConfig

OWN_HEADERS = (
    "X-Track-Opens",
    "X-Track-Clicks",
    "X-Track-Tag",
    "X-Track-Mailing",
    "X-Track-Category",
    "X-Track-Metadata",
)
"""Headers by which one message speaks to us; none of them leaves (contract, section 3)."""

SPEAKING_HEADERS = ("From", "Subject", *OWN_HEADERS, *READ_HEADERS)
"""Headers by which a profile is chosen and made; a name that ends in ``*`` stands for all that begin so."""

_ADDRESS = r"([\w+-]+(?:\.[\w+-]+)*@[\w-]+(?:\.[\w-]+)*)"
_USUAL = re.compile(rf"\w+(?: \w+)* <{_ADDRESS}>|{_ADDRESS}", re.ASCII)
"""A header with one address, in words without anything that has a meaning of its own (RFC 5322 section 3.4)."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All that the configuration and the headers decide about one message, as plain values that can be kept.

    ``sender`` is the address that it was chosen by; ``listed``: it has an entry in ``senders``, and ``route`` names
    that entry. ``tracking_url`` is the base of tracked URLs, ``key`` the id of the key that seals them. ``category`` is
    marketing or transactional, None: by what the mail holds. ``shared``: one copy goes to all recipients.
    ``attributed`` is False where no hit may be tied to a recipient. ``signed_mail`` says what becomes of mail that its
    app signed (DKIM): skip, resign or break; ``dkim``: what leaves is signed by us. ``mirror_page``: the HTML is kept
    even where no link leads to it. ``reason`` says why the mail is not even scanned; ``notes`` names header values that
    could not be understood.

    ``saved`` are the types that the store knows and ``link_rules`` those of the configuration, as (URL or glob, type)
    pairs; ``url_params`` stand in the order of the configuration. ``honored``: headers of other services are read, and
    taken out but for those of the service that ``keeps`` names, to whom the mail goes. ``longest_address`` is the
    length of the recipients' longest address, percent-encoded; 0: unknown. ``bounces`` is the form of each copy's own
    reverse-path, None where the mail keeps the one that it came with.
    """

    sender: str
    listed: bool
    route: str | None
    tracking_url: str
    key: str
    open_tracking: bool = False
    click_tracking: bool = False
    text_tracking: bool = False
    subject: str = ""
    tag: str | None = None
    mailing: str | None = None
    category: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    saved: Pairs = ()
    link_rules: Pairs = ()
    visible_urls: str = "track"
    url_params: Pairs = ()
    list_unsubscribe: bool = False
    honored: bool = False
    keeps: str | None = None
    longest_address: int = 0
    shared: bool = False
    attributed: bool = True
    signed_mail: str = "skip"
    dkim: bool = False
    mirror_page: bool = False
    bounces: str | None = None
    notes: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def removed_headers(self) -> tuple[str, ...]:
        """Headers that do not leave."""
        theirs = removed_headers(self.keeps) if self.honored else ()
        return (*OWN_HEADERS, "Bcc", *theirs)


_RECORD = TypeAdapter(Profile)


def profile_for(
    senders: Sequence[SenderConfig],
    reverse_path: str,
    user: str | None,
    headers: Headers,
    public_url: str,
    key: str,
    recipients: Iterable[str] = (),
) -> Profile:
    """The profile of a message: settings by the address in From, else by the reverse-path, or by the AUTH ``user``;
    then the message's own headers (``SPEAKING_HEADERS``), ours before those of other services, which widen or narrow
    what the settings say but never give a stranger a profile. ``public_url`` holds where the sender has no tracking URL
    of its own; ``key`` is the id of today's key."""
    sender = encodable(first_address(headers.first("From") or "") or reverse_path).lower()
    settings = next((each for each in senders if each.matches(sender, user)), None)
    theirs = asked_by(headers) if settings is not None and settings.honor_vendor_headers else Asked()
    notes: list[str] = []
    category = _category(headers.first("X-Track-Category"), notes)
    metadata = theirs.metadata | _metadata(headers.first("X-Track-Metadata"), notes)
    opens, clicks = _switch("X-Track-Opens", headers, notes), _switch("X-Track-Clicks", headers, notes)
    known = Profile(
        sender=sender,
        listed=settings is not None,
        route=settings.route if settings is not None else None,
        tracking_url=(settings.tracking_url if settings is not None else None) or public_url,
        key=key,
        subject=readable(headers.first("Subject") or ""),
        tag=readable(headers.first("X-Track-Tag") or "") or theirs.tag,
        mailing=readable(headers.first("X-Track-Mailing") or "") or theirs.mailing,
        category=category,
        metadata=metadata,
        longest_address=max((len(quote(each, safe="", errors="replace")) for each in recipients), default=0),
        notes=(*notes, *theirs.notes),
        reason="no_profile" if settings is None else None if reverse_path else "null_reverse_path",
    )
    return known if settings is None else _with_settings(known, settings, theirs, opens, clicks)


def _with_settings(
    known: Profile, settings: SenderConfig, theirs: Asked, opens: bool | None, clicks: bool | None
) -> Profile:
    """A listed sender's profile; ``opens`` and ``clicks`` are what our own headers say."""
    text = settings.text_tracking
    if clicks is False:
        text = False
    elif clicks is None:
        text = (text and theirs.clicks is not False) if theirs.text is None else theirs.text
    return replace(
        known,
        open_tracking=_first(opens, theirs.opens, settings.open_tracking),
        click_tracking=_first(clicks, theirs.clicks, settings.click_tracking),
        text_tracking=text,
        category=known.category or (settings.category if settings.category != "auto" else None),
        link_rules=tuple((each.match, each.type.value) for each in settings.link_rules),
        visible_urls=settings.visible_urls,
        url_params=tuple(settings.url_params.items()),
        list_unsubscribe=settings.list_unsubscribe,
        signed_mail=settings.signed_mail,
        dkim=settings.dkim is not None,
        mirror_page=settings.mirror_page,
        bounces=settings.bounces.address if settings.bounces is not None else None,
        honored=settings.honor_vendor_headers,
        attributed=settings.attribution == "recipient",
    )


def _first(*values: bool | None) -> bool:
    return next((value for value in values if value is not None), False)


def freeze(profile: Profile) -> str:
    """A profile as one line of JSON."""
    return _RECORD.dump_json(profile).decode("utf-8")


def thaw(text: str) -> Profile:
    """The profile that was frozen, by this version or another: what it does not know is left out, what is missing has
    its default. Raises ValueError for anything else."""
    try:
        return _RECORD.validate_json(text)
    except ValidationError as error:
        # its own text would show what the mail says
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"not a frozen profile: {problem['type']} at {problem['loc'][:1]}") from None


def first_address(value: str) -> str:
    """The first address of an address header, empty where there is none that can be read."""
    usual = _USUAL.fullmatch(value[:LONGEST])
    if usual is not None:
        return usual[1] or usual[2]
    pairs = getaddresses([value[:LONGEST]])
    return next((address for _, address in pairs if "@" in address), "")


def _switch(name: str, headers: Headers, notes: list[str]) -> bool | None:
    value = (headers.first(name) or "").strip()
    found = switch(value)
    if value and found is None:
        notes.append(f"{name} is neither yes nor no")
    return found


def _category(value: str | None, notes: list[str]) -> str | None:
    found = (value or "").strip().lower()
    if found in ("marketing", "transactional"):
        return found
    if found:
        notes.append("X-Track-Category is neither marketing nor transactional")
    return None


def _metadata(value: str | None, notes: list[str]) -> dict[str, str]:
    found = json_object(value) if value else {}
    if found is None:
        notes.append("X-Track-Metadata is not a JSON object")
    return texts(found or {})
