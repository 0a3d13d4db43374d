"""From a mail and its profile to what will be sent: the plan of the rewrite, a copy a recipient. Pure.

``preview`` and the relay walk the same way, so what the one shows is what the other does. A profile that was kept makes
the same mail again: neither the configuration nor a newer key has a say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from relay.reception.senders import REMOVED_HEADERS, Profile
from relay.rewriting import message
from relay.rewriting.instrument import MAX_LINKS, Options, Scan, scan
from relay.rewriting.signature import FIELDS
from tracker.errors import BadToken
from tracker.mirror import Document
from tracker.model import Link
from tracker.tokens import Click, Keyring, Mirror, Open, OptOut

MOST_RECIPIENTS = 1_000_000_000
"""Ordinals are taken to stay below this when a tracked URL's length is foretold."""

_OURS = re.compile(r"https?://[^?#]*/([ocum])/([A-Za-z0-9_-]{20,})(?:\.gif)?", re.ASCII | re.IGNORECASE)
_PURPOSES: dict[str, Any] = {"o": Open, "c": Click, "u": OptOut, "m": Mirror}


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with one mail. ``mail`` is what came, less the headers that do not leave; ``scan`` is None
    where the mail is not even looked at; ``reason`` says why nothing is tracked, None where something is. ``signs``:
    every copy gets a signature of ours (DKIM)."""

    mail: bytes
    profile: Profile
    scan: Scan | None
    reason: str | None
    signs: bool = False

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

    @property
    def document(self) -> Document | None:
        """The HTML for the mirror page, None where none is kept."""
        found = self.scan.document if self.scan is not None else None
        return None if found is None else replace(found, key=self.profile.key)

    def copy_for(self, recipient: int | None, id: UUID, keyring: Keyring) -> bytes:
        """The copy of one recipient, by ordinal, or with None the copy that all of them share, whose hits hold none;
        the same arguments always give the same bytes, also once the keyring has a newer key."""
        if self.scan is None:
            return self.mail
        url, key = self.profile.tracking_url, self.profile.key

        def click(link: Link) -> str:
            claim = Click(id, recipient, link.position, link.target, link.type)
            return f"{url}/c/{keyring.seal(claim, key)}"

        return self.scan.render(click, f"{url}/o/{keyring.seal(Open(id, recipient), key)}.gif")


def plan(content: bytes, profile: Profile, keyring: Keyring) -> Plan:
    """Decide what to do with a mail. Never raises for anything that a mail can hold."""
    mail = message.remove(content, REMOVED_HEADERS)
    signs = profile.dkim and (profile.signed_mail != "skip" or message.get(mail, FIELDS[0]) is None)
    if profile.signed_mail == "resign":
        mail = message.remove(mail, FIELDS)
    if profile.reason is not None:
        return Plan(mail, profile, None, profile.reason, signs)

    def measure(target: str) -> int:
        longest = Click(UUID(int=0), MOST_RECIPIENTS, MAX_LINKS, target)
        return len(f"{profile.tracking_url}/c/{keyring.seal(longest, profile.key)}")

    options = Options(
        profile.tracking_url,
        profile.open_tracking,
        profile.click_tracking,
        measure,
        shared=profile.shared,
        signed=profile.signed_mail != "skip",
        keep=profile.mirror_page,
    )
    found = scan(mail, options, ours(keyring))
    return Plan(mail, profile, found, None if found.instrumented else found.reason or "tracking_off", signs)


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
