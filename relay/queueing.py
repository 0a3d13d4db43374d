"""The queue as its operator sees it: read from the spool files beside the running service, and told to retry or drop.

The files belong to the workers that hold them; what is written here is small, and a worker notices it within a second.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from relay.dispatch import rows
from relay.dispatch.mail import Mail, Rcpt, State
from relay.dispatch.spool import FOLDER, contents_of
from tracker import facts as codec
from tracker.disk import held, outbox
from tracker.disk.commits import connect
from tracker.disk.held import locked
from tracker.errors import SpoolError
from tracker.model import Outcome, Status

T = TypeVar("T")

REMOVED = "removed from the queue by hand"


@dataclass(frozen=True, slots=True)
class Queued:
    """One mail of the queue: ``next_at`` is None while it is being delivered."""

    mail: Mail
    size: int
    next_at: float | None

    def as_dict(self) -> dict[str, Any]:
        """The mail as plain data, less its content."""
        mail = self.mail
        return {
            "id": str(mail.id),
            "reverse_path": mail.reverse_path,
            "route": mail.route or None,
            "size": self.size,
            "accepted_at": mail.accepted_at,
            "next_at": self.next_at,
            "recipients": [
                {
                    "address": each.address,
                    "state": each.state.value,
                    "attempts": each.attempts,
                    "next_at": each.next_at,
                    "last_reply": each.said.reply if each.said else None,
                }
                for each in mail.recipients
            ],
        }


@dataclass(frozen=True, slots=True)
class Host:
    """A smarthost that is left alone for now; times are seconds since the epoch."""

    route: str
    since: float
    next_at: float
    reason: str


def queued(data_dir: Path, limit: int | None = None) -> list[Queued]:
    """The mails of all spool files, the longest waiting first. Raises SpoolError."""
    sql = "SELECT id, size, next_at FROM messages ORDER BY accepted_at LIMIT ?"

    def ask(path: Path, db: sqlite3.Connection) -> list[Queued]:
        found = db.execute(sql, [-1 if limit is None else limit]).fetchall()
        mails = ((rows.mail_of(db, id), size, next_at) for id, size, next_at in found)
        return [Queued(mail, size, next_at) for mail, size, next_at in mails if mail is not None]

    found = itertools.chain.from_iterable(ask_all(data_dir, ask))
    return sorted(found, key=lambda each: each.mail.accepted_at)[:limit]


def one(data_dir: Path, id: str) -> tuple[Queued, bytes] | None:
    """One mail and its content as it came. Raises SpoolError, OSError."""

    def ask(path: Path, db: sqlite3.Connection) -> tuple[Queued, bytes] | None:
        row = rows.row_of(db, id)
        if row is None:
            return None
        size, next_at = db.execute("SELECT size, next_at FROM messages WHERE id = ?", [id]).fetchone()
        content = row.content if row.content is not None else (contents_of(path) / id).read_bytes()
        return Queued(row.mail, size, next_at), content

    return next(filter(None, ask_all(data_dir, ask)), None)


def hosts(data_dir: Path) -> list[Host]:
    """The smarthosts that are left alone for now, each as whoever left it alone first knows it. Raises SpoolError."""

    def ask(path: Path, db: sqlite3.Connection) -> list[Host]:
        return [Host(*row) for row in db.execute("SELECT route, since, next_at, reason FROM hosts")]

    found = sorted(itertools.chain.from_iterable(ask_all(data_dir, ask)), key=lambda host: -host.since)
    return list({host.route: host for host in found}.values())


def retry(data_dir: Path, ids: Sequence[str]) -> int:
    """Make mails due now, all where none is named, whatever their smarthost's state; how many there are. Raises
    SpoolError."""
    count = 0
    for path in files(data_dir):
        with writing(path) as db:
            for id in ids or [id for (id,) in db.execute("SELECT id FROM messages").fetchall()]:
                count += rows.hurry(db, id, time.time())
    return count


def remove(data_dir: Path, ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Take mails out of the queue for good, without telling their senders: those removed, and those that are being
    delivered at this moment, which stay. Raises SpoolError."""
    removed, busy = [], []
    wanted = set(ids)
    for path in files(data_dir):
        with writing(path) as db:
            for id in sorted(wanted):
                found = db.execute("SELECT seq, next_at FROM messages WHERE id = ?", [id]).fetchone()
                if found is None:
                    continue
                if found[1] is None:
                    busy.append(id)
                    continue
                mail = rows.mail_of(db, id)
                outbox.add(db, _removals(mail) if mail else ())
                rows.forget(db, found[0])
                removed.append(id)
        for id in removed:
            (contents_of(path) / id).unlink(missing_ok=True)
    return removed, busy


def _removals(mail: Mail) -> Iterator[bytes]:
    """What the store is told of recipients whose mail was removed."""
    if mail.profile:
        for each in mail.recipients:
            if each.state is State.WAITING:
                yield codec.encode(Outcome(mail.id, each.ordinal, Status.ERROR, time.time(), REMOVED))


def files(data_dir: Path) -> list[Path]:
    """The spool's files."""
    return held.files(data_dir / FOLDER)


