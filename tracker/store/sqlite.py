"""The default store: one SQLite file, on sqlite-utils. One writer at a time; a reading connection a thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from tracker.disk.scrubbing import scrub
from tracker.errors import StoreError
from tracker.model import Clock, Fact, LinkType, Suppression, SuppressionKind
from tracker.redaction import Redactor
from tracker.store import (
    forgetting,
    hit_log,
    link_types,
    mailings,
    migrations,
    numbers,
    pages,
    queries,
    reclassifying,
    retention,
    returning,
    rolling,
    sessions,
    suppressions,
    uncounted,
    writing,
)
from tracker.store.base import (
    Changes,
    HitFilter,
    Judgement,
    LinkTypeChange,
    MessageFilter,
    Page,
    Reclassified,
    ReportFilter,
    Row,
    Sums,
    SuppressionChange,
    SuppressionFilter,
)
from tracker.store.ledger import Ledger
from tracker.store.webhooks import SqliteDeliveries

T = TypeVar("T")
_CHUNK = 500
_BITE = 50
_MOVE_OCTETS = 40
"""About what a difference takes up while it waits."""
_BITE_OCTETS = 200_000


class SqliteStore:
    """The store in one file at ``path``. ``clock`` stamps the order of recording; ``busy_timeout`` in seconds is how
    long a write waits for another process's; ``zone`` (an IANA name) says which days and months there are."""

    def __init__(
        self, path: Path | str, clock: Clock = time.time, busy_timeout: float = 5.0, zone: str = "UTC"
    ) -> None:
        self.path = Path(path)
        self.zone = zone
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._last = 0

    def open(self) -> None:
        """Make the file where there is none, connect and migrate. Raises StoreError."""
        with self._lock, self._trouble():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write_connection()

    def migrate(self) -> None:
        """Bring the tables up to date; opening does it too. Raises StoreError."""
        self.open()

    def close(self) -> None:
        """Close every connection; the store can be opened again."""
        with self._lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()
            self._local = threading.local()
            self._drop_writer()

    def check_writable(self) -> bool:
        """Whether a write transaction can begin now: file there, tables there, disk not read-only or full."""
        try:
            with self._lock, self._trouble(), self._transaction() as db:
                db.execute("UPDATE messages SET known = known WHERE id = ''")
        except StoreError:
            return False
        return True

    def apply(self, facts: Sequence[Fact]) -> None:
        """Fold facts in, all or none, on stable storage when this returns; idempotent. Raises StoreError where the
        store is away, other errors where a fact itself is at fault."""
        with self._lock, self._trouble(), self._transaction() as db:
            self._last = db.execute("SELECT coalesce(max(recorded), 0) FROM events").fetchone()[0]
            writing.apply(db, forgetting.veiled(db, facts), self._stamp, self._clock(), self.zone)
            forgetting.veil(db, facts)

    def reclassify(
        self, after: str | None, limit: int, since: float, until: float, dry_run: bool = False
    ) -> tuple[Reclassified, str | None]:
        """Judge the hits of so many messages anew, in one transaction; hits that come in wait meanwhile."""
        hits, moved = 0, Counter[tuple[Judgement, Judgement]]()
        found = self._read(lambda db: reclassifying.messages(db, after, limit))
        with self._lock, self._trouble(), self._transaction(keep=not dry_run) as db:
            for message in found:
                one = reclassifying.reclassify(db, message, since, until, Ledger(db, self._stamp), self.zone)
                hits, moved = hits + one.hits, moved + one.moved
        return Reclassified(hits, moved), found[-1] if len(found) == limit else None

    def forget(self, address: str) -> int:
        """Erase one person, a little at a time, since hits wait meanwhile, and then the octets in the file; how many
        messages it had got. Raises StoreError, also where others use the file for too long; what is done stays done."""
        with self._lock, self._trouble(), self._transaction() as db:
            forgetting.note(db, address, self._clock())
            redactor, erased = Redactor(address, forgetting.spellings(db, address)), 0
        found = _BITE
        while found == _BITE:
            with self._lock, self._trouble(), self._transaction() as db:
                found = forgetting.erase(db, redactor, _BITE)
            erased += found
        # Counters go on being made by what is not rewritten yet, so they are looked through again.
        for find in (forgetting.mentions, forgetting.mentions_in_sums):
            with self._trouble(), closing(self._connect()) as reader:
                changes = find(reader, redactor)
            for start in range(0, len(changes), _BITE):
                with self._lock, self._trouble(), self._transaction() as db:
                    forgetting.rewrite(db, changes[start : start + _BITE])
        with self._lock, self._trouble():
            scrub(self._write_connection(), self.path, redactor)
        return erased

    def drop_events(self, before: float, limit: int) -> int:
        """Drop events that came in before a time; how many."""
        with self._lock, self._trouble(), self._transaction() as db:
            return retention.drop_events(db, before, limit)

    def drop_recipients(self, before: float, limit: int) -> int:
        """Blank who got messages accepted before a time, and what they were about; how many messages."""
        with self._lock, self._trouble(), self._transaction() as db:
            return retention.drop_recipients(db, before, limit)

    def messages(self, wanted: MessageFilter, limit: int, after: str | None = None) -> Page:
        """Messages, newest first."""
        return self._read(lambda db: queries.messages(db, wanted, limit, after))

    def message(self, message: str) -> Row | None:
        """One message by id, None if unknown."""
        return self._read(lambda db: queries.message(db, message))

    def recipients(self, message: str) -> Sequence[Row]:
        """A message's recipients in order."""
        return self._read(lambda db: queries.recipients(db, message))

    def links(self, message: str, limit: int, after: str | None = None) -> Page:
        """A message's links in order."""
        return self._read(lambda db: queries.links(db, message, limit, after))

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
        """Events in the order of recording."""
        return self._read(lambda db: queries.events(db, limit, after, message, kind, since, until, recipient))

    def people_hits(self, wanted: HitFilter, limit: int, offset: int, most: int) -> tuple[Sequence[Row], int]:
        """Opens or clicks of people that count, the newest first; and how many there are."""
        return self._read(lambda db: hit_log.people_hits(db, wanted, limit, offset, most))

    def origin(self, message: str, recipient: int) -> Row | None:
        """Where a message came from, None where it is not known."""
        return self._read(lambda db: returning.origin(db, message, recipient))

    def page(self, message: str, recipient: int | None) -> Row | None:
        """A message's mirror page, None where none is kept."""
        return self._read(lambda db: pages.page(db, message, recipient))

    def drop_pages(self, before: float, limit: int) -> int:
        """Drop mirror pages of messages accepted before a time; how many."""
        with self._lock, self._trouble(), self._transaction() as db:
            return pages.drop(db, before, limit)

    def urls(self, sender: str | None, limit: int, after: str | None = None, q: str | None = None) -> Page:
        """Every URL seen, without its query, and the type saved for it."""
        return self._read(lambda db: link_types.noted(db, queries.urls(db, sender, limit, after, q), sender))

    def senders(self, limit: int) -> list[str]:
        """Senders of whom there is mail."""
        return self._read(lambda db: queries.senders(db, limit))

    # -- sums over many messages -------------------------------------------------------------------------------------

    def roll(self, limit: int) -> int:
        """Fold what waits into the counters, about so many differences; how many those were. Counts messages from
        before there were counters, and the days of another zone, where that is still to be done."""
        with self._lock, self._trouble(), self._transaction() as db:
            rolling.go_on(db, self.zone, self._clock())
            return rolling.roll(db, limit * _MOVE_OCTETS) or uncounted.count_some(db, limit // 50 + 1, self.zone)

    def waiting(self) -> int:
        """How many batches wait to be folded in."""
        return self._read(lambda db: int(db.execute("SELECT count(*) FROM moves").fetchone()[0]))

    def at_once(self, wanted: ReportFilter, ask: Callable[[Sums], T]) -> T:
        """What ``ask`` reads, all of it of one moment."""
        self._catch_up()

        def read(db: sqlite3.Connection) -> T:
            db.execute("BEGIN")
            try:
                return ask(numbers.Reading(db, wanted))
            finally:
                db.execute("ROLLBACK")

        return self._read(read)

    def totals(self, wanted: ReportFilter, since: float, until: float, cohort: bool = False) -> Row:
        """Sums over a period."""
        return self.at_once(wanted, lambda sums: sums.totals(since, until, cohort))

    def series(self, wanted: ReportFilter, bounds: Sequence[float]) -> list[Row]:
        """Sums of each interval between neighbouring bounds."""
        return self.at_once(wanted, lambda sums: sums.series(bounds))

    def breakdown(
        self, wanted: ReportFilter, dimension: str, since: float, until: float, by: Sequence[str], limit: int
    ) -> list[Row]:
        """Values of a dimension with their sums, the largest first. Raises ValueError where there is no such
        dimension or column."""
        return self.at_once(wanted, lambda sums: sums.breakdown(dimension, since, until, by, limit))

    def mailings(self, wanted: MessageFilter, limit: int, after: str | None = None) -> Page:
        """Mailings, newest first."""
        self._catch_up()
        return self._read(lambda db: mailings.mailings(db, wanted, limit, after))

    def mailing(self, id: str) -> Row | None:
        """One mailing by id, None if unknown."""
        self._catch_up()
        return self._read(lambda db: mailings.mailing(db, id))

    def mailing_series(self, id: str, bounds: Sequence[float]) -> list[Row]:
        """Sums of a mailing over each interval between neighbouring bounds."""
        self._catch_up()
        return self._read(lambda db: mailings.series(db, id, bounds))

    def mailing_links(self, id: str, limit: int, after: str | None = None) -> Page:
        """A mailing's links by position."""
        self._catch_up()
        return self._read(lambda db: mailings.links(db, id, limit, after))

    def _catch_up(self) -> None:
        """Fold in what waits, so that a reader has little to add up."""
        while self.waiting():
            with self._lock, self._trouble(), self._transaction() as db:
                rolling.roll(db, _BITE_OCTETS)

    # -- the lists ---------------------------------------------------------------------------------------------------

    def suppressions(self, wanted: SuppressionFilter, limit: int, after: str | None = None) -> Page:
        """Entries of the suppression list, the newest first."""
        return self._read(lambda db: suppressions.listed(db, wanted, limit, after))

    def suppress(self, entries: Sequence[Suppression]) -> int:
        """Put entries on the suppression list, a few at a time, since hits wait meanwhile; how many are new."""
        new = 0
        for start in range(0, len(entries), _CHUNK):
            with self._lock, self._trouble(), self._transaction() as db:
                new += suppressions.add(db, entries[start : start + _CHUNK], self._clock())
        return new

    def unsuppress(self, address: str, sender: str | None = None, kind: SuppressionKind | None = None) -> int:
        """Take entries of an address off the list; how many there were."""
        with self._lock, self._trouble(), self._transaction() as db:
            return suppressions.remove(db, address, sender, kind, self._clock())

    def suppression_changes(self, after: int, limit: int) -> Changes[SuppressionChange]:
        """What changed in the suppression list."""
        return self._read(lambda db: suppressions.changes(db, after, limit))

    def save_link_type(self, sender: str | None, url: str, type: LinkType | None) -> None:
        """Save a type for later mail, or take it back."""
        with self._lock, self._trouble(), self._transaction() as db:
            link_types.save(db, sender, url, type, self._clock())

    def link_types(self) -> Sequence[Row]:
        """Every saved type, by URL."""
        return self._read(link_types.listed)

    def link_type_changes(self, after: int, limit: int) -> Changes[LinkTypeChange]:
        """What changed in the saved types."""
        return self._read(lambda db: link_types.changes(db, after, limit))

    def end_session(self, id: str, until: float) -> None:
        """Remember that a session was ended, until it would have ended by itself."""
        with self._lock, self._trouble(), self._transaction() as db:
            sessions.end(db, id, until, self._clock())

    def session_ended(self, id: str) -> bool:
        """Whether a session was ended."""
        return self._read(lambda db: sessions.ended(db, id))

    def deliveries(self) -> SqliteDeliveries:
        """What is kept of webhook deliveries."""
        return SqliteDeliveries(self._read, self._write)

    def _stamp(self, at: float) -> int:
        """The next place in the order of recording; not before the event, so ``from`` can start in the index."""
        self._last = max(self._last + 1, int(self._clock() * 1e6), int(at * 1e6) + 1)
        return self._last

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._trouble():
            connection = getattr(self._local, "connection", None)
            if connection is None or self._local.file != self._identity():
                with self._lock:
                    self._write_connection()  # makes the tables where the file is new
                connection = self._connect()
                connection.execute("PRAGMA query_only = 1")
                self._local.connection, self._local.file = connection, self._identity()
                with self._lock:
                    self._readers.append(connection)
            return query(connection)

    def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, self._trouble(), self._transaction() as db:
            return change(db)

    def _connect(self) -> sqlite3.Connection:
        connection: Any = None
        try:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
            )
            self._use_wal(connection)
            # NORMAL would lose the last commits with the power; an answer promises that the hit is kept.
            connection.execute("PRAGMA synchronous = FULL")
            # What is dropped or forgotten must not go on standing in pages that nothing uses.
            connection.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error:
            if connection is not None:
                connection.close()
            raise
        return connection  # type: ignore[no-any-return]

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Write ahead. SQLite does not wait for a lock here as it does elsewhere, so two that make the file together
        would meet one of them with an error."""
        ends = time.monotonic() + self._busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                    raise
            time.sleep(0.01)

    def _identity(self) -> tuple[int, int] | None:
        """Which file stands at ``path`` now; a connection goes on with one that was removed, and loses all."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _write_connection(self) -> sqlite3.Connection:
        if self._writer is not None and self._file != self._identity():
            self._drop_writer()
        if self._writer is None:
            connection = self._connect()
            try:
                migrations.migrate(Database(connection))
                rolling.begin(connection, self.zone, self._clock())
            except BaseException:
                connection.close()
                raise
            self._writer, self._file = connection, self._identity()
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def _transaction(self, keep: bool = True) -> Iterator[sqlite3.Connection]:
        db = self._write_connection()
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT" if keep else "ROLLBACK")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError):
                # The file may have been moved or restored under us: a fresh connection looks again.
                self._drop_writer()
            raise

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError("the store cannot be reached now; trying again later may help") from error
