"""What any store can do: take facts in, idempotently, and answer what people read. All of it blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from tracker.model import Fact, LinkType, Suppression, SuppressionKind

if TYPE_CHECKING:
    from tracker.webhooks.deliveries import Deliveries

Row = Mapping[str, Any]
"""One row as it is read; times are seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages; None lets all pass. Times in seconds since the epoch, ``since`` inclusive, ``until`` exclusive.
    ``mailing_key`` is the id of a mailing (``tracker.mailing``); ``status`` a recipient's status that at least one
    recipient has (also ``delivered``)."""

    sender: str | None = None
    tag: str | None = None
    mailing: str | None = None
    mailing_key: str | None = None
    message_id: str | None = None
    recipient: str | None = None
    status: str | None = None
    q: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """Which mail a report is about; None lets all pass."""

    sender: str | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class HitFilter:
    """Which hits; None lets all pass. ``event`` is open or click, ``recipient`` an address."""

    event: str
    message: str | None = None
    recipient: str | None = None
    tag: str | None = None


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


class Judgement(NamedTuple):
    """What a hit was taken for."""

    cls: str
    kind: str


class Reclassified(NamedTuple):
    """How many hits were looked at, and from what to what those moved that changed."""

    hits: int
    moved: Counter[tuple[Judgement, Judgement]]


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


COLUMNS = (
    *("messages", "targeted", "suppressed", "sent", "delivered", "bounced", "bounced_later", "errors", "complaints"),
    *("open_tracked", "click_tracked", "attributed_open_tracked", "attributed_click_tracked"),
    *("opens", "unique_opens", "machine_opens", "clicks", "unique_clicks", "machine_clicks", "both"),
    *("opt_outs", "opt_out_clicks", "mirror_views"),
)
"""What is counted. ``attributed_*``: the part of ``*_tracked`` whose hits name a recipient, which uniques can be told
of; ``both``: recipients of a message who opened and clicked."""

DIMENSIONS = ("url", "path", "label", "domain", "reason", "device", "system", "client", "tag")
"""By what counts can be broken down."""


T = TypeVar("T")


class Sums(Protocol):
    """What ``Numbers`` tells of some mail, all of it of one moment."""

    def totals(self, since: float, until: float, cohort: bool = False) -> Row:
        """As ``Numbers.totals``."""

    def series(self, bounds: Sequence[float]) -> list[Row]:
        """As ``Numbers.series``."""

    def breakdown(self, dimension: str, since: float, until: float, by: Sequence[str], limit: int) -> list[Row]:
        """As ``Numbers.breakdown``."""


class Numbers(Protocol):
    """Sums over many messages, exact for any instants (seconds since the epoch; ``since`` inclusive, ``until``
    exclusive), never behind the events. Every method raises StoreError where the store cannot be reached now."""

    def at_once(self, wanted: ReportFilter, ask: Callable[[Sums], T]) -> T:
        """What ``ask`` reads, all of it of one moment, so that it agrees with itself."""

    def totals(self, wanted: ReportFilter, since: float, until: float, cohort: bool = False) -> Row:
        """Every column's sum over the events of a period, with ``cohort`` over all events so far of the mail accepted
        in it; and ``pending``, of the mail accepted in it."""

    def series(self, wanted: ReportFilter, bounds: Sequence[float]) -> list[Row]:
        """``totals`` of each interval between neighbouring bounds."""

    def breakdown(
        self, wanted: ReportFilter, dimension: str, since: float, until: float, by: Sequence[str], limit: int
    ) -> list[Row]:
        """The values of a dimension in a period, as ``value``, with every column's sum: the largest first by the sum of
        the columns in ``by``, then by value."""

    def mailings(self, wanted: MessageFilter, limit: int, after: str | None = None) -> Page:
        """Mailings, newest first by their first message. Raises ValueError for a bad cursor."""

    def mailing(self, id: str) -> Row | None:
        """One mailing by id."""

    def mailing_series(self, id: str, bounds: Sequence[float]) -> list[Row]:
        """Sums of every column over what happened in a mailing, in each interval between neighbouring bounds, which are
        at whole quarters of an hour; none where there is no such mailing."""

    def mailing_links(self, id: str, limit: int, after: str | None = None) -> Page:
        """A mailing's links by position, each with its sums. Raises ValueError for a bad cursor."""


class HitLog(Protocol):
    """The hits of people that count. Every method raises StoreError where the store cannot be reached now."""

    def message(self, message: str) -> Row | None:
        """One message by id."""

    def people_hits(self, wanted: HitFilter, limit: int, offset: int, most: int) -> tuple[Sequence[Row], int]:
        """Opens or clicks that count, the newest first, less the first ``offset``; each with ``recipient_address``, its
        message's ``tag``, and ``first``: whether it is that recipient's first one. And how many there are in all, as
        far as ``most``."""


class Store(Lists, HitLog, Numbers, Protocol):
    """A store; every method raises StoreError where the store cannot be reached now, ValueError for a bad cursor."""

    def open(self) -> None:
        """Connect; create what is missing."""

    def migrate(self) -> None:
        """Bring the tables up to date."""

    def close(self) -> None:
        """Let go of every connection."""

    def deliveries(self) -> Deliveries:
        """What is kept of webhook deliveries."""

    def check_writable(self) -> bool:
        """Whether a write would be taken now."""

    def apply(self, facts: Sequence[Fact]) -> None:
        """Fold facts in, all or none, in one transaction on stable storage; a fact seen before changes nothing."""

    def roll(self, limit: int) -> int:
        """Fold about so many of the differences that wait into the counters; how many those were, 0 where none are
        left."""

    def reclassify(
        self, after: str | None, limit: int, since: float, until: float, dry_run: bool = False
    ) -> tuple[Reclassified, str | None]:
        """Judge the hits made in a period anew, those of so many messages after a key; counts follow. With
        ``dry_run`` nothing is changed. What moved, and the key to go on after, None at the end."""

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
        recipient: int | None = None,
    ) -> Page:
        """Events in the order of recording, which never changes: what comes later stands later. ``recipient`` is the
        ordinal of one of ``message``'s recipients."""

    def origin(self, message: str, recipient: int) -> Row | None:
        """Where a message came from: ``sender``, ``reverse_path`` (empty for the null one, None where it is no longer
        known), and the ``address`` of that recipient, None likewise; None where the message is not known."""

    def page(self, message: str, recipient: int | None) -> Row | None:
        """A message's mirror page: ``at``, ``content``, and the ``sender`` and ``address`` of that recipient as far as
        they are known; None where none is kept."""

    def drop_pages(self, before: float, limit: int) -> int:
        """Drop mirror pages of messages accepted before a time, so many at most; how many."""

    def urls(self, sender: str | None, limit: int, after: str | None = None, q: str | None = None) -> Page:
        """Every URL seen, without its query, with type, saved type and counts, by URL; ``q`` is a part of it."""

    def senders(self, limit: int) -> list[str]:
        """Senders of whom there is mail, by address."""

    def end_session(self, id: str, until: float) -> None:
        """Remember that a session of the dashboard was ended, until it would have ended by itself."""

    def session_ended(self, id: str) -> bool:
        """Whether a session of the dashboard was ended."""
