"""A person is forgotten in the store: nothing names it, nobody else loses anything, counts stay."""

from __future__ import annotations

import base64
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.tracker.audit import Rows, audited
from tests.tracker.facts import NOW, accepted, hit, no_mailbox, opted_out, outcome
from tracker.errors import StoreError
from tracker.mirror import Document, Kind, Splice, pack, unpack
from tracker.model import (
    Accepted,
    BounceKind,
    Complained,
    Fact,
    Hit,
    Link,
    LinkType,
    MirrorPage,
    Outcome,
    Recipient,
    Returned,
    Status,
    Suppression,
    SuppressionKind,
    Unwanted,
)
from tracker.redaction import octets_hold
from tracker.store.base import MessageFilter, SuppressionFilter
from tracker.store.sqlite import SqliteStore

ANN = "Ann.Lee+News@Example.net"
BOB = "bob@example.net"
COUNTS = ("recipients", "sent", "bounced", "pending", "opens", "unique_opens", "clicks", "unique_clicks")
WAYS = [
    f"https://x.test/u?e={quote(ANN)}",
    f"https://x.test/u?e={quote(ANN, safe='').lower()}&a=1",
    f"https://x.test/u/{ANN}/off",
    f"https://x.test/u?e={quote(quote(ANN, safe=''), safe='')}",
    f"https://x.test/u?t={base64.urlsafe_b64encode(ANN.encode()).decode()}",
    "https://x.test/plain?a=1",
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data" / "store.sqlite", clock=lambda: NOW + 5000)
    store.open()
    yield store
    store.close()


def links(*urls: str, label: str = "Read on") -> tuple[Link, ...]:
    return tuple(Link(n, url, url, label, LinkType.TRACKED, "default", True) for n, url in enumerate(urls, 1))


def to(*people: str, at: float = NOW, **more: Any) -> Accepted:
    recipients = tuple(Recipient(number, person) for number, person in enumerate(people, 1))
    return accepted(at=at, recipients=recipients, **more)


def click(message: Accepted, ordinal: int, position: int, at: float = NOW + 60) -> Hit:
    made = hit(message.id, ordinal, 1, at + 20 * position, url=WAYS[position - 1])
    return replace(made, position=position)


def said(message: Accepted, recipient: int, reply: str) -> Outcome:
    return Outcome(message.id, recipient, Status.BOUNCED, NOW + 1, reply)


def history(store: SqliteStore) -> list[Accepted]:
    """Mail to Ann alone, to Ann and Bob, to Bob, and to Bob about Ann."""
    alone = to(ANN.lower(), links=links(*WAYS), subject="Dear Ann", metadata={"customer": "4711"}, tag="t1")
    both = to(
        BOB, ANN, links=links(*WAYS, label=f"for {ANN}"), subject=f"For {ANN} and Bob", metadata={"a": ANN, "b": "1"}
    )
    other = to(BOB, links=links("https://x.test/bob?e=bob%40example.net"), subject="Dear Bob")
    about = to(
        BOB, subject=f"{ANN.upper()} wrote", tag=ANN, mailing=f"by {ANN}", message_id=f"<{ANN}>", sender=ANN.lower()
    )
    messages = [alone, both, other, about]
    facts: list[Fact] = [*messages, outcome(alone.id), outcome(both.id), said(both, 2, f"550 5.1.1 <{ANN}>: unknown")]
    for message, ordinal in ((alone, 1), (both, 1), (both, 2)):
        facts += [click(message, ordinal, position) for position in range(1, len(WAYS) + 1)]
        facts.append(hit(message.id, ordinal))
    facts.append(hit(other.id, 1, 1, url="https://x.test/bob?e=bob%40example.net"))
    store.apply(facts)
    return messages


def counts(store: SqliteStore) -> dict[str, tuple[Any, ...]]:
    return {row["id"]: tuple(row[name] for name in COUNTS) for row in store.messages(MessageFilter(), 1000).rows}


def sums(rows: Rows) -> Counter[Any]:
    """What was counted in all, by what it was counted."""
    found: Counter[Any] = Counter()
    for (sender, _, cohort, dimension, span, *_), row in rows.items():
        if not sender and dimension in ("", "domain", "reason", "client"):
            found.update({(cohort, dimension, span, name): by for name, by in row.items()})
    return found


def held(folder: Path, address: str = ANN) -> list[str]:
    """The files that hold the address, in whatever form."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and octets_hold(path.read_bytes(), address)]


def test_nothing_names_her_and_the_counts_stay(store: SqliteStore) -> None:
    alone, both, _, _ = history(store)
    before, numbers = counts(store), sums(audited(store))
    assert held(store.path.parent)
    assert store.forget(ANN.swapcase()) == 2
    assert counts(store) == before
    assert sums(audited(store)) == numbers
    assert held(store.path.parent) == []
    store.close()
    assert held(store.path.parent) == []
    row, shared = store.message(str(alone.id)), store.message(str(both.id))
    assert row is not None
    assert shared is not None
    assert (row["subject"], row["metadata"], row["tag"]) == ("", {}, "t1")
    assert (shared["subject"], shared["metadata"]) == ("For forgotten and Bob", {"a": "forgotten", "b": "1"})
    people = store.recipients(str(both.id))
    assert [(each["address"], each["status"]) for each in people] == [(BOB, "sent"), (None, "bounced")]
    assert [link["url"] for link in store.links(str(both.id), 10).rows][-1] == WAYS[-1]
    assert store.forget(ANN) == 0


def test_others_keep_what_is_theirs(store: SqliteStore) -> None:
    _, both, other, about = history(store)
    store.forget(ANN)
    row = store.message(str(other.id))
    assert row is not None
    assert (row["subject"], row["metadata"]) == ("Dear Bob", {"order": "42"})
    assert store.links(str(other.id), 1).rows[0]["url"] == "https://x.test/bob?e=bob%40example.net"
    row = store.message(str(about.id))
    assert row is not None
    assert (row["subject"], row["tag"], row["sender"]) == ("forgotten wrote", "forgotten", "forgotten")
    events = store.events(100, message=str(both.id)).rows
    bobs = [event for event in events if event["recipient"] == 1 and event["type"] == "click"]
    anns = [event for event in events if event["recipient"] == 2 and event["type"] in ("click", "open")]
    assert {event["address"] for event in bobs} == {"192.0.2.0"}
    assert bobs[-1]["url"] == WAYS[-1]
    assert len(anns) == 7
    assert {(event["address"], event["agent"], event["url"], event["signals"]) for event in anns} == {(None,) * 4}


def test_later_hits_count_without_her_address(store: SqliteStore) -> None:
    alone, both, _, _ = history(store)
    store.forget(ANN)
    before = counts(store)
    store.apply([hit(both.id, 2, 1, NOW + 9000, url=WAYS[0]), hit(alone.id, 1, 0, NOW + 9000)])
    after = counts(store)
    assert after[str(both.id)][6] == before[str(both.id)][6] + 1
    assert after[str(alone.id)][4] == before[str(alone.id)][4] + 1
    audited(store)
    assert held(store.path.parent) == []


def test_what_was_said_of_her_before_comes_in_without_her(store: SqliteStore) -> None:
    late = to(ANN, links=links(*WAYS), subject="Dear Ann")
    both = to(BOB, ANN.lower(), subject=f"For {ANN}")
    store.forget(ANN)
    clicks = [click(late, 1, position) for position in range(1, 5)]
    store.apply([*clicks[:2]])
    store.apply([late, both, said(both, 2, f"550 {ANN}"), *clicks[2:]])
    assert held(store.path.parent) == []
    row = store.message(str(late.id))
    assert row is not None
    assert (row["subject"], row["recipients"], row["clicks"]) == ("", 1, 4)
    assert [each["address"] for each in store.recipients(str(both.id))] == [BOB, None]
    audited(store)


def test_what_waits_to_be_counted_is_counted_without_her(store: SqliteStore) -> None:
    history(store)
    assert store.waiting()
    store.forget(ANN)
    audited(store)
    assert held(store.path.parent) == []


def test_rows_of_sums_that_become_one_hold_both(store: SqliteStore) -> None:
    """Two senders that she is, by her address in two cases, and one that is called so already."""
    mails = [to(BOB, sender=sender, tag=ANN, links=()) for sender in (ANN, ANN.upper(), "forgotten")]
    store.apply([*mails, *(hit(each.id) for each in mails)])
    before = sums(audited(store))
    store.forget(ANN)
    rows = audited(store)
    assert sums(rows) == before
    assert {(sender, tag) for sender, tag, *_ in rows} == {
        ("", ""),
        ("forgotten", ""),
        ("", "forgotten"),
        ("forgotten",) * 2,
    }
    assert held(store.path.parent) == []


def test_mail_that_she_gets_afterwards_is_known_as_hers(store: SqliteStore) -> None:
    history(store)
    store.forget(ANN)
    fresh = to(ANN, at=NOW + 6000, subject="Welcome back")
    store.apply([fresh, hit(fresh.id, 1, 1, NOW + 6001, url=WAYS[0])])
    assert [each["address"] for each in store.recipients(str(fresh.id))] == [ANN]
    assert len(store.messages(MessageFilter(recipient=ANN), 10).rows) == 1


@pytest.mark.parametrize(
    "address", ["jürgen@bücher.example", "JÜRGEN@bücher.example", '"odd \\"name"@example.net', "o'x@example.net"]
)
def test_odd_addresses_are_forgotten_too(store: SqliteStore, address: str) -> None:
    message = to(
        address,
        BOB,
        subject=f"to {address}",
        metadata={"who": address},
        links=links(f"https://x.test/?e={quote(address)}"),
    )
    store.apply([message])
    assert store.forget(address.replace("Ü", "ü")) == 1
    assert held(store.path.parent, address) == []


def test_free_pages_hold_nothing_either(store: SqliteStore) -> None:
    for number in range(300):
        store.apply(
            [to(f"p{number}@example.net", ANN, at=NOW + number, subject=f"{ANN} " * 20, metadata={"x": f"{ANN} " * 50})]
        )
    store.drop_recipients(NOW + 100, 1000)
    store.drop_events(NOW + 10**6, 500)
    store.forget(ANN)
    assert held(store.path.parent) == []
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_readers_at_work_are_waited_for(store: SqliteStore) -> None:
    history(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM messages").fetchone()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tracker.disk.scrubbing._PATIENCE", 0.2)
            with pytest.raises(StoreError):
                store.forget(ANN)
        reader.execute("COMMIT")
    assert store.forget(ANN) == 0
    assert held(store.path.parent) == []


def on_the_list(store: SqliteStore) -> list[tuple[Any, ...]]:
    rows = store.suppressions(SuppressionFilter(), 10).rows
    return [(row["address"], row["sender"], row["kind"]) for row in rows]


def test_her_opt_outs_hold_without_her_address(store: SqliteStore) -> None:
    message = to(ANN)
    store.apply([message, opted_out(message.id, address=ANN), no_mailbox(message.id, address=BOB)])
    store.suppress([Suppression(ANN.lower(), None, SuppressionKind.TRACKING, f"asked by {ANN}")])
    before = store.suppression_changes(0, 10).rows
    store.forget(ANN)
    assert held(store.path.parent) == []
    assert [address for address, _, _ in on_the_list(store)].count(None) == 2
    assert store.suppression_changes(0, 10).rows == before
    found = store.suppressions(SuppressionFilter(address=ANN.upper()), 10).rows
    assert {(row["address"], row["kind"]) for row in found} == {(None, "mail"), (None, "tracking")}
    row = store.message(str(message.id))
    assert row is not None
    assert row["opt_outs"] == 1
    assert store.unsuppress(ANN) == 2


def test_what_came_back_keeps_her_off_the_list_of_readers_without_her_address(store: SqliteStore) -> None:
    message = to(ANN)
    unwanted = Unwanted(message.id, 1, "news@example.com", ANN, NOW + 5, "reported as spam")
    store.apply([message, unwanted, Complained(message.id, 1, NOW + 5, "abuse", f"for {ANN}")])
    store.forget(ANN)
    store.apply([unwanted, Returned(message.id, 1, NOW + 6, BounceKind.HARD, "5.1.1", f"550 5.1.1 <{ANN}> unknown")])
    assert held(store.path.parent) == []
    assert on_the_list(store) == [(None, "news@example.com", "mail")]
    row = store.message(str(message.id))
    assert row is not None
    assert (row["complaints"], row["bounced"]) == (1, 1)


def test_an_opt_out_that_comes_in_late_is_heeded_without_her_address(store: SqliteStore) -> None:
    message = to(ANN)
    store.forget(ANN)
    store.apply([opted_out(message.id, address=ANN)])
    assert held(store.path.parent) == []
    assert on_the_list(store) == [(None, "news@example.com", "mail")]
    assert len(store.suppressions(SuppressionFilter(address=ANN), 10).rows) == 1


def test_an_opt_out_from_later_mail_is_listed_by_address(store: SqliteStore) -> None:
    store.forget(ANN)
    message = to(ANN, at=NOW + 9000)
    store.apply([opted_out(message.id, address=ANN)])
    assert on_the_list(store) == [(ANN, "news@example.com", "mail")]


def page(message: Accepted, *texts: str) -> MirrorPage:
    pieces = (*texts, Splice(Kind.CLICK, f"https://x.test/?e={quote(ANN)}", 1))
    return MirrorPage(message.id, message.accepted_at, pack(Document((pieces,))))


def test_mirror_pages_lose_her(store: SqliteStore) -> None:
    alone, both = to(ANN, links=()), to(ANN, BOB, links=())
    store.apply([alone, both, page(alone, "Dear Ann"), page(both, "<p>for ", f"{ANN.upper()} and Bob</p>")])
    store.forget(ANN)
    assert store.page(str(alone.id), 1) is None
    kept = store.page(str(both.id), 2)
    assert kept is not None
    (pieces,) = unpack(kept["content"]).parts
    assert pieces == ("<p>for ", "forgotten and Bob</p>", Splice(Kind.CLICK, "https://x.test/?e=forgotten", 1))
    late = to(BOB, ANN, links=())
    store.apply([late, page(late, f"<p>{ANN}</p>")])
    kept = store.page(str(late.id), 1)
    assert kept is not None
    assert unpack(kept["content"]).parts[0][0] == "<p>forgotten</p>"
    assert kept["address"] == BOB
