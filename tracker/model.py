"""The records that both wings speak of, frozen: what was accepted, what became of it, who opened and clicked."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

Clock = Callable[[], float]
"""Seconds since the epoch, UTC."""


def new_id(now: float | None = None) -> UUID:
    """A UUIDv7 (RFC 9562 section 5.7): sorts by time, made without asking anyone. ``now`` in seconds."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    head = milliseconds.to_bytes(6, "big")
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | tail[0] & 0x0F
    tail[2] = 0x80 | tail[2] & 0x3F
    return UUID(bytes=head + bytes(tail))


def queue_id() -> str:
    """A short name for one SMTP session in logs."""
    return secrets.token_hex(5).upper()


class LinkType(StrEnum):
    """What a link is to its sender (contract, section 3)."""

    TRACKED = "tracked"
    OPT_OUT = "opt_out"
    MIRROR = "mirror"
    NEVER = "never"


class Status(StrEnum):
    """Where one recipient's copy stands."""

    PENDING = "pending"
    SENT = "sent"
    BOUNCED = "bounced"
    ERROR = "error"
    SUPPRESSED = "suppressed"


class SuppressionKind(StrEnum):
    """What an address does not want: ``mail`` at all, or ``tracking`` in it."""

    MAIL = "mail"
    TRACKING = "tracking"


class HitClass(StrEnum):
    """Who made a hit."""

    HUMAN = "human"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Link:
    """One occurrence of a link in a message. ``url`` is the value as decoded from the HTML; ``target`` the ASCII
    form of it that a redirect sends; ``reason`` says why it has its type, or why it was left untouched
    (``tracked`` is False then)."""

    position: int
    url: str
    target: str
    label: str
    type: LinkType
    reason: str
    tracked: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address of a message; ``ordinal`` counts from 1 in the order of RCPT."""

    ordinal: int
    address: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that was accepted: one SMTP transaction. ``accepted_at`` in seconds since the epoch; ``attributed`` is
    False where the sender wants no hit tied to a recipient; ``reverse_path`` is that of the client, empty for the null
    one, None where it is not known."""

    id: UUID
    message_id: str
    sender: str
    subject: str
    tag: str | None
    mailing: str | None
    metadata: Mapping[str, str]
    accepted_at: float
    instrumented: bool
    reason: str | None
    pixel: bool
    recipients: tuple[Recipient, ...]
    links: tuple[Link, ...]
    attributed: bool = True
    reverse_path: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one try at the smarthost did for one recipient. ``reply`` is the smarthost's, one line."""

    message: UUID
    recipient: int
    status: Status
    at: float
    reply: str


class BounceKind(StrEnum):
    """What a mail that came back says of a copy that the smarthost had taken: refused for good, given up or refused
    for now, that it still waits, or nothing that can be understood."""

    HARD = "hard"
    SOFT = "soft"
    DELAYED = "delayed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Returned:
    """A copy that the smarthost had taken came back. ``status`` is the enhanced status code (RFC 3463), ``reply`` the
    words of the host that said so, one line. A bounce said again changes nothing."""

    message: UUID
    recipient: int
    at: float
    kind: BounceKind
    status: str
    reply: str


@dataclass(frozen=True, slots=True)
class Complained:
    """The reader of a copy called it spam. ``kind`` is the feedback type (RFC 5965), ``reply`` who reported it. Said
    again it changes nothing."""

    message: UUID
    recipient: int
    at: float
    kind: str
    reply: str


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A sender is to send no more marketing mail to an address, since mail to it came back for good, or its reader
    complained; ``reason`` says which."""

    message: UUID
    recipient: int
    sender: str
    address: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who made a hit, of what kind, and why in a few words; ``rules`` is the version of the rules that judged, ``rule``
    the name of the one that applied to the request by itself."""

    cls: HitClass
    kind: str
    reason: str
    rules: int
    rule: str = ""


OPT_OUT_PAGE, MIRROR_PAGE = -1, -2
"""Positions of what no one link leads to; apart, since a hit on the one is no repeat of a hit on the other."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One request on a link of ours. ``event``: ``open`` or ``click``; ``position`` is 0 for an open, and
    ``OPT_OUT_PAGE`` or ``MIRROR_PAGE`` where it is not known by which of the mail's links the reader came there.
    ``recipient`` is None where the sender wants no attribution. ``verdict`` is judged from the whole request before
    ``address`` and ``agent`` are cut down to what privacy allows; None: judge by what is here. ``whole`` says that
    ``agent`` is all that it was, so that it can be judged by it again."""

    id: UUID
    at: float
    message: UUID
    recipient: int | None
    event: str
    position: int
    url: str | None
    type: LinkType
    method: str
    address: str | None
    agent: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    whole: bool = False


DOES_NOT_EXIST = "does not exist"
"""The reason of a suppression that holds for mail of every category."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An entry of the suppression list: ``sender`` None means every sender, ``since`` None means from now on (else
    seconds since the epoch)."""

    address: str
    sender: str | None = None
    kind: SuppressionKind = SuppressionKind.MAIL
    reason: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A reader said no to one sender, by the opt-out link of a message. ``recipient`` is None where the sender wants no
    attribution; ``reason`` says how it was said."""

    id: UUID
    at: float
    message: UUID
    recipient: int | None
    sender: str
    address: str
    kind: SuppressionKind
    reason: str


@dataclass(frozen=True, slots=True)
class OptedIn:
    """A reader took that back."""

    id: UUID
    at: float
    message: UUID
    recipient: int | None
    sender: str
    address: str
    kind: SuppressionKind
    reason: str


@dataclass(frozen=True, slots=True)
class NoMailbox:
    """It was said of a recipient of a message that the address does not exist."""

    message: UUID
    recipient: int
    address: str
    at: float


@dataclass(frozen=True, slots=True)
class MirrorPage:
    """The HTML of a message accepted ``at`` (seconds since the epoch), as ``tracker.mirror`` packs it."""

    message: UUID
    at: float
    content: bytes


Fact = Accepted | Outcome | Returned | Complained | Hit | OptedOut | OptedIn | NoMailbox | Unwanted | MirrorPage
