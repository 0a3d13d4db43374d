"""What any store can do: take facts in, idempotently, and answer what people read. All of it blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tracker.model import Fact

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


class Store(Protocol):
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
        """Every URL seen, without its query, with type and counts, by URL."""
