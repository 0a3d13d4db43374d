"""The suppression list and saved types by the API: who may write, what is taken, CSV out and in again."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import NOW, accepted, no_mailbox
from tests.tracker.tracked import READ_KEY, Tracker, tracker
from tracker.errors import StoreError
from tracker.model import DOES_NOT_EXIST, Suppression, SuppressionKind, new_id
from tracker.reading import entries
from tracker.reading.shapes import cell, to_csv, uncell
from tracker.store.base import SuppressionFilter
from tracker.store.sqlite import SqliteStore

PATH = "/api/v1/suppressions"
READ = {"Authorization": f"Bearer {READ_KEY}"}
WRITE = {"Authorization": "Bearer another-key"}
ANN, SHOP = "ann@example.net", "shop@example.com"


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        yield running


async def post(t: Tracker, **more: Any) -> httpx.Response:
    return await t.client.post(PATH, headers={**WRITE, **more.pop("headers", {})}, **more)


async def listed(t: Tracker, **asked: str) -> list[dict[str, Any]]:
    answer = await t.client.get(PATH, params=asked, headers=READ)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def detail(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


async def test_an_entry_is_added_listed_and_removed(t: Tracker) -> None:
    assert (await post(t, json={"address": ANN})).json() == {"added": 1, "unchanged": 0}
    (row,) = await listed(t)
    assert row == {
        "address": ANN,
        "sender": None,
        "kind": "mail",
        "reason": "added by hand",
        "since": row["since"],
    }
    assert row["since"].endswith("Z")
    removed = await t.client.delete(PATH, params={"address": "Ann@Example.NET"}, headers=WRITE)
    assert removed.json() == {"removed": 1}
    assert await listed(t) == []
    assert "GET" in detail(await t.client.delete(PATH, params={"address": ANN}, headers=WRITE), 404)


async def test_a_list_is_added_at_once(t: Tracker) -> None:
    rows = [
        {"address": ANN, "sender": "Shop@example.com", "kind": "tracking", "reason": "asked", "since": "2026-01-31"},
        {"address": ANN, "sender": "*", "since": "2026-01-30T10:00:00.125+02:00"},
        {"address": ANN, "sender": None, "kind": None, "reason": None, "since": None},
    ]
    assert (await post(t, json=rows)).json() == {"added": 2, "unchanged": 1}
    assert [(row["sender"], row["kind"], row["reason"], row["since"]) for row in await listed(t)] == [
        (SHOP, "tracking", "asked", "2026-01-31T00:00:00.000Z"),
        (None, "mail", "added by hand", "2026-01-30T08:00:00.125Z"),
    ]


async def test_the_list_is_filtered_and_paged(t: Tracker) -> None:
    t.store.suppress([Suppression(f"p{n}@example.net", SHOP if n % 2 else None, since=NOW + n) for n in range(6)])
    t.store.suppress([Suppression("p1@example.net", SHOP, SuppressionKind.TRACKING, since=NOW)])
    assert len(await listed(t, address="P1@example.net")) == 2
    assert len(await listed(t, kind="tracking")) == 1
    assert len(await listed(t, sender=SHOP)) == 4
    assert len(await listed(t, sender="*")) == 3
    assert len(await listed(t, q="p5")) == 1
    answer = (await t.client.get(PATH, params={"limit": 4}, headers=READ)).json()
    rest = (await t.client.get(PATH, params={"cursor": answer["next"]}, headers=READ)).json()
    assert len(answer["items"]) + len(rest["items"]) == 7
    assert rest["next"] is None


async def test_a_removal_may_be_of_one_sender_or_kind_alone(t: Tracker) -> None:
    t.store.suppress([Suppression(ANN), Suppression(ANN, SHOP), Suppression(ANN, SHOP, SuppressionKind.TRACKING)])
    for asked in ({"sender": SHOP, "kind": "tracking"}, {"sender": "*"}, {"sender": SHOP}):
        answer = await t.client.delete(PATH, params={"address": ANN, **asked}, headers=WRITE)
        assert answer.json() == {"removed": 1}
    assert await listed(t) == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_key_that_may_only_read_changes_nothing(t: Tracker, method: str) -> None:
    t.store.suppress([Suppression(ANN)])
    body: Any = {"json": {"address": "x@example.net"}} if method == "POST" else {"params": {"address": ANN}}
    assert "access: write" in detail(await t.client.request(method, PATH, headers=READ, **body), 403)
    assert detail(await t.client.request(method, PATH, **body), 401)
    assert [row["address"] for row in await listed(t)] == [ANN]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"\xff", "JSON"),
        (b"3", "object"),
        (b"[3]", "object"),
        (b"{}", "address"),
        (b'{"address": "nobody"}', "address"),
        (b'{"address": "@example.net"}', "address"),
        (b'{"address": "a@"}', "address"),
        (b'{"address": "a\\nb@example.net"}', "address"),
        (b'{"address": 3}', "text"),
        (b'{"address": "a@b.c", "sender": "shop"}', "sender"),
        (b'{"address": "a@b.c", "kind": "paper"}', "mail, tracking"),
        (b'{"address": "a@b.c", "since": "yesterday"}', "since"),
        (b'{"address": "a@b.c", "reason": "two\\nlines"}', "reason"),
        (b'{"adress": "a@b.c"}', "adress"),
        (b'[{"address": "a@b.c"}, {"address": "x"}]', "Row 2"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_added(t: Tracker, body: bytes, word: str) -> None:
    assert word in detail(await post(t, content=body), 400)
    assert await listed(t) == []


async def test_too_much_at_once_is_refused(t: Tracker) -> None:
    assert "10 MB" in detail(await post(t, content=b" " * 10_000_001), 413)


@pytest.mark.parametrize("kind", ["application/xml", "application/x-www-form-urlencoded", "text/plain; charset=utf-8"])
async def test_a_body_of_another_type_is_refused(t: Tracker, kind: str) -> None:
    answer = await post(t, content=b'{"address": "ann@example.net"}', headers={"Content-Type": kind})
    assert "application/json or text/csv" in detail(answer, 415)
    answer = await t.client.put("/api/v1/links", content=b"a,b", headers={**WRITE, "Content-Type": "text/csv"})
    assert "application/json" in detail(answer, 415)
    assert await listed(t) == []


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", None])
async def test_a_body_of_no_type_is_json(t: Tracker, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await post(t, content=b'{"address": "ann@example.net"}', headers=headers)
    assert answer.json() == {"added": 1, "unchanged": 0}


async def test_a_method_that_is_not_there_is_told_those_that_are(t: Tracker) -> None:
    answer = await t.client.patch(PATH, headers=WRITE)
    assert detail(answer, 405)
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["allow"].split(", "))


async def test_a_removal_must_say_whose(t: Tracker) -> None:
    for params in ({}, {"sender": SHOP}, {"address": "x"}, {"address": ANN, "kind": "paper"}):
        assert detail(await t.client.delete(PATH, params=params, headers=WRITE), 400)


async def test_a_store_that_is_away_is_503(tmp_path: Path) -> None:
    class Away(SqliteStore):
        def suppress(self, entries: Any) -> int:
            raise StoreError("away")

    async with tracker(tmp_path, Away(tmp_path / "s.sqlite")) as t:
        answer = await post(t, json={"address": ANN})
        assert detail(answer, 503)
        assert answer.headers["retry-after"] == "5"


# -- CSV -------------------------------------------------------------------------------------------------------------

CSV = {"Content-Type": "text/csv; charset=utf-8"}


async def test_csv_goes_out_and_in_again(t: Tracker, tmp_path: Path) -> None:
    t.store.suppress([Suppression(f"p{n}@example.net", SHOP, reason=f"n {n}", since=NOW + n / 8) for n in range(1500)])
    odd = [
        "=cmd|x@example.net",
        "+1@example.net",
        "-@example.net",
        "'@example.net",
        "'=x@example.net",
        '"a,b"@example.net',
    ]
    t.store.suppress([Suppression(address, None, SuppressionKind.TRACKING, "=1+1", NOW) for address in odd])
    t.store.apply([no_mailbox(new_id(NOW), address="gone@example.net")])
    out = await t.client.get(PATH, params={"format": "csv"}, headers=READ)
    assert out.headers["content-type"] == "text/csv; charset=utf-8"
    assert "suppressions.csv" in out.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(out.text)))
    assert rows[0] == ["address", "sender", "kind", "reason", "since"]
    assert len(rows) == 1508
    assert not any(value[:1] in ("=", "+", "-", "@") for row in rows for value in row)
    async with tracker(tmp_path, SqliteStore(tmp_path / "other.sqlite")) as other:
        answer = await other.client.post(PATH, content=out.content, headers={**WRITE, **CSV})
        assert answer.json() == {"added": 1507, "unchanged": 0}
        again = await other.client.get(PATH, params={"format": "csv"}, headers=READ)
        assert sorted(again.text.splitlines()) == sorted(out.text.splitlines())
        assert [row["reason"] for row in await listed(other, address="gone@example.net")] == [DOES_NOT_EXIST]
        assert any(change.always for change in other.store.suppression_changes(0, 5000).rows)


async def test_csv_by_the_page(t: Tracker) -> None:
    t.store.suppress([Suppression(f"p{n}@example.net") for n in range(5)])
    first = await t.client.get(PATH, params={"format": "csv", "limit": "3"}, headers=READ)
    cursor = first.headers["x-next-cursor"]
    second = await t.client.get(PATH, params={"format": "csv", "cursor": cursor}, headers=READ)
    assert (first.text.count("@"), second.text.count("@")) == (3, 2)


async def test_a_forgotten_address_is_exported_without_it_and_not_taken_in(t: Tracker) -> None:
    body = b"address,sender,kind,reason,since\r\n,shop@example.com,mail,x,2026-01-01\r\nann@example.net,,,,\r\n"
    assert (await post(t, content=body, headers=CSV)).json() == {"added": 1, "unchanged": 0}


@pytest.mark.parametrize(
    ("body", "added"),
    [
        (b"\xef\xbb\xbfAddress\nann@example.net\n", 1),
        (b"email,name,created_at\nann@example.net,Ann,yesterday\n", 1),
        (b'reason,address\n"a, ""b""",ann@example.net\r\n\r\nx,bob@example.net', 2),
        (b"address\n", 0),
    ],
)
async def test_csv_of_others_is_read(t: Tracker, body: bytes, added: int) -> None:
    assert (await post(t, content=body, headers=CSV)).json() == {"added": added, "unchanged": 0}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "columns"),
        (b"ann@example.net\n", "columns"),
        (b"address,email\na@b.c,a@b.c\n", "columns"),
        (b"address\n\xff@example.net\n", "UTF-8"),
        (b"address,kind\nann@example.net,mail\nbob@example.net,paper\n", "Row 3"),
        (b"address\nann@example.net\nnobody\n", "Row 3"),
        (b"address\n" + b"x" * 200_000, "CSV"),
    ],
)
async def test_csv_that_is_wrong_adds_nothing(t: Tracker, body: bytes, word: str) -> None:
    assert word in detail(await post(t, content=body, headers=CSV), 400)
    assert await listed(t) == []


