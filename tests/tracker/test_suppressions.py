"""The suppression list and saved link types in the store: who is on it, what is counted, what followers hear."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.tracker.facts import NOW, accepted, no_mailbox, opted_in, opted_out
from tracker import facts
from tracker.model import DOES_NOT_EXIST, Fact, LinkType, Suppression, SuppressionKind, new_id
from tracker.store import migrations
from tracker.store.base import SuppressionFilter
from tracker.store.link_types import in_file, of_sender, saved_for
from tracker.store.sqlite import SqliteStore
from tracker.store.suppressions import mark_of

ANN, SHOP = "ann@example.net", "shop@example.com"
MAIL, TRACKING = SuppressionKind.MAIL, SuppressionKind.TRACKING


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite", clock=lambda: NOW + 1000)
    store.open()
    yield store
    store.close()


def entries(store: SqliteStore, **wanted: Any) -> list[tuple[str, str | None, str, str]]:
    rows = store.suppressions(SuppressionFilter(**wanted), 100).rows
    return [(row["address"], row["sender"], row["kind"], row["reason"]) for row in rows]


def opt_outs(store: SqliteStore, message: object) -> int:
    row = store.message(str(message))
    assert row is not None
    count: int = row["opt_outs"]
    return count


def standing(store: SqliteStore) -> set[tuple[bytes, str | None, str, bool]]:
    """What a follower who heard everything knows."""
    known = {}
    after, more = 0, True
    while more:
        found = store.suppression_changes(after, 3)
        for row in found.rows:
            known[row.mark, row.sender, row.kind] = row
        more, after = bool(found.rows), found.last
    return {(row.mark, row.sender, row.kind, row.always) for row in known.values() if row.standing}


def test_an_opt_out_is_listed_counted_and_in_the_timeline(store: SqliteStore) -> None:
    message = accepted()
    store.apply([message, opted_out(message.id)])
    assert entries(store) == [("person1@example.net", "news@example.com", "mail", "opt-out page")]
    assert opt_outs(store, message.id) == 1
    (event,) = store.events(10, kind="opt_out").rows
    assert (event["recipient_address"], event["kind"], event["class"]) == ("person1@example.net", "mail", None)


def test_taking_it_back_leaves_the_list_and_the_count(store: SqliteStore) -> None:
    message = accepted()
    store.apply([message, opted_out(message.id), opted_in(message.id)])
    assert entries(store) == []
    assert opt_outs(store, message.id) == 0
    assert [event["type"] for event in store.events(10).rows] == ["accepted", "opt_out", "opt_in"]
    store.apply([opted_out(message.id, at=NOW + 300)])
    assert len(entries(store)) == opt_outs(store, message.id) == 1


def test_who_opts_out_twice_counts_once_in_each_message(store: SqliteStore) -> None:
    first, second = accepted(), accepted(at=NOW + 5)
    store.apply([first, second, opted_out(first.id), opted_out(first.id, at=NOW + 90), opted_out(second.id)])
    assert (opt_outs(store, first.id), opt_outs(store, second.id), len(entries(store))) == (1, 1, 1)


def test_no_tracking_is_no_opt_out(store: SqliteStore) -> None:
    message = accepted()
    store.apply([message, opted_out(message.id, kind=TRACKING)])
    assert entries(store, kind=TRACKING) == [("person1@example.net", "news@example.com", "tracking", "opt-out page")]
    assert entries(store, kind=MAIL) == []
    assert opt_outs(store, message.id) == 0
    store.apply([opted_out(message.id), opted_in(message.id, kind=TRACKING, at=NOW + 200)])
    assert [entry[2] for entry in entries(store)] == ["mail"]
    assert opt_outs(store, message.id) == 1


def test_an_opt_out_of_a_lost_message_waits_for_it(store: SqliteStore) -> None:
    message = accepted()
    store.apply([opted_out(message.id)])
    assert opt_outs(store, message.id) == 1
    store.apply([message])
    assert opt_outs(store, message.id) == 1
    assert store.message(str(message.id))["recipients"] == 2  # type: ignore[index]


def test_without_attribution_the_message_does_not_know_who(store: SqliteStore) -> None:
    message = accepted(attributed=False)
    store.apply([opted_out(message.id, None), opted_out(message.id, None, at=NOW + 200), message])
    assert opt_outs(store, message.id) == 1
    (event, _) = store.events(10, kind="opt_out").rows
    assert event["recipient"] is None
    with sqlite3.connect(store.path) as db:
        (who,) = db.execute("SELECT who FROM opt_outs").fetchone()
        assert db.execute("SELECT count(*) FROM suppressions WHERE mark = ?", [who]).fetchone() == (0,)
    db.close()


FACTS: list[Fact] = [
    opted_out(new_id(NOW), at=NOW + 10),
    opted_in(new_id(NOW), at=NOW + 20),
    opted_out(new_id(NOW), at=NOW + 30, kind=TRACKING),
    no_mailbox(new_id(NOW), at=NOW + 15),
]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_latest_decision_holds_in_whatever_order_they_come(store: SqliteStore, order: tuple[int, ...]) -> None:
    facts_in_order = [FACTS[n] for n in order]
    for fact in facts_in_order:
        store.apply([fact, fact])
    store.apply(facts_in_order)
    assert {(row[1], row[2], row[3]) for row in entries(store)} == {
        (None, "mail", DOES_NOT_EXIST),
        ("news@example.com", "tracking", "opt-out page"),
    }


def test_a_fact_told_again_does_not_undo_what_was_done_by_hand(store: SqliteStore) -> None:
    message = accepted()
    told: list[Fact] = [message, opted_out(message.id), no_mailbox(message.id)]
    store.apply(told)
    assert store.unsuppress("PERSON1@example.net") == 2
    store.apply(told)
    assert entries(store) == []
    store.apply([no_mailbox(message.id, at=NOW + 5000)])
    assert entries(store) == [("person1@example.net", None, "mail", DOES_NOT_EXIST)]


def test_what_is_done_by_hand_holds_though_a_clock_was_ahead(store: SqliteStore) -> None:
    message = accepted()
    store.apply([opted_out(message.id, at=NOW + 9_000_000)])
    assert store.unsuppress("person1@example.net", "news@example.com", MAIL) == 1
    assert entries(store) == []
    assert store.suppress([Suppression("person1@example.net", "news@example.com")]) == 1
    assert len(entries(store)) == 1


def test_who_does_not_exist_stays_so_when_listed_by_hand(store: SqliteStore) -> None:
    store.apply([no_mailbox(new_id(NOW))])
    assert store.suppress([Suppression("Person1@Example.net", reason="asked by phone")]) == 0
    assert entries(store) == [("Person1@Example.net", None, "mail", DOES_NOT_EXIST)]


def test_the_list_is_filtered_and_paged(store: SqliteStore) -> None:
    store.suppress([Suppression(f"p{n}@example.net", SHOP if n % 2 else None, since=NOW + n // 3) for n in range(20)])
    assert {row[0] for row in entries(store, address="P3@EXAMPLE.NET")} == {"p3@example.net"}
    assert len(entries(store, sender="Shop@example.com")) == len(entries(store, sender="")) == 10
    assert {row[0] for row in entries(store, q="p1@")} == {"p1@example.net"}
    assert len(entries(store, q="shop@")) == 10
    assert entries(store, q="%") == []
    seen: list[str] = []
    cursor, more = None, True
    while more:
        page = store.suppressions(SuppressionFilter(), 3, cursor)
        seen += [row["address"] for row in page.rows]
        cursor, more = page.next, page.next is not None
    assert sorted(seen) == sorted(f"p{n}@example.net" for n in range(20))
    with pytest.raises(ValueError, match="cursor"):
        store.suppressions(SuppressionFilter(), 3, '["a"]')


def test_a_removal_says_how_much_it_removed(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN), Suppression(ANN, SHOP), Suppression(ANN, SHOP, TRACKING)])
    assert store.unsuppress("nobody@example.net") == 0
    assert store.unsuppress(ANN, kind=TRACKING) == 1
    assert store.unsuppress(ANN, sender="") == 1
    assert store.unsuppress(ANN, sender=SHOP) == 1
    assert store.unsuppress(ANN) == 0


def test_a_removed_entry_keeps_no_address(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN, SHOP, reason="asked by phone")])
    store.unsuppress(ANN)
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT address, reason FROM suppressions").fetchall() == [(None, "")]
    db.close()


def test_a_forgotten_address_stays_on_the_list(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN, SHOP)])
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE suppressions SET address = NULL")
    db.close()
    assert entries(store, address="ANN@example.net") == [(None, SHOP, "mail", "")]
    key = store.suppression_changes(0, 10).key
    assert standing(store) == {(mark_of(key, ANN), SHOP, MAIL, False)}
    assert store.unsuppress(ANN) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "dead"]),
        st.sampled_from(["a@example.net", "b@example.net"]),
        st.sampled_from([None, SHOP]),
        st.sampled_from([MAIL, TRACKING]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_a_follower_knows_what_the_list_says(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("list") / "s.sqlite", clock=lambda: NOW)
    store.open()
    expected: dict[tuple[str, str | None, str], bool] = {}
    for turn, (step, address, sender, kind) in enumerate(steps):
        if step == "add":
            store.suppress([Suppression(address, sender, kind)])
            expected.setdefault((address, sender, kind), False)
        elif step == "remove":
            store.unsuppress(address, sender or "", kind)
            expected.pop((address, sender, kind), None)
        else:
            store.apply([no_mailbox(new_id(NOW), address=address, at=NOW + turn + 1)])
            expected[address, None, MAIL] = True
    found = store.suppression_changes(0, 100)
    assert standing(store) == {
        (mark_of(found.key, address), sender, kind, always) for (address, sender, kind), always in expected.items()
    }
    assert found.newest == found.last
    store.close()


def test_followers_hear_of_every_change_of_several_writers(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "s.sqlite") for _ in range(3)]
    stores[0].open()

    def write(number: int) -> None:
        for turn in range(40):
            stores[number].suppress([Suppression(f"p{turn}@{number}.test")])

    heard: list[bytes] = []
    threads = [threading.Thread(target=write, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    after = 0
    while any(thread.is_alive() for thread in threads) or stores[0].suppression_changes(after, 1).rows:
        found = stores[0].suppression_changes(after, 7)
        heard += [row.mark for row in found.rows]
        after = found.last
    assert len(heard) == len(set(heard)) == 80
    for store in stores:
        store.close()


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path, steps = tmp_path / "s.sqlite", migrations.STEPS
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            migrations.STEPS = steps[:1]
            migrations.migrate(Database(db))
        finally:
            migrations.STEPS = steps
    store = SqliteStore(path)
    message = accepted()
    store.apply([message, opted_out(message.id)])
    assert opt_outs(store, message.id) == 1
    store.close()


def test_marks_are_of_one_store_alone_and_take_no_heed_of_case(tmp_path: Path, store: SqliteStore) -> None:
    other = SqliteStore(tmp_path / "other.sqlite")
    other.open()
    keys = [each.suppression_changes(0, 1).key for each in (store, other)]
    assert keys[0] != keys[1]
    assert mark_of(keys[0], "Ann@Example.NET") == mark_of(keys[0], ANN) != mark_of(keys[1], ANN)
    other.close()


@pytest.mark.parametrize("fact", [opted_out(new_id(NOW), None), opted_in(new_id(NOW)), no_mailbox(new_id(NOW))])
def test_facts_can_wait_in_a_journal(fact: Fact) -> None:
    assert facts.decode(facts.encode(fact)) == fact


# -- saved link types ------------------------------------------------------------------------------------------------


def test_a_type_is_saved_changed_and_taken_back(store: SqliteStore) -> None:
    store.save_link_type(None, "https://example.com/reset/*", LinkType.NEVER)
    store.save_link_type(SHOP.upper(), "https://example.com/bye", LinkType.OPT_OUT)
    store.save_link_type(None, "https://example.com/reset/*", LinkType.TRACKED)
    assert [(row["url"], row["sender"], row["type"]) for row in store.link_types()] == [
        ("https://example.com/bye", SHOP, "opt_out"),
        ("https://example.com/reset/*", None, "tracked"),
    ]
    first = store.link_type_changes(0, 1)
    store.save_link_type(SHOP, "https://example.com/bye", None)
    store.save_link_type(SHOP, "https://example.com/never-saved", None)
    rest = store.link_type_changes(first.last, 10)
    assert {(row.sender, row.type) for row in rest.rows} == {(None, LinkType.TRACKED), (SHOP, None)}
    assert len(store.link_types()) == 1


def test_urls_show_the_type_saved_for_them(store: SqliteStore) -> None:
    store.apply([accepted()])
    store.save_link_type(None, "https://example.com/*", LinkType.NEVER)
    store.save_link_type("news@example.com", "https://example.com/1", LinkType.MIRROR)
    assert {row["saved_type"] for row in store.urls(None, 9).rows} == {"never"}
    assert [row["saved_type"] for row in store.urls("news@example.com", 9).rows] == [
        "mirror",
        "never",
        "never",
        "never",
    ]
    assert store.urls("other@example.com", 9).rows == []


@pytest.mark.parametrize(
    ("url", "type"),
    [
        ("https://a.test/x", "tracked"),
        ("https://a.test/x?q=1#f", "tracked"),
        ("https://a.test/x/y", "never"),
        ("https://a.test/q?a=[1]", "mirror"),
        ("https://b.test/", "opt_out"),
        ("https://c.test/", None),
    ],
)
def test_the_most_telling_saved_type_of_the_sender_holds(store: SqliteStore, url: str, type: str | None) -> None:
    store.save_link_type(None, "https://?.test/*", LinkType.OPT_OUT)
    store.save_link_type(SHOP, "https://a.test/*", LinkType.NEVER)
    store.save_link_type(SHOP, "https://a.test/x", LinkType.TRACKED)
    store.save_link_type(SHOP, "https://a.test/q?a=[1]", LinkType.MIRROR)
    store.save_link_type("other@example.com", "https://c.test/", LinkType.NEVER)
    store.save_link_type(None, "https://c.test/", LinkType.NEVER)
    store.save_link_type(None, "https://?.test/*", None)
    store.save_link_type(None, "https://b.test/*", LinkType.OPT_OUT)
    store.save_link_type(None, "https://c.test/", None)
    assert saved_for(url, of_sender(store.link_type_changes(0, 100).rows, SHOP)) == type


def test_saved_types_are_read_from_a_file_that_is_not_written_to(store: SqliteStore, tmp_path: Path) -> None:
    store.save_link_type(SHOP, "https://a.test/*", LinkType.NEVER)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert in_file(store.path, SHOP) == (("https://a.test/*", "never"),)
    assert in_file(store.path, "other@example.com") == ()
    assert {
        path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".sqlite-shm"
    }.items() <= before.items()
    assert in_file(tmp_path / "absent", SHOP) == ()
    assert not (tmp_path / "absent").exists()
    (tmp_path / "other").write_text("no database")
    assert in_file(tmp_path / "other", SHOP) == ()
