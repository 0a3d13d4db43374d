"""Group commit: what is asked for while the last transaction syncs shares the next one, and its one fsync.

One thread owns the SQLite file. Work is a function of the connection; whoever asks is told once it is on stable
storage. A file that fails (full disk, I/O error, read-only) fails what was asked for, and is opened afresh for what
comes next, so nothing has to be restarted when the disk has room again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tracker.errors import SpoolError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Ask = tuple[Work[Any], "asyncio.Future[Any]"]

PAGE_SIZE = 16_384
"""Octets; measured with mails of 50 KB: twice the commits a second of SQLite's own 4,096."""
_CHECKPOINT_PAGES = 1024
_BUSY_SECONDS = 10.0
_MOST_TOGETHER = 500
_OF_THE_WORK = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.NotSupportedError)
"""What SQLite raises for a statement that is wrong; all else is the file's trouble."""


class Commits:
    """The writer of one SQLite file at ``path``, which is a ``what``. ``prepare`` is run on each fresh connection: it
    makes the tables."""

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None], what: str) -> None:
        self._path = path
        self._prepare = prepare
        self._what = what
        self._asked: deque[Ask] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._db: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Connect, make the tables, start the thread. Raises SpoolError."""
        self._loop = asyncio.get_running_loop()
        try:
            self._connection()
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{self._path}: {error}") from error
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"{self._what} {self._path.name}", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what was asked for, close the file. Safe to call twice."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._stopping = True
            self._changed.notify()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def ask(self, work: Work[T]) -> asyncio.Future[T]:
        """Have work done in the next transaction. The future gives its result once that is on stable storage, raises
        SpoolError where it could not be, or the file is closed, and whatever ``work`` itself raised, which undoes only
        that work."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._thread is None or self._stopping:
                future.set_exception(SpoolError(f"the {self._what} is closed"))
            else:
                self._asked.append((work, future))
                self._changed.notify()
        return future

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while together := self._next():
            self._tell(self._commit(together))
        self._drop()

    def _next(self) -> list[Ask]:
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._stopping)
            return [self._asked.popleft() for _ in range(min(len(self._asked), _MOST_TOGETHER))]

    def _commit(self, together: list[Ask]) -> list[tuple[asyncio.Future[Any], Any]]:
        try:
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            answers = [(future, self._work(db, work)) for work, future in together]
            db.execute("COMMIT")
        except Exception as error:
            self._drop()
            return [(future, self._failure(error)) for _, future in together]
        return answers

    def _failure(self, cause: Exception) -> SpoolError:
        failure = SpoolError(f"the {self._what} cannot be written now; trying again later may help")
        failure.__cause__ = cause
        return failure

    def _work(self, db: sqlite3.Connection, work: Work[Any]) -> Any:
        db.execute("SAVEPOINT one")
        try:
            answer = work(db)
        except Exception as error:
            if isinstance(error, sqlite3.Error | OSError) and not isinstance(error, _OF_THE_WORK):
                raise
            db.execute("ROLLBACK TO one")
            answer = error
        db.execute("RELEASE one")
        return answer

    def _tell(self, answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
        def resolve() -> None:
            for future, answer in answers:
                if future.cancelled():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(resolve)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            db = connect(self._path)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _drop(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None


def connect(path: Path) -> sqlite3.Connection:
    """A connection for writing, durable at each commit. Raises sqlite3.Error."""
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose the last commits with the power, and a 250 with them.
        db.execute("PRAGMA synchronous = FULL")
        # Savepoints would spill into a file in /var/tmp: another disk that can be full, and a descriptor a commit.
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except BaseException:
        db.close()
        raise
    return db


def free_octets(db: sqlite3.Connection) -> int:
    """Octets of the file that what is gone has left and what comes can take: the file itself never becomes smaller."""
    (pages,), (size,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size"))
    found: int = pages * size
    return found
