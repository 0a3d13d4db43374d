"""Which sender's settings hold for a message, and what the message itself asks for. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

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

REMOVED_HEADERS = (*OWN_HEADERS, "Bcc")
"""Headers that never leave."""

_LONGEST_HEADER = 8192
"""Octets of a header value that are looked at: decoding a longer one costs seconds (a 280 KB encoded word: 8.6 s)."""

HeaderGetter = Callable[[str], str | None]
"""The unfolded value of the first header of a name, None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All that the configuration and the headers decide about one message, as plain values that can be kept.

    ``sender`` is the address that it was chosen by; ``listed``: it has an entry in ``senders``, and ``route`` names
    that entry. ``tracking_url`` is the base of tracked URLs, ``key`` the id of the key that seals them. ``category`` is
    what the message itself asks for. ``shared``: one copy goes to all recipients. ``signed_mail`` says what becomes of
    mail that its app signed (DKIM): skip, resign or break; ``dkim``: what leaves is signed by us. ``mirror_page``: the
    HTML is kept even where no link leads to it. ``reason`` says why the mail is not even scanned; ``notes`` names
    header values that could not be understood.
    """

    sender: str
    listed: bool
    route: str | None
    tracking_url: str
    key: str
    open_tracking: bool = False
    click_tracking: bool = False
    subject: str = ""
    tag: str | None = None
    mailing: str | None = None
    category: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False
    signed_mail: str = "skip"
    dkim: bool = False
    mirror_page: bool = False
    notes: tuple[str, ...] = ()
    reason: str | None = None


_RECORD = TypeAdapter(Profile)


def profile_for(
    senders: Sequence[SenderConfig],
    reverse_path: str,
    user: str | None,
    header: HeaderGetter,
    public_url: str,
    key: str,
) -> Profile:
    """The profile of a message: settings by the address in From, else by the reverse-path, or by the AUTH ``user``;
    then the message's own ``X-Track-`` headers, which widen or narrow what the settings say but never give a stranger a
    profile. ``public_url`` holds where the sender has no tracking URL of its own; ``key`` is the id of today's key."""
    sender = _encodable(first_address(header("From") or "") or reverse_path).lower()
    settings = next((each for each in senders if each.matches(sender, user)), None)
    notes: list[str] = []
    opens = _switch("X-Track-Opens", header, settings is not None and settings.open_tracking, notes)
    clicks = _switch("X-Track-Clicks", header, settings is not None and settings.click_tracking, notes)
    return Profile(
        sender=sender,
        listed=settings is not None,
        route=settings.route if settings is not None else None,
        tracking_url=(settings.tracking_url if settings is not None else None) or public_url,
        key=key,
        open_tracking=opens and settings is not None,
        click_tracking=clicks and settings is not None,
        subject=readable(header("Subject") or ""),
        tag=readable(header("X-Track-Tag") or "") or None,
        mailing=readable(header("X-Track-Mailing") or "") or None,
        category=_category(header("X-Track-Category"), notes),
        metadata=_metadata(header("X-Track-Metadata"), notes),
        signed_mail=settings.signed_mail if settings is not None else "skip",
        dkim=settings is not None and settings.dkim is not None,
        mirror_page=settings is not None and settings.mirror_page,
        notes=tuple(notes),
        reason="no_profile" if settings is None else None if reverse_path else "null_reverse_path",
    )


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
    pairs = getaddresses([value[:_LONGEST_HEADER]])
    return next((address for _, address in pairs if "@" in address), "")


def readable(value: str) -> str:
    """A header value as a person reads it: encoded words (RFC 2047) decoded, white space folded, one line."""
    value = value[:_LONGEST_HEADER]
    if "=?" in value:
        with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):
            value = str(make_header(decode_header(value)))
    return " ".join(_encodable(value).split())


def _encodable(value: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which a command line or JSON may bring, become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _switch(name: str, header: HeaderGetter, default: bool, notes: list[str]) -> bool:
    value = (header(name) or "").strip().lower()
    if value in ("yes", "true", "on", "1"):
        return True
    if value in ("no", "false", "off", "0"):
        return False
    if value:
        notes.append(f"{name} is neither yes nor no")
    return default


def _category(value: str | None, notes: list[str]) -> str | None:
    found = (value or "").strip().lower()
    if found in ("marketing", "transactional"):
        return found
    if found:
        notes.append("X-Track-Category is neither marketing nor transactional")
    return None


def _metadata(value: str | None, notes: list[str]) -> dict[str, str]:
    if not value:
        return {}
    try:
        found = json.loads(readable(value))
        if isinstance(found, dict):
            texts = {name: item if isinstance(item, str) else json.dumps(item) for name, item in found.items()}
            return {_encodable(name): _encodable(item) for name, item in texts.items()}
    except (ValueError, RecursionError):
        pass
    notes.append("X-Track-Metadata is not a JSON object")
    return {}
