"""Copies that came back, and complaints, in the store: counted once, in whatever order they are heard of."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracker.facts import NOW, accepted, outcome
from tracker.facts import decode, encode
from tracker.model import (
    BounceKind,
    Complained,
    Fact,
    NoMailbox,
    OptedIn,
    Recipient,
    Returned,
    Status,
    SuppressionKind,
    Unwanted,
    new_id,
)
from tracker.store.base import SuppressionFilter
from tracker.store.sqlite import SqliteStore

ANN = "ann@example.net"
MESSAGE = new_id(NOW)
COUNTS = ("recipients", "sent", "delivered", "bounced", "errors", "pending", "complaints")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite", clock=lambda: NOW + 5000)
    store.open()
    yield store
    store.close()


def mail(**changes) -> Fact:
    person = (Recipient(1, ANN),)
    return accepted(MESSAGE, recipients=person, reverse_path="app@example.com", **changes)


def back(kind: str = "hard", at: float = NOW + 5, status: str = "5.1.1") -> Returned:
    return Returned(MESSAGE, 1, at, BounceKind(kind), status, f"550 {status} no")


def complained(at: float = NOW + 9) -> Complained:
    return Complained(MESSAGE, 1, at, "abuse", "Loop/1.0")


def unwanted(at: float = NOW + 5) -> Unwanted:
    return Unwanted(MESSAGE, 1, "news@example.com", ANN, at, "mail came back (5.4.1)")


def counts(store: SqliteStore) -> dict[str, int]:
    row = store.message(str(MESSAGE))
    assert row is not None
    return {name: row[name] for name in COUNTS}


def events(store: SqliteStore, *types: str) -> list[tuple]:
    rows = store.events(100, message=str(MESSAGE)).rows
    return [(row["type"], row["kind"]) for row in rows if row["type"] in types]


BOUNCED = {"recipients": 1, "sent": 1, "delivered": 0, "bounced": 1, "errors": 0, "pending": 0, "complaints": 0}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_bounce_stands_whenever_it_is_heard_of(store, order):
    facts = [mail(), outcome(MESSAGE, at=NOW + 6), back(at=NOW + 5)]  # by the clock of another machine it came first
    for number in order:
        store.apply([facts[number]])
    assert counts(store) == BOUNCED
    assert events(store, "bounced") == [("bounced", "hard")]
    (person,) = store.recipients(str(MESSAGE))
    assert (person["status"], person["reply"]) == ("bounced", "550 5.1.1 no")


def test_the_same_bounce_counts_once(store):
    store.apply([mail(), outcome(MESSAGE), back(), back()])
    store.apply([back(at=NOW + 700)])
    store.apply([back(at=NOW + 800, status="5.4.1")])
    assert counts(store) == BOUNCED
    assert events(store, "bounced") == [("bounced", "hard")]


@pytest.mark.parametrize("kinds", [("soft", "hard"), ("hard", "soft")])
def test_soft_and_hard_are_one_bounce(store, kinds):
    store.apply([mail(), outcome(MESSAGE), *(back(kind, NOW + number) for number, kind in enumerate(kinds, 5))])
    assert counts(store) == BOUNCED


def test_a_delay_changes_nothing_but_the_timeline(store):
    store.apply([mail(), outcome(MESSAGE), back("delayed", status="4.4.1"), back("delayed", NOW + 99, "4.4.1")])
    assert counts(store) == {**BOUNCED, "delivered": 1, "bounced": 0}
    assert events(store, "deferred") == [("deferred", "delayed")]
    (person,) = store.recipients(str(MESSAGE))
    assert person["status"] == "sent"


def test_what_nobody_understands_is_kept_once_as_unknown_and_moves_no_count(store):
    store.apply([mail(), outcome(MESSAGE, 1, Status.SENT, NOW + 1)])
    before = store.message(str(MESSAGE))
    for at in (NOW + 5, NOW + 50):
        store.apply([Returned(MESSAGE, 1, at, BounceKind.UNKNOWN, "", "")])
    assert store.message(str(MESSAGE)) == before
    kinds = [row["kind"] for row in store.events(100, message=str(MESSAGE)).rows if row["type"] == "returned"]
    assert kinds == ["unknown"]
    store.apply([back(at=NOW + 60)])  # a bounce after it counts all the same
    assert store.message(str(MESSAGE))["bounced"] == 1


def test_a_try_after_the_bounce_does_not_undo_it(store):
    store.apply([mail(), outcome(MESSAGE), back()])
    store.apply([outcome(MESSAGE, status=Status.PENDING, at=NOW + 20), outcome(MESSAGE, at=NOW + 30)])
    assert counts(store) == BOUNCED


def test_a_complaint_counts_once_and_leaves_the_copy_delivered(store):
    store.apply([mail(), outcome(MESSAGE), complained()])
    store.apply([complained(NOW + 50)])
    assert counts(store) == {**BOUNCED, "delivered": 1, "bounced": 0, "complaints": 1}
    assert events(store, "complaint") == [("complaint", "abuse")]


def test_who_is_unwanted_gets_no_marketing_mail_of_that_sender(store):
    store.apply([mail(), unwanted()])
    (entry,) = store.suppressions(SuppressionFilter(), 10).rows
    assert (entry["address"], entry["sender"], entry["kind"]) == (ANN, "news@example.com", "mail")
    assert (entry["reason"], entry["since"]) == ("mail came back (5.4.1)", NOW + 5)
    (change,) = store.suppression_changes(0, 10).rows
    assert not change.always
    taken_back = OptedIn(new_id(), NOW + 7, MESSAGE, 1, "news@example.com", ANN, SuppressionKind.MAIL, "page")
    store.apply([taken_back, unwanted()])
    assert store.suppressions(SuppressionFilter(), 10).rows == []


def test_where_a_mail_came_from_is_known_while_it_is_kept(store):
    assert store.origin(str(MESSAGE), 1) is None
    store.apply([outcome(MESSAGE)])
    assert store.origin(str(MESSAGE), 1) is None
    store.apply([mail()])
    origin = {"sender": "news@example.com", "reverse_path": "app@example.com", "address": ANN}
    assert store.origin(str(MESSAGE), 1) == origin
    assert store.origin(str(MESSAGE), 2) == {**origin, "address": None}
    store.drop_recipients(NOW + 1, 10)
    assert store.origin(str(MESSAGE), 1) == {"sender": "news@example.com", "reverse_path": None, "address": None}


@pytest.mark.parametrize("reverse_path", ["bounce+ann=example.net@example.com", ANN, f"x-{ANN}"])
def test_with_a_person_goes_the_reverse_path_of_its_mail(store, tmp_path, reverse_path):
    other = accepted(new_id(NOW), recipients=(Recipient(1, "bob@example.net"),), reverse_path=ANN.upper())
    store.apply([mail(), other, back(), unwanted(), complained()])
    store.forget(ANN)
    assert store.origin(str(MESSAGE), 1) == {"sender": "news@example.com", "reverse_path": None, "address": None}
    found = store.origin(str(other.id), 1)
    assert found is not None
    assert found["reverse_path"] is None
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        assert not [line for line in db.iterdump() if "ann" in line.lower() and "example.net" in line]
    (entry,) = store.suppressions(SuppressionFilter(), 10).rows
    assert entry["address"] is None
    store.apply([mail(), back("soft"), unwanted(NOW + 6)])  # told again, by what lay in a spool
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        assert not [line for line in db.iterdump() if ANN in line.lower()]


@pytest.mark.parametrize("fact", [mail(), back(), back("delayed"), complained(), unwanted()])
def test_they_survive_on_disk(fact):
    assert decode(encode(fact)) == fact


def test_a_record_from_before_has_no_reverse_path():
    old = encode(mail()).replace(b',"reverse_path":"app@example.com"', b"")
    assert old != encode(mail())
    assert decode(old).reverse_path is None


STEPS = [
    outcome(MESSAGE, at=NOW + 3),
    outcome(MESSAGE, status=Status.PENDING, at=NOW + 1),
    back("soft"),
    back("hard", NOW + 8),
    back("delayed", NOW + 4),
    complained(),
    NoMailbox(MESSAGE, 1, ANN, NOW + 8),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.permutations([mail(), *STEPS]), min_size=1, max_size=2))
def test_no_order_and_no_repetition_changes_the_counts(tmp_path_factory, rounds: Sequence[Sequence[Fact]]):
    store = SqliteStore(tmp_path_factory.mktemp("store") / "store.sqlite", clock=lambda: NOW + 5000)
    store.open()
    try:
        for facts in rounds:
            for fact in facts:
                store.apply([fact])
        assert counts(store) == {**BOUNCED, "complaints": 1}
    finally:
        store.close()
