"""From a mail and its profile to what will be sent: the plan of the rewrite, a copy a recipient. Pure.

``preview`` and the relay walk the same way, so what the one shows is what the other does. A profile that was kept makes
the same mail again: neither the configuration nor a newer key has a say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from relay.reception.senders import Profile
from relay.rewriting import message, parameters, placeholders
from relay.rewriting.decisions import LONGEST_ADDRESS, Way
from relay.rewriting.instrument import MAX_LINKS, Options, Scan, scan
from relay.rewriting.lines import LIMIT
from relay.rewriting.rules import Types
from relay.rewriting.signature import FIELDS
from tracker.errors import BadToken
from tracker.mirror import Document
from tracker.model import Link, LinkType
from tracker.tokens import Click, Keyring, Mirror, Open, OptOut

MOST_RECIPIENTS = 1_000_000_000
"""Ordinals are taken to stay below this when a tracked URL's length is foretold."""

LIST_UNSUBSCRIBE = "List-Unsubscribe"

_OURS = re.compile(r"https?://[^?#]*/([ocum])/([A-Za-z0-9_-]{20,})(?:\.gif)?", re.ASCII | re.IGNORECASE)
_PURPOSES: dict[str, Any] = {"o": Open, "c": Click, "u": OptOut, "m": Mirror}


@dataclass(frozen=True, slots=True)
class Reader:
    """The one for whom a copy is made: ordinal in the message, address exactly as given."""

    ordinal: int
    address: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with one mail. ``mail`` is what came, less the headers that do not leave; ``scan`` is None
    where the mail is not even looked at; ``reason`` says why nothing is tracked, None where something is;
    ``unsubscribe``: each copy gets List-Unsubscribe headers (RFC 2369, RFC 8058) of its own; ``category`` is marketing
    or transactional; ``signs``: every copy gets a signature of ours (DKIM)."""

    mail: bytes
    profile: Profile
    scan: Scan | None
    reason: str | None
    category: str
    unsubscribe: bool = False
    signs: bool = False

    @property
    def instrumented(self) -> bool:
        """Whether links or a pixel make a copy differ from what came."""
        return self.scan is not None and self.scan.instrumented

    @property
    def differs(self) -> bool:
        """Whether any copy differs from what came."""
        return self.unsubscribe or self.instrumented

    @property
    def personal(self) -> bool:
        """Whether something in the mail is one recipient's own, beside who is seen to open and click: what their no or
        their mirror page hangs on, or what names them."""
        own = (LinkType.OPT_OUT, LinkType.MIRROR)
        marked = any(link.tracked and link.type in own for link in self.links)
        return self.unsubscribe or marked or (self.scan is not None and any(slot.personal for slot in self.scan.slots))

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

    def copy_for(self, reader: Reader | None, id: UUID, keyring: Keyring, plain: bool = False) -> bytes:
        """The copy of one recipient, or with None the copy that all of them share, whose hits hold none, as where the
        profile is not ``attributed``; the same arguments always give the same bytes, also once the keyring has a newer
        key. ``plain``: links lead straight to their targets."""
        if self.scan is None:
            return self.mail
        url, key, profile = self.profile.tracking_url, self.profile.key, self.profile
        ordinal = reader.ordinal if reader is not None and profile.attributed else None
        address = _encodable(reader.address) if reader is not None else ""

        sealed = keyring.clicks(id, ordinal, key)

        def click(link: Link, target: str) -> str:
            return target if plain else f"{url}/c/{sealed(link.position, target, link.type)}"

        def value(name: str) -> str:
            if name == placeholders.OPT_OUT:
                return f"{url}/u/{keyring.seal(OptOut(id, ordinal, profile.sender, address), key)}"
            if name == placeholders.MIRROR:
                return f"{url}/m/{keyring.seal(Mirror(id, ordinal), key)}"
            return str(id) if name == "message.id" else address

        copy = self.scan.render(click, f"{url}/o/{keyring.seal(Open(id, ordinal), key)}.gif", value)
        if not self.unsubscribe or reader is None:
            return copy
        return message.prepend(copy, _unsubscribe_headers(value(placeholders.OPT_OUT)))


def plan(content: bytes, profile: Profile, keyring: Keyring) -> Plan:
    """Decide what to do with a mail. Never raises for anything that a mail can hold."""
    mail = message.remove(content, profile.removed_headers)
    signs = profile.dkim and (profile.signed_mail != "skip" or message.get(mail, FIELDS[0]) is None)
    if profile.signed_mail == "resign":
        mail = message.remove(mail, FIELDS)
    has_header = message.get(mail, LIST_UNSUBSCRIBE) is not None
    if profile.reason is not None:
        return Plan(mail, profile, None, profile.reason, _category(profile, has_header), signs=signs)
    options = _options(profile, keyring)
    found = scan(mail, options, ours(keyring))
    fits = options.own_length(Way.OPT_OUT) + 3 <= LIMIT
    given = profile.list_unsubscribe and not has_header and not found.closed and not profile.shared and fits
    opt_out = any(link.type is LinkType.OPT_OUT for link in found.links)
    reason = None if found.instrumented else found.reason or "tracking_off"
    return Plan(mail, profile, found, reason, _category(profile, has_header or given or opt_out), given, signs)


def _category(profile: Profile, offers_opt_out: bool) -> str:
    """What the mail is taken to be; a stranger's is nobody's marketing."""
    if profile.category in ("marketing", "transactional"):
        return profile.category
    return "marketing" if offers_opt_out and profile.listed else "transactional"


def _options(profile: Profile, keyring: Keyring) -> Options:
    """What a profile wants of the scan."""

    def measure(target: str) -> int:
        longest = Click(UUID(int=0), MOST_RECIPIENTS, MAX_LINKS, target)
        return len(f"{profile.tracking_url}/c/{keyring.seal(longest, profile.key)}")

    values = shared_values(profile)
    return Options(
        profile.tracking_url,
        profile.open_tracking,
        profile.click_tracking,
        measure,
        shared=profile.shared,
        signed=profile.signed_mail != "skip",
        keep=profile.mirror_page,
        text_tracking=profile.text_tracking,
        skip_visible=profile.visible_urls == "skip",
        types=Types(profile.saved, profile.link_rules),
        parameters=parameters.pairs_of(profile.url_params, values),
        values=values,
        sender=profile.sender,
        longest_address=profile.longest_address or LONGEST_ADDRESS,
    )


def shared_values(profile: Profile) -> Mapping[str, str]:
    """What the placeholders stand for that are the same for all recipients."""
    metadata = {f"metadata.{name}": value for name, value in profile.metadata.items()}
    return {"message.tag": profile.tag or "", **metadata}


def _unsubscribe_headers(url: str) -> list[bytes]:
    """One address to unsubscribe at, by one click (RFC 8058 section 3.1)."""
    folded = f"{LIST_UNSUBSCRIBE}:\r\n <{url}>"
    return [folded.encode("ascii"), b"List-Unsubscribe-Post: List-Unsubscribe=One-Click"]


def _encodable(text: str) -> str:
    """Text that a token can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def ours(keyring: Keyring) -> Callable[[str], bool]:
    """A test whether a URL is a tracking URL that one of our keys sealed, on whatever domain."""

    def is_ours(url: str) -> bool:
        # asked of every link of every mail: a token is what follows the last slash, one letter stands before that
        last = url.rfind("/")
        if url[last - 2 : last - 1] != "/":
            return False
        match = _OURS.fullmatch(url)
        if match is None:
            return False
        try:
            keyring.open(_PURPOSES[match[1].lower()], match[2])
        except BadToken:
            return False
        return True

    return is_ours
