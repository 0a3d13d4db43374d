"""What the relay knows of the lists: what the store says, a second later at most, and while it is away what it said."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay import known
from relay.known import OPTED_OUT, Known, Marks
from tests.e2e.harness import eventually
from tests.tracker.facts import NOW, no_mailbox, opted_out
from tracker.errors import StoreError
from tracker.model import DOES_NOT_EXIST, LinkType, Suppression, SuppressionKind, new_id
from tracker.store.sqlite import SqliteStore

ANN, BOB, SHOP, NEWS = "ann@example.net", "bob@example.net", "shop@example.com", "news@example.com"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.open()
    yield store
    store.close()


def told(store: SqliteStore) -> Known:
    knowing = Known(store)
    knowing.refresh()
    return knowing


def test_nothing_is_known_before_the_store_was_heard(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN)])
    knowing = Known(store)
    assert knowing.refusal(SHOP, ANN, marketing=True) is None
    assert not knowing.untracked(SHOP, ANN)
    assert knowing.saved_types(SHOP) == ()


def test_an_opt_out_holds_for_its_sender_and_its_kind(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN, SHOP), Suppression(BOB, SHOP, SuppressionKind.TRACKING)])
    knowing = told(store)
    assert knowing.refusal("Shop@Example.com", "ANN@example.net", marketing=True) == OPTED_OUT
    assert knowing.refusal(SHOP, ANN, marketing=False) is None
    assert knowing.refusal(NEWS, ANN, marketing=True) is None
    assert knowing.refusal(SHOP, BOB, marketing=True) is None
    assert (knowing.untracked(SHOP, BOB), knowing.untracked(NEWS, BOB), knowing.untracked(SHOP, ANN)) == (
        True,
        False,
        False,
    )


def test_an_entry_for_every_sender_holds_for_each(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN), Suppression(BOB, None, SuppressionKind.TRACKING)])
    knowing = told(store)
    assert knowing.refusal(NEWS, ANN, marketing=True) == OPTED_OUT
    assert knowing.refusal(NEWS, ANN, marketing=False) is None
    assert knowing.untracked(NEWS, BOB)


def test_who_does_not_exist_is_written_to_by_nobody(store: SqliteStore) -> None:
    store.apply([no_mailbox(new_id(NOW), address=ANN)])
    knowing = told(store)
    assert knowing.refusal(NEWS, ANN, marketing=False) == DOES_NOT_EXIST
    store.unsuppress(ANN)
    knowing.refresh()
    assert knowing.refusal(NEWS, ANN, marketing=True) is None


def test_saved_types_are_the_senders_own_and_everybodys(store: SqliteStore) -> None:
    store.save_link_type(None, "https://a.test/*", LinkType.NEVER)
    store.save_link_type(SHOP, "https://a.test/x", LinkType.MIRROR)
    knowing = told(store)
    assert knowing.saved_types("Shop@example.com") == (("https://a.test/x", "mirror"), ("https://a.test/*", "never"))
    assert knowing.saved_types(NEWS) == (("https://a.test/*", "never"),)
    store.save_link_type(None, "https://a.test/*", None)
    knowing.refresh()
    assert knowing.saved_types(NEWS) == ()


class Flaky(SqliteStore):
    away = False

    def suppression_changes(self, after: int, limit: int) -> Any:
        if self.away:
            raise StoreError("away")
        return super().suppression_changes(after, limit)


def test_changes_are_followed_and_survive_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "FOLLOW_SECONDS", 0.01)
    store = Flaky(tmp_path / "store.sqlite")
    store.open()
    knowing = told(store)
    knowing.start()
    store.apply([opted_out(new_id(NOW), sender=SHOP, address=ANN)])
    eventually(lambda: knowing.refusal(SHOP, ANN, marketing=True))
    store.away = True
    store.suppress([Suppression(BOB)])
    time.sleep(0.1)
    assert knowing.refusal(SHOP, ANN, marketing=True)
    assert not knowing.refusal(SHOP, BOB, marketing=True)
    store.away = False
    eventually(lambda: knowing.refusal(SHOP, BOB, marketing=True))
    knowing.stop()
    store.close()


def test_an_opt_out_is_heard_of_at_once(store: SqliteStore) -> None:
    knowing = told(store)
    knowing.start()
    store.apply([opted_out(new_id(NOW), sender=SHOP, address=ANN)])
    eventually(lambda: knowing.refusal(SHOP, ANN, marketing=True))
    store.unsuppress(ANN, None, None)
    eventually(lambda: not knowing.refusal(SHOP, ANN, marketing=True))
    knowing.stop()


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def test_a_new_store_in_the_old_ones_place_is_heard_anew(store: SqliteStore) -> None:
    store.suppress([Suppression(ANN), Suppression(BOB)])
    store.save_link_type(None, "https://a.test/*", LinkType.NEVER)
    knowing = told(store)
    remove(store.path)
    store.suppress([Suppression(BOB)])
    knowing.refresh()
    assert knowing.refusal(NEWS, BOB, marketing=True)
    assert not knowing.refusal(NEWS, ANN, marketing=True)
    assert knowing.saved_types(NEWS) == ()


@pytest.mark.parametrize(
    "later", [lambda store: store.unsuppress(BOB), lambda store: store.suppress([Suppression(BOB)])]
)
def test_an_older_state_of_the_store_is_heard_anew(
    store: SqliteStore, tmp_path: Path, later: Callable[[SqliteStore], object]
) -> None:
    store.suppress([Suppression(ANN)])
    store.close()
    copy = (tmp_path / "store.sqlite").read_bytes()
    later(store)
    store.suppress([Suppression("new@example.net")])
    knowing = told(store)
    assert knowing.refusal(NEWS, "new@example.net", marketing=True)
    store.close()
    remove(store.path)
    store.path.write_bytes(copy)
    knowing.refresh()
    assert knowing.refusal(NEWS, ANN, marketing=True)
    assert not knowing.refusal(NEWS, "new@example.net", marketing=True)


def test_many_are_known_in_little_memory(store: SqliteStore) -> None:
    store.suppress([Suppression(f"p{n}@example.net", SHOP) for n in range(12_000)])
    store.unsuppress("p7@example.net")
    knowing = told(store)
    assert all(knowing.refusal(SHOP, f"p{n}@example.net", marketing=True) for n in range(12_000) if n != 7)
    assert not any(knowing.refusal(SHOP, f"q{n}@example.net", marketing=True) for n in range(12_000))
    assert not knowing.refusal(SHOP, "p7@example.net", marketing=True)


def test_marks_are_a_set() -> None:
    chance, marks, model = random.Random(5), Marks(), set[int]()
    for _ in range(20_000):
        mark, present = (
            chance.randrange(1 << 64) if chance.random() < 0.6 else chance.randrange(500),
            chance.random() < 0.7,
        )
        marks.put(mark, present)
        (model.add if present else model.discard)(mark)
    assert all(mark in marks for mark in model)
    assert all((mark in marks) == (mark in model) for mark in range(600))
    assert len(marks._sorted) + len(marks._lately) < len(model) * 1.2
    assert marks._sorted.itemsize * len(marks._sorted) > 0
