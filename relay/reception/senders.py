"""Which sender's settings hold for a message, and what the message itself asks for. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import getaddresses
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class Profile:
    """What holds for one message. ``sender`` is the address that it was chosen by; ``settings`` is None for a sender
    that has no entry in the configuration, whose mail passes through untouched. ``notes`` names header values that
    could not be understood."""

    sender: str
    settings: SenderConfig | None
    open_tracking: bool = False
    click_tracking: bool = False
    subject: str = ""
    tag: str | None = None
    mailing: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def profile_for(senders: Sequence[SenderConfig], reverse_path: str, header: HeaderGetter) -> Profile:
    """The profile of a message: settings by the address in From, else by the reverse-path, then the message's own
    ``X-Track-`` headers, which widen or narrow what the settings say but never give a stranger a profile."""
    sender = (first_address(header("From") or "") or reverse_path).lower()
    settings = next((each for each in senders if _matches(each, sender)), None)
    notes: list[str] = []
    metadata = _metadata(header("X-Track-Metadata"), notes)
    opens = _switch("X-Track-Opens", header, settings is not None and settings.open_tracking, notes)
    clicks = _switch("X-Track-Clicks", header, settings is not None and settings.click_tracking, notes)
    return Profile(
        sender=sender,
        settings=settings,
        open_tracking=opens and settings is not None,
        click_tracking=clicks and settings is not None,
        subject=readable(header("Subject") or ""),
        tag=readable(header("X-Track-Tag") or "") or None,
        mailing=readable(header("X-Track-Mailing") or "") or None,
        metadata=metadata,
        notes=tuple(notes),
    )


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
    return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())


def _matches(settings: SenderConfig, sender: str) -> bool:
    return isinstance(settings.match, str) and fnmatchcase(sender, settings.match.lower())


def _switch(name: str, header: HeaderGetter, default: bool, notes: list[str]) -> bool:
    value = (header(name) or "").strip().lower()
    if value in ("yes", "true", "on", "1"):
        return True
    if value in ("no", "false", "off", "0"):
        return False
    if value:
        notes.append(f"{name} is neither yes nor no")
    return default


def _metadata(value: str | None, notes: list[str]) -> dict[str, str]:
    if not value:
        return {}
    try:
        found = json.loads(readable(value))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        notes.append("X-Track-Metadata is not a JSON object")
        return {}
    return {str(name): item if isinstance(item, str) else json.dumps(item) for name, item in found.items()}
