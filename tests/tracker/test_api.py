"""The stats API: keys, columns, filters, paging, CSV, errors that say what to do."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import NOW, accepted, hit, outcome
from tests.tracker.tracked import KEYRING, READ_KEY, Tracker, configured, tracker
from tracker.errors import StoreError
from tracker.model import Link, LinkType, Recipient, Status, new_id
from tracker.reading.shapes import cell, to_csv
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click

AUTH = {"Authorization": f"Bearer {READ_KEY}"}
COLUMNS = [
    *("id", "message_id", "mailing", "sender", "subject", "tag", "metadata", "accepted_at", "instrumented"),
    *("reason", "recipients", "sent", "delivered", "bounced", "errors", "pending", "suppressed", "complaints"),
    *("opens", "unique_opens", "machine_opens", "clicks", "unique_clicks", "machine_clicks", "opt_outs"),
    *("opt_out_clicks", "mirror_views"),
]


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        yield running


async def refused(t: Tracker, path: str, status: int, params: dict[str, str] | None = None) -> str:
    """The sentence of a refusal."""
    answer = await t.client.get(path, params=params, headers=AUTH)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    return str(body["detail"])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {READ_KEY}",
        READ_KEY,
        f"Bearer {READ_KEY}x",
        "Bearer \xe9",
    ],
)
@pytest.mark.parametrize(
    "path", ["/messages", "/messages/x", "/messages/x/links", "/messages/x/events", "/events", "/links"]
)
async def test_a_key_is_needed(t: Tracker, path: str, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    answer = await t.client.get(f"/api/v1{path}", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_who_guesses_keys_is_shut_out_for_a_while(t: Tracker) -> None:
    async def status(key: str, **headers: str) -> int:
        answer = await t.client.get("/api/v1/messages", headers={"Authorization": f"Bearer {key}", **headers})
        if answer.status_code == 429:
            assert answer.headers["content-type"] == "application/problem+json"
            assert 0 < int(answer.headers["retry-after"]) <= 600
            assert "minutes" in answer.json()["detail"]
        return answer.status_code

    # A program with an old key does not guess, however often it asks.
    assert {await status("an-old-key") for _ in range(30)} == {401}
    assert await status(READ_KEY) == 200
    assert [await status(f"guess {n}") for n in range(9)] == [401] * 9
    assert await status(READ_KEY) == 429
    postmark = await t.client.get("/stats/outbound", headers={"X-Postmark-Server-Token": READ_KEY})
    assert (postmark.status_code, postmark.json()["ErrorCode"]) == (429, 429)
    t.clock.now += 601
    assert await status(READ_KEY) == 200


async def test_whom_a_proxy_names_is_shut_out_and_not_the_proxy(tmp_path: Path) -> None:
    async with tracker(tmp_path, config=configured(trusted_proxies=["192.0.2.77"])) as t:
        for address, expected in (("203.0.113.9", 429), ("203.0.113.8", 200), ("127.0.0.1", 200)):
            theirs = {"X-Forwarded-For": address}
            if address != "203.0.113.8":
                for n in range(12):
                    headers = {"Authorization": f"Bearer guess {n}", **theirs}
                    await t.client.get("/api/v1/messages", headers=headers)
            answer = await t.client.get("/api/v1/messages", headers={**AUTH, **theirs})
            assert answer.status_code == expected


async def test_every_key_reads(t: Tracker) -> None:
    for header in (f"Bearer {READ_KEY}", f"bearer {READ_KEY}", "Bearer another-key"):
        assert (await t.client.get("/api/v1/messages", headers={"Authorization": header})).status_code == 200


async def test_a_message_has_exactly_the_columns(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, outcome(message.id), hit(message.id)])
    listed = await t.api("/messages")
    assert listed["next"] is None
    (row,) = listed["items"]
    assert list(row) == COLUMNS
    assert row["id"] == str(message.id)
    assert row["accepted_at"] == "2026-09-21T14:13:20.000Z"
    assert (row["recipients"], row["sent"], row["pending"], row["opens"]) == (2, 1, 1, 1)
    assert row["metadata"] == {"order": "42"}
    detail = await t.api(f"/messages/{message.id}")
    people = detail.pop("recipients_detail")
    assert detail == row
    assert [person["address"] for person in people] == ["person1@example.net", "person2@example.net"]
    assert (people[0]["status"], people[0]["reply"]) == ("sent", "250 2.0.0 Ok")
    assert people[0]["first_open_at"] == "2026-09-21T14:14:20.000Z"


async def test_links_of_a_message(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, hit(message.id, 1, 2), hit(message.id, 2, 2), hit(message.id, 1, 2, agent="curl/8")])
    links = (await t.api(f"/messages/{message.id}/links"))["items"]
    assert [link["position"] for link in links] == [1, 2, 3, 4]
    wanted = {"position": 2, "url": "https://example.com/2?a=1", "label": "Link 2", "type": "tracked"}
    wanted |= {"reason": "default", "clicks": 2, "unique_clicks": 2, "machine_clicks": 1}
    assert wanted.items() <= links[1].items()
    first = await t.api(f"/messages/{message.id}/links", limit=3)
    rest = await t.api(f"/messages/{message.id}/links", limit=3, cursor=first["next"])
    assert [link["position"] for link in first["items"] + rest["items"]] == [1, 2, 3, 4]


async def test_every_url_is_seen_without_its_query(t: Tracker) -> None:
    one, two = accepted(), accepted(sender="other@example.com")
    t.store.apply([one, two, hit(one.id, 1, 1), hit(two.id, 1, 1)])
    rows = (await t.api("/links"))["items"]
    assert rows[0] == {
        "url": "https://example.com/1",
        "type": "tracked",
        "saved_type": None,
        "links": 2,
        "messages": 2,
        "clicks": 2,
        "machine_clicks": 0,
        "last_seen_at": "2026-09-21T14:13:20.000Z",
    }
    mine = (await t.api("/links", sender="other@example.com"))["items"]
    assert [row["clicks"] for row in mine] == [1, 0, 0, 0]
    paged = []
    cursor = ""
    while cursor is not None:
        page = await t.api("/links", limit=1, cursor=cursor)
        paged += page["items"]
        cursor = page["next"]
    assert paged == rows


async def test_a_url_whose_type_changed_is_one_row(t: Tracker) -> None:
    def sent(at: float, kind: LinkType, path: str = "a?id=1") -> Any:
        url = f"https://example.com/{path}"
        return accepted(at=at, links=(Link(1, url, url, "A", kind, "rule", True),))

    old, new = sent(NOW, LinkType.TRACKED), sent(NOW + 9, LinkType.MIRROR, "a?id=2")
    t.store.apply([new, old, sent(NOW, LinkType.NEVER, "b"), hit(old.id, 1, 1), hit(new.id, 1, 1, agent="curl/8")])
    first, second = (await t.api("/links"))["items"]
    assert (first["url"], first["type"], first["links"], first["clicks"]) == ("https://example.com/a", "mirror", 2, 1)
    assert (second["url"], second["type"]) == ("https://example.com/b", "never")
    page = await t.api("/links", limit=1)
    assert (await t.api("/links", cursor=page["next"]))["items"] == [second]


async def test_a_token_in_a_mail_that_came_with_our_links_is_shown_nowhere(t: Tracker) -> None:
    token = KEYRING.seal(Click(new_id(NOW), 1, 1, "https://example.com/"))
    ours = f"https://track.example.com/u/{token}"
    theirs = "https://example.com/c/page"
    links = (
        Link(1, ours, ours, "Out", LinkType.OPT_OUT, "already_tracked", False),
        Link(2, theirs, theirs, "Page", LinkType.TRACKED, "default", True),
    )
    message = accepted(links=links)
    t.store.apply([message])
    for path in ("/links", f"/messages/{message.id}/links", "/events", f"/messages/{message.id}"):
        for form in ("json", "csv") if path != f"/messages/{message.id}" else ("json",):
            answer = await t.client.get(
                f"/api/v1{path}", headers=AUTH, params={"format": form} if form == "csv" else {}
            )
            assert answer.status_code == 200
            assert token not in answer.text
    assert [row["url"] for row in (await t.api("/links"))["items"]] == [theirs]
    urls = [row["url"] for row in (await t.api(f"/messages/{message.id}/links"))["items"]]
    assert urls == ["https://track.example.com/u/…", theirs]
    assert token.encode() not in (t.store.path.read_bytes() + t.store.path.with_name("store.sqlite-wal").read_bytes())  # type: ignore[attr-defined]


async def test_the_stream_of_events_can_be_taken_up_anywhere(t: Tracker) -> None:
    message = accepted()
    hits = [hit(message.id, 1, n % 5, NOW + n * 20) for n in range(30)]
    t.store.apply([message, outcome(message.id), *hits])
    answer = await t.client.get("/api/v1/events", headers=AUTH)
    assert answer.headers["content-type"] == "application/x-ndjson"
    everything = [json.loads(line) for line in answer.text.splitlines()]
    assert len(everything) == 32
    assert [event["type"] for event in everything[:3]] == ["accepted", "sent", "open"]
    assert len({event["cursor"] for event in everything}) == len({event["id"] for event in everything}) == 32
    for start in (0, 7, 31):
        rest = await t.client.get("/api/v1/events", params={"cursor": everything[start]["cursor"]}, headers=AUTH)
        assert [json.loads(line) for line in rest.text.splitlines()] == everything[start + 1 :]
    few = await t.client.get("/api/v1/events", params={"limit": 5}, headers=AUTH)
    assert [json.loads(line) for line in few.text.splitlines()] == everything[:5]
    opened = everything[2]
    assert (opened["recipient"], opened["class"], opened["kind"]) == ("person1@example.net", "human", "browser")
    assert opened["at"] == "2026-09-21T14:13:20.000Z"
    for kind, count in (("open", 6), ("click", 12), ("opt_out_click", 6), ("mirror_view", 6), ("bounced", 0)):
        found = await t.client.get("/api/v1/events", params={"type": kind}, headers=AUTH)
        assert len(found.text.splitlines()) == count
    bounded = {"type": "open", "from": "2026-09-21T14:15:00Z", "to": "2026-09-21T14:16:40Z"}
    found = await t.client.get("/api/v1/events", params=bounded, headers=AUTH)
    assert [json.loads(line)["at"] for line in found.text.splitlines()] == ["2026-09-21T14:15:00.000Z"]


async def test_a_long_stream_is_whole(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, *(hit(message.id, 1, 0, NOW + n * 20) for n in range(2600))])
    answer = await t.client.get("/api/v1/events", headers=AUTH)
    assert len({json.loads(line)["id"] for line in answer.text.splitlines()}) == 2601
    some = await t.client.get("/api/v1/events", params={"format": "csv"}, headers=AUTH)
    assert len(list(csv.reader(io.StringIO(some.text)))) == 2602


async def test_days_are_whole_days_of_the_tracker_s_zone(t: Tracker) -> None:
    # Berlin is two hours ahead of UTC in September: its 21st begins at 22:00 UTC on the 20th.
    midnight = 1_789_941_600.0
    before, after = accepted(at=midnight - 1), accepted(at=midnight)
    t.store.apply([before, after])

    async def ids(**params: str) -> list[str]:
        return [row["id"] for row in (await t.api("/messages", **params))["items"]]

    assert await ids(**{"from": "2026-09-21"}) == [str(after.id)]
    assert await ids(to="2026-09-20") == [str(before.id)]
    assert await ids(**{"from": "2026-09-20", "to": "2026-09-20"}) == [str(before.id)]
    assert await ids(**{"from": "2026-09-20", "to": "2026-09-21"}) == [str(after.id), str(before.id)]
    assert await ids(to="2026-09-21T00:00:00+02:00") == [str(before.id)]
    assert await ids(**{"from": "2026-09-20T22:00:00Z"}) == [str(after.id)]
    assert await ids(**{"from": "2026-09-21T00:00:00+02:00"}) == [str(after.id)]
    raw = await t.client.get("/api/v1/messages?from=2026-09-21T00:00:00+02:00", headers=AUTH)
    assert len(raw.json()["items"]) == 1


async def test_paging_is_whole_while_mail_comes_in(t: Tracker) -> None:
    t.store.apply([accepted(at=NOW + n) for n in range(25)])
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await t.api("/messages", limit=4, cursor=cursor)
        seen += [row["accepted_at"] for row in page["items"]]
        cursor = page["next"]
        t.store.apply([accepted(at=NOW + 1000)])
    assert len(seen) == len(set(seen)) == 25
    assert seen == sorted(seen, reverse=True)


async def test_filters(t: Tracker) -> None:
    one = accepted(tag="a b&c")
    two = accepted(at=NOW + 1, sender="x+y@example.com", mailing="m", message_id="<z@h>")
    t.store.apply([one, two, outcome(two.id, 1, Status.BOUNCED)])
    for params, expected in (
        ({"tag": "a b&c"}, one),
        ({"sender": "x+y@example.com"}, two),
        ({"sender": "X+Y@Example.com"}, two),
        ({"mailing": "m"}, two),
        ({"message_id": "<z@h>"}, two),
        ({"status": "bounced"}, two),
        ({"q": "x+y"}, two),
        ({"recipient": "person1@example.net", "tag": "a b&c"}, one),
    ):
        assert [row["id"] for row in (await t.api("/messages", **params))["items"]] == [str(expected.id)]
    assert len((await t.api("/messages", tag=""))["items"]) == 2


@pytest.mark.parametrize(
    ("path", "params", "word"),
    [
        ("/api/v1/messages", {"sendr": "a"}, "sender"),
        ("/api/v1/messages", {"limit": "0"}, "1000"),
        ("/api/v1/messages", {"limit": "1001"}, "1000"),
        ("/api/v1/messages", {"limit": "-1"}, "1000"),
        ("/api/v1/messages", {"limit": "ten"}, "1000"),
        ("/api/v1/messages", {"from": "yesterday"}, "RFC 3339"),
        ("/api/v1/messages", {"from": "2026-02-02", "to": "2026-01-31"}, "not after"),
        ("/api/v1/messages", {"from": "2026-02-01", "to": "2026-01-31"}, "not after"),
        ("/api/v1/events", {"cursor": "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd"}, "'cursor'"),  # [9223372036854775808]
        ("/api/v1/messages", {"from": "2026-02-30"}, "RFC 3339"),
        ("/api/v1/messages", {"to": "2026-01-01T00:00:00"}, "offset"),
        ("/api/v1/messages", {"status": "lost"}, "bounced"),
        ("/api/v1/messages", {"format": "xml"}, "csv"),
        ("/api/v1/messages", {"cursor": "!!"}, "cursor"),
        ("/api/v1/messages", {"cursor": "bm90IGpzb24"}, "cursor"),
        ("/api/v1/messages", {"cursor": "WzFd"}, "cursor"),
        ("/api/v1/messages", {"cursor": "W1tdXQ"}, "cursor"),
        ("/api/v1/events", {"cursor": "WyJhIl0"}, "cursor"),
        ("/api/v1/events", {"type": "opened"}, "open"),
        ("/api/v1/links", {"tag": "x"}, "sender"),
    ],
)
async def test_bad_requests_are_told_what_to_do(t: Tracker, path: str, params: dict[str, str], word: str) -> None:
    assert word in await refused(t, path, 400, params)


async def test_a_parameter_given_twice_is_refused(t: Tracker) -> None:
    assert "once" in await refused(t, "/api/v1/messages?tag=a&tag=b", 400)


@pytest.mark.parametrize("id", ["nothing", str(new_id()), "x" * 36, "0" * 36, "é"])
async def test_unknown_messages_are_not_found(t: Tracker, id: str) -> None:
    for more in ("", "/links", "/events"):
        assert "id" in await refused(t, f"/api/v1/messages/{id}{more}", 404)


async def test_other_paths_and_methods_are_problems_too(t: Tracker) -> None:
    await refused(t, "/api/v1/nothing", 404)
    answer = await t.client.post("/api/v1/messages", headers=AUTH)
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert "GET" in answer.headers["allow"]


async def test_a_path_with_a_slash_too_many_is_not_redirected_by_host(t: Tracker) -> None:
    answer = await t.client.get("/api/v1/messages/", headers={**AUTH, "Host": "evil.example"})
    assert "location" not in answer.headers


async def test_a_store_that_is_away_is_503(tmp_path: Path) -> None:
    class Away(SqliteStore):
        def _connect(self) -> Any:
            raise OSError("gone")

        def messages(self, *args: Any, **more: Any) -> Any:
            raise StoreError("gone")

    async with tracker(tmp_path, Away(tmp_path / "s")) as t:
        assert "again" in await refused(t, "/api/v1/messages", 503)
        assert "again" in await refused(t, "/api/v1/events", 503)
        ready = await t.client.get("/readyz")
        assert (ready.status_code, ready.json()["not_ready"]) == (503, ["store"])
        assert (await t.client.get("/livez")).status_code == 200


async def test_csv_of_every_list(t: Tracker) -> None:
    evil = "=cmd|' /C calc'!A0"
    link = Link(1, "https://example.com/", "https://example.com/", "@SUM(1)", LinkType.TRACKED, "default", True)
    message = accepted(subject=evil, tag="-1+1", links=(link,), recipients=(Recipient(1, "+a@example.net"),))
    t.store.apply([message, accepted(at=NOW - 5), hit(message.id)])
    answer = await t.client.get("/api/v1/messages", params={"format": "csv", "limit": 1}, headers=AUTH)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == COLUMNS
    assert (rows[0]["subject"], rows[0]["tag"], rows[0]["opens"]) == ("'" + evil, "'-1+1", "1")
    assert json.loads(rows[0]["metadata"]) == {"order": "42"}
    rest = await t.api("/messages", cursor=answer.headers["x-next-cursor"])
    assert len(rest["items"]) == 1
    links = await t.client.get(f"/api/v1/messages/{message.id}/links?format=csv", headers=AUTH)
    assert "'@SUM(1)" in links.text
    events = await t.client.get(f"/api/v1/messages/{message.id}/events?format=csv", headers=AUTH)
    assert "'+a@example.net" in events.text
    for path in ("/links", "/events"):
        answer = await t.client.get(f"/api/v1{path}", params={"format": "csv"}, headers=AUTH)
        assert answer.headers["content-type"].startswith("text/csv")
        assert len(answer.text.splitlines()) > 1


@given(st.text())
def test_no_cell_begins_a_formula(text: str) -> None:
    kept = cell(text)
    assert kept[:1] not in ("=", "+", "-", "@", "\t", "\r") or not kept
    assert kept in (text, f"'{text}")
    out = to_csv([{"a": text, "b": 1}], ["a", "b"]).decode("utf-8", "surrogatepass")
    _, row = csv.reader(io.StringIO(out, newline=""))
    assert row[1] == "1"


async def test_operations(tmp_path: Path) -> None:
    checks = {"smtp": False}
    async with tracker(tmp_path, readiness=lambda: checks) as t:
        answer = await t.client.get("/readyz")
        assert (answer.status_code, answer.json()["not_ready"]) == (503, ["smtp"])
        checks["smtp"] = True
        assert (await t.client.get("/readyz")).json() == {
            "status": "ok",
            "checks": {"store": True, "smtp": True},
            "not_ready": [],
        }
        assert "hits_lost_total" in (await t.client.get("/metrics")).text
        assert (await t.client.get("/livez")).json() == {"status": "ok"}
        answer = await t.client.get("/livez", headers={"Host": "evil.example"})
        assert isinstance(answer, httpx.Response)