@given(st.text())
def test_every_cell_can_be_read_back(text: str) -> None:
    assert uncell(cell(text)) == text
    assert cell(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")


NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters="@"), min_size=1, max_size=12
)
ENTRIES = st.builds(
    Suppression,
    st.builds("{}@{}".format, NAMES, NAMES),
    st.none() | st.builds(lambda a, b: f"{a}@{b}".lower(), NAMES, NAMES),
    st.sampled_from(SuppressionKind),
    NAMES,
    st.integers(0, 4_000_000_000).map(float),
)


@given(st.lists(ENTRIES, max_size=5))
def test_what_is_exported_is_read_as_it_was(found: list[Suppression]) -> None:
    rows = [
        {
            "address": each.address,
            "sender": each.sender,
            "kind": each.kind,
            "reason": each.reason,
            "since": None,
        }
        for each in found
    ]
    again = entries.from_csv(to_csv(rows, entries.COLUMNS))
    assert [(e.address, e.sender, e.kind, e.reason) for e in again] == [
        (e.address, e.sender, e.kind, e.reason) for e in found
    ]


# -- saved types -----------------------------------------------------------------------------------------------------


async def put(t: Tracker, body: Any, headers: dict[str, str] = WRITE) -> httpx.Response:
    return await t.client.put("/api/v1/links", json=body, headers=headers)


