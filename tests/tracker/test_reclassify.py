"""Stored hits under the rules of today: as if they had been judged so when they came in, and counted so."""

from __future__ import annotations

import math
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracker.facts import BROWSER, NOW, accepted, hit, outcome
from tracker.hits.classify import classify
from tracker.hits.rules import RULES_VERSION
from tracker.model import Fact, Hit, HitClass, Verdict, new_id
from tracker.store.base import Judgement, MessageFilter, ReportFilter
from tracker.store.sqlite import SqliteStore

MESSAGE = new_id(NOW)
HUMAN = Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1, "browser")
BOT = Verdict(HitClass.MACHINE, "bot", "a program's agent, not a browser's", 1, "library")
EVER = (-math.inf, math.inf)


def store_with(folder: Path, facts: Iterable[Fact], name: str = "store") -> SqliteStore:
    store = SqliteStore(folder / f"{name}.sqlite", clock=lambda: NOW)
    for fact in facts:
        store.apply([fact])
    return store


def mail(message: UUID = MESSAGE) -> list[Fact]:
    return [accepted(message, NOW), outcome(message, 1), outcome(message, 2)]


def judged_wrong(agent: str = "curl/8.5.0", verdict: Verdict = HUMAN, **about: Any) -> Hit:
    """A hit with its whole agent, that older rules judged otherwise than today's."""
    return replace(hit(MESSAGE, agent=agent, whole=True, **about), verdict=verdict)


def everything(store: SqliteStore) -> Mapping[str, Any]:
    """All that is counted and judged."""
    rows = {
        "message": store.message(str(MESSAGE)),
        "links": store.links(str(MESSAGE), 100).rows,
        "recipients": store.recipients(str(MESSAGE)),
        "totals": store.totals(ReportFilter(), NOW - 1000, NOW + 10_000),
        "so far": store.totals(ReportFilter(), NOW - 1000, NOW + 10_000, cohort=True),
        "clients": store.breakdown(ReportFilter(), "client", NOW - 1000, NOW + 10_000, ("opens", "clicks"), 100),
        "mailings": store.mailings(MessageFilter(), 100).rows,
    }
    events = sorted(store.events(1000, message=str(MESSAGE)).rows, key=lambda row: row["id"])
    judged = [(row["id"], row["class"], row["kind"], row["reason"]) for row in events if row["class"]]
    return {**rows, "events": judged}


def test_hits_are_judged_by_the_rules_of_today_and_counts_follow(tmp_path: Path) -> None:
    hits = [
        judged_wrong(),
        judged_wrong(position=1, at=NOW + 70),
        judged_wrong(BROWSER, BOT, recipient=2, at=NOW + 80),
        judged_wrong(BROWSER, BOT, recipient=2, position=2, at=NOW + 90),
        judged_wrong(BROWSER, HUMAN, recipient=2, position=2, at=NOW + 95),
    ]
    store = store_with(tmp_path, mail() + hits)
    before = store.message(str(MESSAGE))
    assert before is not None
    assert (before["opens"], before["clicks"], before["machine_opens"], before["machine_clicks"]) == (1, 2, 1, 1)
    found, after = store.reclassify(None, 10, *EVER)
    assert (found.hits, after) == (5, None)
    human, bot, repeat = Judgement("human", "browser"), Judgement("machine", "bot"), Judgement("human", "repeat")
    assert found.moved == {(human, bot): 2, (bot, human): 2, (human, repeat): 1}
    right = [replace(each, verdict=classify(each)) for each in hits]
    assert everything(store) == everything(store_with(tmp_path, mail() + right, "right"))
    assert {row["rules"] for row in store.events(100).rows if row["class"]} == {RULES_VERSION}
    again, _ = store.reclassify(None, 10, *EVER)
    assert (again.hits, again.moved) == (5, {})


AGENTS = ("curl/8.5.0", BROWSER, "Mozilla/5.0", "Barracuda Sentinel (EE)", "BarracudaCentral")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400).map(lambda tenths: NOW + 60 + tenths / 10),
            st.sampled_from([1, 1, 2, None]),
            st.sampled_from([0, 1, 2, 3, 4]),
            st.sampled_from(AGENTS),
            st.sampled_from([None, HUMAN, BOT]),
            st.sampled_from(["GET", "GET", "HEAD"]),
        ),
        max_size=12,
    )
)
def test_it_is_as_if_they_had_been_judged_so_at_first(rows: list[tuple[Any, ...]]) -> None:
    hits = [
        replace(hit(MESSAGE, recipient, position, at, agent=agent, method=method, whole=True), verdict=verdict)
        for at, recipient, position, agent, verdict, method in rows
    ]
    right = [replace(each, verdict=classify(each)) for each in hits]
    with tempfile.TemporaryDirectory() as folder:
        store, other = (
            store_with(Path(folder), mail() + facts, name) for name, facts in (("before", hits), ("right", right))
        )
        foreseen, _ = store.reclassify(None, 10, *EVER, dry_run=True)
        found, _ = store.reclassify(None, 10, *EVER)
        assert found == foreseen
        assert everything(store) == everything(other)
        store.close()
        other.close()