def ask_all(data_dir: Path, ask: Callable[[Path, sqlite3.Connection], T]) -> list[T]:
    """Ask each spool file; one that its worker has just removed is passed over. Raises SpoolError."""
    answers = []
    for path in files(data_dir):
        try:
            with reading(path) as db:
                answers.append(ask(path, db))
        except SpoolError:
            if path.exists():
                raise
    return answers


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Raises SpoolError."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0, isolation_level=None)) as db:
            yield db
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on one file; where no worker holds it, nothing in it is in hand. Raises SpoolError."""
    try:
        lock = locked(path)
        try:
            with closing(connect(path)) as db:
                db.execute("BEGIN IMMEDIATE")
                if lock is not None:
                    rows.release_all(db)
                yield db
                db.execute("COMMIT")
        finally:
            if lock is not None:
                lock.close()
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from error


def as_table(mails: Sequence[Queued], failing: Sequence[Host]) -> str:
    """The queue as a person reads it."""
    lines = [
        f"Smarthost{f' of {host.route}' if host.route else ''} not usable since {_time(host.since)}, tried again at"
        f" {_time(host.next_at)}: {host.reason}"
        for host in failing
    ]
    if not mails:
        return "\n".join([*lines, "The queue is empty."])
    lines.append(f"{'ID':36}  {'SIZE':>9}  {'ACCEPTED':19}  {'NEXT TRY':19}  FROM, TO, LAST REPLY")
    for each in mails:
        mail = each.mail
        next_try = "now" if each.next_at is None else _time(each.next_at)
        about = f"{each.size:>9}  {_time(mail.accepted_at)}  {next_try:19}  {mail.reverse_path or '<>'}"
        lines.append(f"{mail.id}  {about}")
        lines += [f"{'':38}{_recipient(rcpt)}" for rcpt in mail.recipients[:5]]
        if len(mail.recipients) > 5:
            lines.append(f"{'':38}and {len(mail.recipients) - 5} more")
    return "\n".join([*lines, f"{len(mails)} mails, {sum(each.size for each in mails)} octets"])


def as_text(queued: Queued) -> str:
    """One mail as a person reads it."""
    mail = queued.mail
    next_try = "being delivered now" if queued.next_at is None else _time(queued.next_at)
    lines = [
        f"ID          {mail.id}",
        f"From        {mail.reverse_path or '<>'}",
        f"Size        {queued.size} octets",
        f"Accepted    {_time(mail.accepted_at)}",
        f"Next try    {next_try}",
        *([f"Smarthost   of {mail.route}"] if mail.route else []),
        *(
            []
            if mail.profile
            else [f"What        {'a mail that came back' if mail.trace else 'a notification of our own'}"]
        ),
        "",
    ]
    for each in mail.recipients:
        lines.append(f"{_recipient(each)} ({each.attempts} tries, next {_time(each.next_at)})")
    return "\n".join(lines)


def _recipient(rcpt: Rcpt) -> str:
    if rcpt.state is not State.WAITING:
        return f"{rcpt.address}: {rcpt.state.value}; its sender is being told"
    return f"{rcpt.address}: {rcpt.said.reply}" if rcpt.said else f"{rcpt.address}: not tried yet"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def known_id(text: str) -> str:
    """An id as the queue writes it. Raises ValueError for what is none."""
    return str(UUID(text))


class SpoolCollector(Collector):
    """The queue's figures for Prometheus, read from the spool files when asked. ``dropped`` tells how many
    notifications came to an end undelivered."""

    def __init__(self, data_dir: Path, dropped: Callable[[], int] = lambda: 0) -> None:
        self._data_dir = data_dir
        self._dropped = dropped

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """The figures of all files together; what cannot be read now is left out."""
        messages, octets, recipients, oldest, failing, facts = 0, 0, 0, None, 0, 0
        for path in files(self._data_dir):
            try:
                with reading(path) as db:
                    sql = "SELECT count(*), coalesce(sum(size), 0), min(accepted_at) FROM messages"
                    count, size, since = db.execute(sql).fetchone()
                    messages, octets = messages + count, octets + size
                    recipients += db.execute("SELECT count(*) FROM recipients").fetchone()[0]
                    failing += db.execute("SELECT count(*) FROM hosts").fetchone()[0]
                    oldest = min(filter(None, (oldest, since)), default=None)
                    facts += outbox.count(db)
            except SpoolError:
                continue
        age = time.time() - oldest if oldest is not None else 0.0
        yield GaugeMetricFamily("queue_messages", "Mails in the queue", value=messages)
        yield GaugeMetricFamily("queue_recipients", "Recipients that are not done with", value=recipients)
        yield GaugeMetricFamily("queue_octets", "Octets of mail in the queue", value=octets)
        yield GaugeMetricFamily("queue_oldest_seconds", "Age of the oldest mail in the queue", value=age)
        yield GaugeMetricFamily("queue_facts", "Records that the store is yet to be told", value=facts)
        about = "Notifications and bounces that could not be given to the sender and were dropped"
        yield CounterMetricFamily("notifications_dropped", about, value=self._dropped())
        yield GaugeMetricFamily("smarthosts_failing", "Smarthosts that are left alone, by worker", value=failing)
