"""What the dashboard shows of the relay beside it: its queue, its sandbox, the configuration. The tracker knows none of
them by itself; whoever starts it hands over what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tracker.mirror import Document
from tracker.webhooks.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recipient that a mail of the queue is not done with. Its sender is yet to be told where ``state`` is not
    ``waiting``; ``next_at`` in seconds since the epoch; ``reply`` is what was last said of it."""

    address: str
    state: str
    attempts: int
    next_at: float
    reply: str | None


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail of the queue: ``next_at`` is None while it is being delivered; ``own``: a notification of ours."""

    id: str
    sender: str
    route: str
    size: int
    accepted_at: float
    next_at: float | None
    own: bool
    recipients: Sequence[Waiting]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A smarthost that is left alone for now; ``route`` is empty for the usual one."""

    route: str
    since: float
    next_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue: how much is in it, the smarthosts in trouble, and some of its mails, the longest waiting first.
    ``next`` goes on after them, None at the end."""

    mails: int
    octets: int
    oldest_at: float | None
    troubles: Sequence[Trouble]
    page: Sequence[QueuedMail]
    next: str | None


Queue = Callable[[int, str | None], QueueState | None]
"""The queue as it is now: so many mails, after which key; None where there is no queue on this machine. Blocks. Raises
SpoolError where it cannot be read, ValueError for a bad key."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A mail that the sandbox keeps: ``name`` sorts by time."""

    name: str
    at: float
    size: int
    reverse_path: str
    recipients: Sequence[str]
    sender: str
    subject: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part of a mail; ``size`` as it is on the wire, octets."""

    type: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail of the sandbox says. ``html`` is None where there is none; ``trouble`` says why the mail was not, or
    not wholly, looked into."""

    kept: Kept
    headers: Sequence[tuple[str, str]]
    html: Document | None
    texts: Sequence[str]
    others: Sequence[Leaf]
    trouble: str | None


class Inbox(Protocol):
    """The sandbox; all of it blocks. Raises OSError where the folder cannot be read."""

    def list(self, limit: int, after: str | None) -> tuple[Sequence[Kept], str | None]:
        """The mails, the newest first, and the name to go on after, None at the end."""

    def letter(self, name: str) -> Letter | None:
        """One mail, None where there is none of that name."""

    def file(self, name: str) -> Path | None:
        """The file of one mail, None where there is none of that name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the configuration. ``value`` is as it would be written in the file, None where it is secret and set;
    ``source``: the file and line, or the variable, empty where it has its default; ``pending``: the file says otherwise
    since, which holds after a restart; ``restart``: changes of this key do."""

    key: str
    value: str | None
    purpose: str
    source: str
    restart: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is in force: the keys, section by section, and the version that runs."""

    sections: Sequence[tuple[str, str, Sequence[Setting]]]
    version: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What there is beside the tracker; None: nothing of that kind. ``target`` says where a click on a URL leads, None
    where the URL is none of ours; ``endpoints`` are those of webhooks as the configuration was last read."""

    queue: Queue | None = None
    inbox: Inbox | None = None
    configuration: Callable[[], Configuration] | None = None
    endpoints: Callable[[], Sequence[Endpoint]] | None = None
    target: Callable[[str], str | None] = lambda url: None


NOTHING = Beside()
