"""Forgetting a person in all that lies in ``data_dir``: store, journal, spool, sandbox.

Mail that names the person and waits in the queue goes first. Until then a note of what was asked for lies in
``data_dir/forgetting``, and the service goes on with it by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import quopri
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import structlog

from relay.dispatch import rows, sandbox
from relay.dispatch import spool as spools
from relay.dispatch.spool import contents_of
from tracker import facts as codec
from tracker.disk import held, journal, outbox
from tracker.disk.commits import connect, free_octets
from tracker.disk.scrubbing import file_holds, scrub
from tracker.errors import SpoolError, TracepostError
from tracker.model import Fact, NoMailbox, OptedIn, OptedOut, Unwanted, new_id
from tracker.reading.people import Forgotten
from tracker.redaction import Redactor, octets_hold
from tracker.store.base import Store
from tracker.store.forgetting import without

log = structlog.get_logger()

FOLDER = "forgetting"
EVERY = 5.0
"""Seconds between two looks of the service at what is still to be forgotten."""
_REWRITTEN = 512 * 1024 * 1024
"""Octets of live data up to which a spool file is written anew without a look whether it needs to be."""


def forget(data_dir: Path, store: Store, address: str) -> Forgotten:
    """Erase what there is of a person now; where mail is still queued, a note stays. Blocks. Raises StoreError,
    SpoolError or OSError, and then the note stays too."""
    note = _noted(data_dir, address)
    found = _erase(data_dir, store, address)
    if found.done:
        note.unlink(missing_ok=True)
    return found


def pending(data_dir: Path) -> dict[Path, str]:
    """What is yet to be forgotten: the address by note. Raises OSError."""
    found = {}
    for note in sorted((data_dir / FOLDER).glob("*.json")):
        try:
            found[note] = str(json.loads(note.read_text("utf-8"))["address"])
        except (ValueError, TypeError, KeyError):
            log.error("a note of who is to be forgotten cannot be read", file=note.name)
    return found


class Forgetting:
    """Goes on, within the service, with what could not be forgotten at once."""

    def __init__(self, data_dir: Path, store: Store) -> None:
        self._data_dir = data_dir
        self._store = store
        self._awaited: dict[Path, set[str]] = {}

    async def run(self) -> None:
        """Look again and again whether the queue has let go of them."""
        while True:
            await asyncio.to_thread(self.round)
            await asyncio.sleep(EVERY)

    def round(self) -> None:
        """Forget those whom the queue has let go of. Never raises for what a disk or the store may do."""
        with suppress(OSError):
            for note, address in pending(self._data_dir).items():
                try:
                    self._go_on(note, address)
                except TracepostError as error:
                    log.warning("a person cannot be forgotten now; trying again", error=str(error))

    def _go_on(self, note: Path, address: str) -> None:
        if self._awaited.get(note, set()) & _all_queued(self._data_dir):
            return  # no need to look into every mail again
        self._awaited[note] = queued(self._data_dir, address)
        if not self._awaited[note] and _erase(self._data_dir, self._store, address).done:
            note.unlink(missing_ok=True)
            log.info("a person is forgotten")


def queued(data_dir: Path, address: str) -> set[str]:
    """The ids of mails in the queue that name an address. Raises SpoolError, OSError."""
    found: set[str] = set()
    for path in held.files(data_dir / spools.FOLDER):
        with _opened(path) as db:
            found.update(_naming(db, path, address))
    return found


def mail_holds(content: bytes, address: str) -> bool:
    """Whether a mail names an address, in whatever transfer encoding."""
    if octets_hold(content, address):
        return True
    joined = content.replace(b"=\r\n", b"").replace(b"\r\n", b"")  # as lines of base64 and quoted-printable go on
    return octets_hold(joined, address) or octets_hold(quopri.decodestring(content), address)


# -- the parts of data_dir ---------------------------------------------------------------------------------------------


def _erase(data_dir: Path, store: Store, address: str) -> Forgotten:
    redactor = Redactor(address)
    waiting = queued(data_dir, address)
    _from_sandbox(data_dir / sandbox.FOLDER, redactor)
    for path in held.files(data_dir / journal.FOLDER):
        _from_outbox(path, store, redactor, always=True)
    for path in held.files(data_dir / spools.FOLDER):
        _from_outbox(path, store, redactor, always=False)
    messages = store.forget(address)
    # What the store could not take meanwhile has gone to the journal.
    for path in held.files(data_dir / journal.FOLDER):
        _from_outbox(path, store, redactor, always=True)
    return Forgotten(messages, len(waiting))


def _from_outbox(path: Path, store: Store, redactor: Redactor, always: bool) -> None:
    """Rewrite the facts that wait in a file, and the file. What the person said is told now: without its address nobody
    could heed it."""
    said: list[Fact] = []

    def change(octets: bytes) -> bytes | None:
        try:
            fact = codec.decode(octets)
        except ValueError:  # whoever tells the store gives it up too
            return octets
        if isinstance(fact, OptedOut | OptedIn | NoMailbox | Unwanted):
            if not redactor.is_it(fact.address):
                return octets
            said.append(fact)
            return None
        found = without(fact, redactor)
        return octets if found is fact else codec.encode(found)

    with _opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        outbox.rewrite(db, change)
        if said:
            store.apply(said)
        db.execute("COMMIT")
        small = path.stat().st_size - free_octets(db) < _REWRITTEN
        scrub(db, path, redactor, always or small)


def _from_sandbox(folder: Path, redactor: Redactor) -> None:
    """Remove the mails that name the person."""
    for envelope in folder.glob("*.json"):
        mail = envelope.with_suffix(".eml")
        with suppress(FileNotFoundError):
            if file_holds(envelope, redactor) or mail_holds(mail.read_bytes(), redactor.address):
                mail.unlink(missing_ok=True)
                envelope.unlink(missing_ok=True)


def _all_queued(data_dir: Path) -> set[str]:
    found: set[str] = set()
    for path in held.files(data_dir / spools.FOLDER):
        with _opened(path) as db:
            found |= rows.ids(db)
    return found


def _naming(db: sqlite3.Connection, path: Path, address: str) -> Iterator[str]:
    """The ids of mails in a spool file that name an address."""
    is_it = Redactor(address).is_it
    sql = "SELECT seq, id, reverse_path, profile, trace FROM messages"
    for seq, id, reverse_path, profile, trace in db.execute(sql).fetchall():
        people = [who for (who,) in db.execute("SELECT address FROM recipients WHERE seq = ?", [seq])]
        if any(map(is_it, (reverse_path, *people))) or octets_hold(profile.encode() + trace, address):
            yield id
            continue
        row = db.execute("SELECT content FROM contents WHERE seq = ?", [seq]).fetchone()
        with suppress(FileNotFoundError):  # it has just gone out
            if mail_holds(row[0] if row else (contents_of(path) / id).read_bytes(), address):
                yield id


def _noted(data_dir: Path, address: str) -> Path:
    """The note of what is to be forgotten, on stable storage."""
    redactor = Redactor(address)
    for note, other in pending(data_dir).items():
        if redactor.is_it(other):
            return note
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = folder / f"{new_id()}.json"
    fresh = folder / f".{note.name}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"address": address}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(note)
    held.sync_folder(folder)
    return note


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file of the spool or the journal. Raises SpoolError for whatever SQLite finds wrong."""
    try:
        with closing(connect(path)) as db:
            yield db
    except sqlite3.Error as error:
        raise SpoolError(f"{path.name}: {error}") from error
