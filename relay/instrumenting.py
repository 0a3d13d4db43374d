"""From a mail and its envelope to what will be sent: the profile, the plan of the rewrite, a copy a recipient. Pure.

``preview`` and the relay walk the same way, so what the one shows is what the other does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relay.config import SenderConfig
from relay.reception.senders import REMOVED_HEADERS, Profile, profile_for
from relay.rewriting import message
from relay.rewriting.instrument import MAX_LINKS, Options, Scan, scan
from tracker.errors import BadToken
from tracker.model import Link
from tracker.tokens import Click, Keyring, Mirror, Open, OptOut

MOST_RECIPIENTS = 1_000_000_000
"""Ordinals are taken to stay below this when a tracked URL's length is foretold."""

_OURS = re.compile(r"https?://[^?#]*/([ocum])/([A-Za-z0-9_-]{20,})(?:\.gif)?", re.ASCII | re.IGNORECASE)
_PURPOSES: dict[str, Any] = {"o": Open, "c": Click, "u": OptOut, "m": Mirror}


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with one mail. ``mail`` is what came, less the headers that never leave; ``scan`` is None
    where the mail is not even looked at; ``reason`` says why nothing is tracked, None where something is."""

    mail: bytes
    profile: Profile
    scan: Scan | None
    reason: str | None
    tracking_url: str

    @property
    def instrumented(self) -> bool:
        """Whether any copy differs from what came."""
        return self.scan is not None and self.scan.instrumented

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link of the mail, tracked or not."""
        return self.scan.links if self.scan is not None else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped or not understood."""
        return self.profile.notes + (self.scan.notes if self.scan is not None else ())

    def copy_for(self, recipient: int, id: UUID, keyring: Keyring) -> bytes:
        """The copy of one recipient, by ordinal; the same arguments always give the same bytes."""
        if self.scan is None:
            return self.mail

        def click(link: Link) -> str:
            claim = Click(id, recipient, link.position, link.target, link.type)
            return f"{self.tracking_url}/c/{keyring.seal(claim)}"

        return self.scan.render(click, f"{self.tracking_url}/o/{keyring.seal(Open(id, recipient))}.gif")


def plan(content: bytes, reverse_path: str, senders: Sequence[SenderConfig], public_url: str, keyring: Keyring) -> Plan:
    """Decide what to do with a mail. Never raises for anything that a mail can hold."""
    profile = profile_for(senders, reverse_path, lambda name: message.get(content, name))
    mail = message.remove(content, REMOVED_HEADERS)
    settings = profile.settings
    if settings is None:
        return Plan(mail, profile, None, "no_profile", public_url)
    tracking_url = settings.tracking_url or public_url
    if not reverse_path:
        return Plan(mail, profile, None, "null_reverse_path", tracking_url)

    def measure(target: str) -> int:
        longest = Click(UUID(int=0), MOST_RECIPIENTS, MAX_LINKS, target)
        return len(f"{tracking_url}/c/{keyring.seal(longest)}")

    options = Options(tracking_url, profile.open_tracking, profile.click_tracking, measure)
    found = scan(mail, options, ours(keyring))
    reason = None if found.instrumented else found.reason or "tracking_off"
    return Plan(mail, profile, found, reason, tracking_url)


def ours(keyring: Keyring) -> Callable[[str], bool]:
    """A test whether a URL is a tracking URL that one of our keys sealed, on whatever domain."""

    def is_ours(url: str) -> bool:
        match = _OURS.fullmatch(url)
        if match is None:
            return False
        try:
            keyring.open(_PURPOSES[match[1].lower()], match[2])
        except BadToken:
            return False
        return True

    return is_ours
