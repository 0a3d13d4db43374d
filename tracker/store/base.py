"""What any store can do: take facts in, idempotently, and answer what people read. All of it blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tracker.model import Fact, LinkType, Suppression, SuppressionKind

Row = Mapping[str, Any]
"""One row as it is read; times are seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages; None lets all pass. Times in seconds since the epoch, ``since`` inclusive, ``until`` exclusive.
    ``status`` is a recipient's status that at least one recipient has (also ``delivered``)."""

    sender: str | None = None
    tag: str | None = None
    mailing: str | None = None
    message_id: str | None = None
    recipient: str | None = None
    status: str | None = None
    q: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows and the key to go on after, None at the end."""

    rows: Sequence[Row]
    next: str | None


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """Which entries of the suppression list; None lets all pass. ``sender`` empty: those for every sender. ``q`` is a
    part of the address or the sender."""

    address: str | None = None
    sender: str | None = None
    kind: SuppressionKind | None = None
    q: str | None = None


class SuppressionChange(NamedTuple):
    """An entry that came onto the list or, not ``standing``, left it. ``mark`` is a keyed hash of the address in lower
    case; ``sender`` None: every sender; ``always``: for mail of every category."""

    mark: bytes
    sender: str | None
    kind: SuppressionKind
    standing: bool
    always: bool


class LinkTypeChange(NamedTuple):
    """A type that was saved for a URL or glob, or with None taken back; ``sender`` None: for every sender."""

    sender: str | None
    url: str
    type: LinkType | None


C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Changes(Generic[C]):
    """What changed after a stamp, in order. ``key`` is that of the marks, made with the store, so that another one is
    known by it; ``last`` is the stamp to go on after, ``newest`` that of the last change there is: one that is before
    the stamp asked for means that the store was put back to an older state."""

    key: bytes
    rows: Sequence[C]
    last: int
    newest: int


class Lists(Protocol):
    """The lists that people keep and relays follow. Every method raises StoreError where the store cannot be reached
    now."""

    def suppressions(self, wanted: SuppressionFilter, limit: int, after: str | None = None) -> Page:
        """Entries of the suppression list, the newest first. Raises ValueError for a bad cursor."""

    def suppress(self, entries: Sequence[Suppression]) -> int:
        """Put entries on the suppression list; how many were not on it."""

    def unsuppress(self, address: str, sender: str | None = None, kind: SuppressionKind | None = None) -> int:
        """Take the entries of an address off the list, those of ``sender`` (empty: that for every sender) and ``kind``
        alone where they are given; how many there were."""

    def suppression_changes(self, after: int, limit: int) -> Changes[SuppressionChange]:
        """What changed in the suppression list."""

    def save_link_type(self, sender: str | None, url: str, type: LinkType | None) -> None:
        """Save the type of a URL or glob for later mail, of one sender or with None of all; type None: no longer."""

    def link_types(self) -> Sequence[Row]:
        """Every saved type, by URL: ``url, sender, type, since``."""

    def link_type_changes(self, after: int, limit: int) -> Changes[LinkTypeChange]:
        """What changed in the saved types."""


class Store(Lists, Protocol):
    """A store; every method raises StoreError where the store cannot be reached now, ValueError for a bad cursor."""

    def open(self) -> None:
        """Connect; create what is missing."""

    def migrate(self) -> None:
        """Bring the tables up to date."""

    def close(self) -> None:
        """Let go of every connection."""

    def check_writable(self) -> bool:
        """Whether a write would be taken now."""

    def apply(self, facts: Sequence[Fact]) -> None:
        """Fold facts in, all or none, in one transaction on stable storage; a fact seen before changes nothing."""

    def forget(self, address: str) -> int:
        """Erase one person's address and what is its own, wherever it stands, in whatever case; what was said of it
        before and comes in later comes in without it. Counts stay. How many messages it had got."""

    def drop_events(self, before: float, limit: int) -> int:
        """Drop events that came in before a time, so many at most; how many."""

    def drop_recipients(self, before: float, limit: int) -> int:
        """Blank address, subject and metadata of messages accepted before a time, so many at most; how many."""

    def messages(self, wanted: MessageFilter, limit: int, after: str | None = None) -> Page:
        """Messages, newest first."""

    def message(self, message: str) -> Row | None:
        """One message by id."""

    def recipients(self, message: str) -> Sequence[Row]:
        """A message's recipients in order."""

    def links(self, message: str, limit: int, after: str | None = None) -> Page:
        """A message's links in order."""

    def events(
        self,
        limit: int,
        after: str | None = None,
        message: str | None = None,
        kind: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Page:
        """Events in the order of recording, which never changes: what comes later stands later."""

    def page(self, message: str, recipient: int | None) -> Row | None:
        """A message's mirror page: ``at``, ``content``, and the ``sender`` and ``address`` of that recipient as far as
        they are known; None where none is kept."""

    def drop_pages(self, before: float, limit: int) -> int:
        """Drop mirror pages of messages accepted before a time, so many at most; how many."""

    def urls(self, sender: str | None, limit: int, after: str | None = None) -> Page:
        """Every URL seen, without its query, with type, saved type and counts, by URL."""

    def end_session(self, id: str, until: float) -> None:
        """Remember that a session of the dashboard was ended, until it would have ended by itself."""

    def session_ended(self, id: str) -> bool:
        """Whether a session of the dashboard was ended."""
