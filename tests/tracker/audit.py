"""Whether the counters of a store are what its events say, found out by counting all of them anew."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

from tracker.store import rolling
from tracker.store.base import COLUMNS
from tracker.store.filing import filed
from tracker.store.sqlite import SqliteStore

Rows = dict[tuple[Any, ...], Counter[str]]


def audited(store: SqliteStore) -> Rows:
    """The counters by time of a store, after they were found to be what the events say."""
    while store.roll(1000):
        pass
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT count(*) FROM moves").fetchone() == (0,)
        messages = [message for (message,) in db.execute("SELECT id FROM messages")]
        found = filed(db, rolling.contributed(db, messages))
        expected = rolling.rows_of(found, rolling.calendar_of(db), rolling.quarters_of(db))
        kept = _rows(db, "counts", rolling.KEY, COLUMNS)
        assert kept == _some(expected)
        links = _rows(
            db, "mailing_links", ("sender", "mailing", "position"), ("clicks", "unique_clicks", "machine_clicks")
        )
        assert links == _some(found.links)
        mailings = _rows(db, "mailings", ("sender", "id"), (*COLUMNS, "instrumented", "attributed"))
        assert mailings == _some(
            {
                key: Counter(each.counts, instrumented=each.instrumented, attributed=each.attributed)
                for key, each in found.mailings.items()
            }
        )
    return kept


def _rows(db: sqlite3.Connection, table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> Rows:
    rows = db.execute(f"SELECT {', '.join(keys + columns)} FROM {table}").fetchall()
    return _some({row[: len(keys)]: dict(zip(columns, row[len(keys) :], strict=True)) for row in rows})


def _some(rows: Any) -> Rows:
    """Rows less their zeros, less those that are nothing but zeros."""
    counted = {key: Counter({name: by for name, by in counts.items() if by}) for key, counts in rows.items()}
    return {key: counts for key, counts in counted.items() if counts}
