"""Opens and clicks one by one, from the store to Postmark's own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tracker.facts import BROWSER, NOW, accepted, hit
from tests.tracker.tracked import READ_KEY, Tracker, tracker
from tracker.model import Accepted, LinkType, Recipient
from tracker.store import hit_log
from tracker.store.base import HitFilter
from tracker.store.sqlite import SqliteStore

ANN, BOB = "Ann@Example.net", "bob@example.net"
TOKEN = {"X-Postmark-Server-Token": READ_KEY}


def mail(at: float = NOW, **changes: Any) -> Accepted:
    return accepted(at=at, recipients=(Recipient(1, ANN), Recipient(2, BOB)), **changes)


@pytest.fixture
def mails() -> list[Accepted]:
    return [mail(), mail(NOW + 5, tag="autumn"), mail(NOW + 6, tag=None, attributed=False)]


@pytest.fixture
def store(tmp_path: Path, mails: list[Accepted]) -> SqliteStore:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.open()
    first, second, loose = (each.id for each in mails)
    store.apply(mails)
    for fact in (
        hit(first, 1, 0, NOW + 60),
        hit(first, 1, 0, NOW + 64),  # a repeat
        hit(first, 1, 0, NOW + 90),
        hit(first, 2, 0, NOW + 70, agent="curl/8"),
        hit(second, 2, 0, NOW + 80),
        hit(first, 1, 1, NOW + 95),
        hit(first, 1, 3, NOW + 110),  # an opt-out link
        hit(loose, None, 0, NOW + 200),
    ):
        store.apply([fact])
    return store


def times(
    store: SqliteStore, limit: int = 10, offset: int = 0, most: int = 100, **wanted: Any
) -> tuple[list[float], int]:
    rows, total = store.people_hits(HitFilter(**{"event": "open", **wanted}), limit, offset, most)
    return [row["at"] - NOW for row in rows], total


def test_what_counts_is_listed_the_newest_first(store: SqliteStore) -> None:
    assert times(store) == ([200, 90, 80, 60], 4)
    assert times(store, limit=2, offset=1) == ([90, 80], 4)
    assert times(store, offset=4) == ([], 4)
    assert times(store, most=3) == ([200, 90, 80, 60], 3)
    assert times(store, event="click") == ([95], 1)


def test_it_may_be_narrowed(store: SqliteStore, mails: list[Accepted]) -> None:
    assert times(store, recipient=ANN.lower()) == ([90, 60], 2)
    assert times(store, recipient="nobody@example.net") == ([], 0)
    assert times(store, tag="autumn") == ([80], 1)
    assert times(store, tag="autumn", recipient=BOB) == ([80], 1)
    assert times(store, tag="autumn", recipient=ANN) == ([], 0)
    assert times(store, message=str(mails[0].id)) == ([90, 60], 2)
    assert times(store, message=str(mails[0].id), tag="autumn") == ([], 0)


def test_a_hit_says_who_and_whether_it_is_the_first(store: SqliteStore, mails: list[Accepted]) -> None:
    rows, _ = store.people_hits(HitFilter("open"), 10, 0, 100)
    assert [(row["recipient_address"], row["tag"], row["first"]) for row in rows] == [
        (None, None, False),
        (ANN, "spring", False),
        (BOB, "autumn", True),
        (ANN, "spring", True),
    ]
    ((click,), _) = store.people_hits(HitFilter("click"), 10, 0, 100)
    assert (click["url"], click["first"], click["agent"]) == ("https://example.com/1?a=1", True, BROWSER)


def test_no_walk_through_all_events_where_few_are_wanted(store: SqliteStore) -> None:
    db = store._connect()
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    wanted = {
        HitFilter("open"): "events_at",
        HitFilter("open", recipient=ANN): "recipients_address_message",
        HitFilter("open", tag="spring"): "messages_tag_id",
        HitFilter("open", message="x"): "PRIMARY KEY (message=?)",
    }
    for which, index in wanted.items():
        seen.clear()
        hit_log.people_hits(db, which, 10, 0, 100)
        (select, count) = [sql for sql in seen if sql.startswith("SELECT")]
        for sql in (select, count):
            plan = " | ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert index in plan, plan
    db.close()


async def test_postmark_s_paths_tell_it(tmp_path: Path, store: SqliteStore, mails: list[Accepted]) -> None:
    async with tracker(tmp_path, store) as t:
        found = await told(t, "/messages/outbound/opens", count=2, offset=1)
        assert found["TotalCount"] == 4
        assert [each["Recipient"] for each in found["Opens"]] == [ANN, BOB]
        assert (
            found["Opens"][0]
            | {
                "RecordType": "Open",
                "MessageID": str(mails[0].id),
                "Tag": "spring",
                "Platform": "Desktop",
                "FirstOpen": False,
                "ReceivedAt": "2026-09-21T14:14:50.000Z",
                "Client": {"Name": "Chrome", "Company": "unknown", "Family": "Chrome"},
            }
            == found["Opens"][0]
        )
        one = await told(t, f"/messages/outbound/clicks/{mails[0].id}")
        assert [each["OriginalLink"] for each in one["Clicks"]] == ["https://example.com/1?a=1"]
        assert (await told(t, "/stats/outbound/opens"))["Opens"] == 4
        store.forget(ANN)
        assert (await told(t, "/messages/outbound/opens", recipient=ANN))["TotalCount"] == 0
        forgotten = await told(t, "/messages/outbound/opens")
        assert [each["Recipient"] for each in forgotten["Opens"]] == ["", "", BOB, ""]


async def test_who_guesses_tokens_is_shut_out(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        for n in range(12):
            answer = await t.client.get("/stats/outbound", headers={"X-Postmark-Server-Token": f"guess-{n}"})
            assert answer.status_code == (401 if n < 10 else 429)
            assert answer.json()["ErrorCode"] == (10 if n < 10 else 429)
        assert int(answer.headers["retry-after"]) > 0


async def told(t: Tracker, path: str, **params: Any) -> Any:
    answer: httpx.Response = await t.client.get(path, params=params, headers=TOKEN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_types_of_links_are_as_assumed_here() -> None:
    assert [link.type for link in mail().links][2] is LinkType.OPT_OUT
