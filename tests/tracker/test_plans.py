"""No statement that is run for every hit, every mail or every report reads a whole table that grows with them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.tracker.facts import NOW, accepted, hit, outcome
from tracker.model import Recipient, new_id
from tracker.reading import reports
from tracker.store.base import MessageFilter, ReportFilter
from tracker.store.sqlite import SqliteStore

GROWING = "events|messages|recipients|links|touches|counts|mailings|mailing_links|opt_outs|pages"
WHOLE = re.compile(rf"SCAN (?:{GROWING})\b")
SHORT = re.compile(r"\bLIMIT\b|\bmax\(recorded\)")
"""What reads an index from its end, and stops."""


class Watched(SqliteStore):
    """A store that notes what it is asked to run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, clock=lambda: NOW + 5000)
        self.run: set[str] = set()

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self.run.add)
        return connection


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Watched]:
    store = Watched(tmp_path / "store.sqlite")
    store.open()
    store.run.clear()
    yield store
    store.close()


def whole(store: Watched) -> list[str]:
    """The statements that read whole tables, and how."""
    found = []
    with sqlite3.connect(store.path) as db:
        for sql in store.run:
            if sql.startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")) and not SHORT.search(sql):
                plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
                found += [f"{line}: {sql[:160]}" for line in plan if WHOLE.match(line)]
    db.close()
    return found


def test_neither_mail_nor_hits_nor_reports_read_whole_tables(store: Watched) -> None:
    message = new_id(NOW)
    people = tuple(Recipient(n, f"r{n}@example.net") for n in range(1, 4))
    store.apply([accepted(message, recipients=people), *(outcome(message, n) for n in (1, 2, 3))])
    for turn in range(3):  # apart, at once as in a burst, and late
        store.apply([hit(message, n, place, NOW + 50 + n * turn + place / 9) for n in (1, 2, 3) for place in (0, 1, 2)])
    store.apply([hit(message, 1, 1, NOW + 40)])
    while store.roll(1000):
        pass
    period = reports.overall({"from": "2020-01-01T10:11:12Z", "to": "2020-01-01T11:12:13Z"}, NOW, ZoneInfo("UTC"))
    reports.report(store, period, ReportFilter(), ZoneInfo("UTC"))
    store.mailings(MessageFilter(), 10)
    store.drop_events(NOW + 9000, 5)
    assert any("wanted_" in sql for sql in store.run)
    assert whole(store) == []


def test_such_a_statement_would_be_seen(store: Watched) -> None:
    store.run.add("SELECT message FROM recipients WHERE (message, ordinal) IN (VALUES ('x', 1), ('y', 2))")
    assert len(whole(store)) == 1