async def test_a_type_is_saved_and_shown(t: Tracker) -> None:
    t.store.apply([accepted()])
    answer = await put(t, {"url": "https://example.com/1", "type": "never"})
    assert answer.json() == {"url": "https://example.com/1", "sender": None, "type": "never"}
    assert [row["saved_type"] for row in (await t.api("/links"))["items"]] == ["never", None, None, None]
    await put(t, {"url": "https://example.com/*", "sender": "News@example.com", "type": "mirror"})
    mine = (await t.api("/links", sender="news@example.com"))["items"]
    assert {row["saved_type"] for row in mine} == {"mirror"}
    await put(t, {"url": "https://example.com/1", "type": None})
    assert {row["saved_type"] for row in (await t.api("/links"))["items"]} == {None}
    assert "saved_type" in (await t.client.get("/api/v1/links?format=csv", headers=READ)).text


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ([], "object"),
        ({"url": "https://x.test/"}, "type"),
        ({"url": "https://x.test/", "type": "never", "more": 1}, "type"),
        ({"url": "x.test", "type": "never"}, "https://"),
        ({"url": 3, "type": "never"}, "https://"),
        ({"url": "javascript:alert(1)", "type": "never"}, "https://"),
        ({"url": "https://x.test/", "type": "odd"}, "tracked, opt_out, mirror, never"),
        ({"url": "https://x.test/", "type": ["never"]}, "tracked"),
        ({"url": "https://x.test/", "type": "never", "sender": 3}, "sender"),
        ({"url": "https://x.test/", "type": "never", "sender": "x"}, "sender"),
        ({"url": "https://x.test/\n", "type": "never"}, "one line"),
        ({"url": "https://x.test/" + "x" * 3000, "type": "never"}, "2000"),
    ],
)
async def test_a_type_that_cannot_be_saved_is_refused(t: Tracker, body: Any, word: str) -> None:
    assert word in detail(await put(t, body), 400)
    assert t.store.link_types() == []


async def test_saving_a_type_wants_a_key_that_may_write(t: Tracker) -> None:
    assert detail(await put(t, {"url": "https://x.test/", "type": "never"}, READ), 403)
    assert t.store.link_types() == []


async def test_what_is_on_the_list_is_what_the_store_says(t: Tracker) -> None:
    await post(t, json={"address": ANN})
    assert [row["address"] for row in t.store.suppressions(SuppressionFilter(), 10).rows] == [ANN]