def test_what_was_never_counted_by_time_is_counted_too(tmp_path: Path) -> None:
    hits = [judged_wrong(), judged_wrong(BROWSER, BOT, position=1, at=NOW + 70)]
    store = store_with(tmp_path, mail() + hits)
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE messages SET counted = 0")
        db.execute("UPDATE events SET counts = NULL")
        for table in ("moves", "counts", "mailings", "mailing_links"):
            db.execute(f"DELETE FROM {table}")
    store.reclassify(None, 10, *EVER)
    right = [replace(each, verdict=classify(each)) for each in hits]
    assert everything(store) == everything(store_with(tmp_path, mail() + right, "right"))


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    store = store_with(tmp_path, [*mail(), judged_wrong()])
    before = everything(store)
    found, _ = store.reclassify(None, 10, *EVER, dry_run=True)
    assert sum(found.moved.values()) == 1
    assert everything(store) == before
    assert store.reclassify(None, 10, *EVER)[0] == found


def test_a_period_limits_what_is_judged_anew(tmp_path: Path) -> None:
    store = store_with(tmp_path, [*mail(), *(judged_wrong(at=NOW + 60 * n) for n in range(1, 6))])
    found, _ = store.reclassify(None, 10, NOW + 120, NOW + 240)
    assert (found.hits, sum(found.moved.values())) == (2, 2)
    row = store.message(str(MESSAGE))
    assert row is not None
    assert (row["opens"], row["machine_opens"]) == (3, 2)


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    mails = [new_id(NOW + n) for n in range(7)]
    facts = [judged_wrong(at=NOW + 100 + n) for n in range(7)]
    store = store_with(tmp_path, [replace(each, message=mail) for each, mail in zip(facts, mails, strict=True)])
    after, bites = None, 0
    while True:
        found, after = store.reclassify(after, 2, *EVER)
        bites += 1
        assert found.hits <= 2
        if after is None:
            break
    assert bites == 4
    assert all(row["machine_opens"] == 1 for row in map(store.message, map(str, mails)) if row)


def test_hits_of_nobody_are_judged_anew_too(tmp_path: Path) -> None:
    seen = replace(hit(MESSAGE, None, 1, agent=None, method="HEAD"), verdict=HUMAN)
    store = store_with(tmp_path, [seen])
    store.reclassify(None, 10, *EVER)
    row = store.message(str(MESSAGE))
    assert row is not None
    assert (row["clicks"], row["machine_clicks"]) == (0, 1)


def test_what_was_cut_down_keeps_its_verdict(tmp_path: Path) -> None:
    seen = hit(MESSAGE, 1, 1, agent="curl/8.5.0")
    kept = replace(seen, verdict=classify(seen), agent="curl")
    store = store_with(tmp_path, [*mail(), kept])
    found, _ = store.reclassify(None, 10, *EVER)
    assert (found.hits, found.moved) == (1, {})


def test_a_forgotten_person_s_hits_keep_their_verdict(tmp_path: Path) -> None:
    store = store_with(tmp_path, [*mail(), judged_wrong(), judged_wrong(BROWSER, BOT, position=1, at=NOW + 70)])
    store.forget("person1@example.net")
    before = everything(store)
    found, _ = store.reclassify(None, 10, *EVER)
    assert found.moved == {}
    assert everything(store) == before


def test_hits_come_in_meanwhile(tmp_path: Path) -> None:
    mails = [new_id(NOW + n) for n in range(30)]
    store = store_with(tmp_path, [replace(judged_wrong(), message=mail) for mail in mails])
    begun, stop = threading.Event(), threading.Event()
    came = 0

    def come_in() -> None:
        nonlocal came
        while not stop.is_set():
            store.apply([replace(hit(mails[came % 30], 1, 1, NOW + 100 + came), verdict=None)])
            came += 1
            begun.set()

    thread = threading.Thread(target=come_in)
    thread.start()
    try:
        assert begun.wait(60)
        after, moved = None, 0
        while True:
            found, after = store.reclassify(after, 5, *EVER)
            moved += sum(found.moved.values())
            if after is None:
                break
    finally:
        stop.set()
        thread.join()
    assert moved >= 30
    rows = [row for row in map(store.message, map(str, mails)) if row]
    assert sum(row["machine_opens"] for row in rows) == 30
    assert sum(row["clicks"] for row in rows) > 0


@pytest.mark.parametrize("after", [None, "zzz"])
def test_where_there_is_nothing_there_is_nothing_to_judge(tmp_path: Path, after: str | None) -> None:
    found, then = SqliteStore(tmp_path / "s.sqlite").reclassify(after, 10, *EVER)
    assert (found.hits, found.moved, then) == (0, {}, None)
