"""Hits of one copy in the light of each other, as the store keeps them: late ones, bursts, and very many."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.audit import audited
from tests.tracker.facts import NOW, accepted, hit
from tracker.model import Accepted, Fact, Hit, Link, LinkType
from tracker.store import rejudging
from tracker.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.open()
    yield store
    store.close()


def mail(links: int = 25, **changes: Any) -> Accepted:
    urls = [f"https://example.com/{n}" for n in range(links)]
    made = tuple(Link(n, url, url, f"Link {n}", LinkType.TRACKED, "r", True) for n, url in enumerate(urls, 1))
    return accepted(links=made, **changes)


def click(message: Accepted, position: int, at: float, who: int = 1) -> Hit:
    made = hit(message.id, who, 0, at)
    link = {"event": "click", "position": position, "url": f"https://example.com/{position}"}
    return Hit(**{**{name: getattr(made, name) for name in made.__slots__}, **link})


def counts(store: SqliteStore, message: Accepted) -> tuple[int, ...]:
    row = store.message(str(message.id))
    assert row is not None
    return tuple(row[name] for name in ("clicks", "unique_clicks", "machine_clicks"))


def test_clicks_that_turn_out_to_be_a_burst_are_taken_back(store: SqliteStore) -> None:
    message = mail()
    store.apply([message, click(message, 7, NOW + 5)])
    for n in range(1, 5):
        store.apply([click(message, n, NOW + 100 + n / 10)])
    assert counts(store, message) == (5, 1, 0)
    store.apply([click(message, 5, NOW + 100.5)])
    assert counts(store, message) == (1, 1, 5)
    kinds = [(event["class"], event["kind"]) for event in store.events(10, kind="click").rows]
    assert kinds == [("human", "browser"), *[("machine", "scanner")] * 5]
    person = store.recipients(str(message.id))[0]
    assert person["first_click_at"] == person["last_click_at"] == NOW + 5
    audited(store)


def test_a_first_click_that_is_taken_back_leaves_the_next_one_the_first(store: SqliteStore) -> None:
    message = mail()
    store.apply([message, click(message, 1, NOW + 100), hit(message.id, at=NOW + 50), click(message, 1, NOW + 500)])
    store.apply([click(message, n, NOW + 100 + n / 10) for n in range(2, 6)])
    with closing(sqlite3.connect(store.path)) as db:
        (borne,) = db.execute("SELECT counts FROM events WHERE at = ?", [NOW + 500]).fetchone()
    assert borne == '{"clicks":1,"unique_clicks":1,"both":1,"link_clicks":1,"link_unique_clicks":1}'
    assert counts(store, message) == (1, 1, 5)
    audited(store)


def test_how_many_links_there_are_may_become_known_later(store: SqliteStore) -> None:
    message = mail(3)
    store.apply([click(message, n, NOW + n / 10) for n in (1, 2, 3)])
    assert counts(store, message) == (3, 1, 0)
    store.apply([message])
    assert counts(store, message) == (0, 0, 3)
    audited(store)


def test_two_or_three_links_in_tabs_are_a_persons(store: SqliteStore) -> None:
    message = mail()
    store.apply([message, *(click(message, n, NOW + n / 10) for n in (1, 2, 3))])
    assert counts(store, message) == (3, 1, 0)


def test_a_hit_that_comes_late_moves_what_is_a_repeat(store: SqliteStore) -> None:
    message = mail()
    store.apply([message])
    for at in (0, 6, 12, 18, 24):
        store.apply([hit(message.id, at=NOW + at)])
    assert [event["kind"] for event in store.events(9, kind="open").rows] == ["browser", "repeat"] * 2 + ["browser"]
    store.apply([hit(message.id, at=NOW - 5)])
    in_time = sorted(store.events(9, kind="open").rows, key=lambda event: event["at"])
    assert [event["kind"] for event in in_time] == ["browser", "repeat"] * 3
    audited(store)


@pytest.mark.parametrize("late", [0, 10])
def test_very_many_hits_of_one_copy_are_each_looked_at_a_few_times(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """A scanner loops over 25 links, and a link that was passed on is opened again and again."""
    message, looked_at, between = mail(), 0, rejudging._between
    looping = [click(message, n % 25 + 1, NOW + n / 5) for n in range(4000)]
    opens = [hit(message.id, 2, at=NOW + n / 3) for n in range(4000)]
    chance = random.Random(3)
    told: list[Fact] = sorted([*looping, *opens], key=lambda each: each.at + chance.uniform(0, late))

    def counting(*asked: Any) -> list[Any]:
        nonlocal looked_at
        found = between(*asked)
        looked_at += len(found)
        return found

    monkeypatch.setattr(rejudging, "_between", counting)
    store.apply([message])
    for start in range(0, len(told), 100):
        store.apply(told[start : start + 100])
    assert looked_at < 25 * len(told)
    row = store.message(str(message.id))
    assert row is not None
    assert row["clicks"] == 0
    assert row["machine_clicks"] == 25 * 54  # each link every five seconds, every third time counted
    assert row["opens"] == 4000 // 31 + 1
    audited(store)
