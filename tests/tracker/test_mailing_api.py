"""Mailings in the API: rows, one, links; filters as of messages; CSV and pages."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from tests.tracker.facts import NOW, accepted, hit, outcome
from tests.tracker.tracked import READ_KEY, Clock, configured, judge, tracker
from tracker.errors import StoreError
from tracker.reading import models
from tracker.reading.auth import Gate
from tracker.reading.mailings import MailingApi
from tracker.reading.operations import routes_of
from tracker.store.base import MessageFilter, Page, Row

COUNTS = {name: n for n, name in enumerate(models.columns(models.Counts), 1)}
COLUMNS = [
    *("id", "sender", "mailing", "tag", "subject", "name", "messages", "first_accepted_at", "last_accepted_at"),
    *("instrumented", *COUNTS),
]


def mailing(number: int) -> dict[str, Any]:
    about = {"id": f"m{number}", "sender": "news@example.com", "mailing": None, "tag": "=spring", "subject": None}
    times = {"first_accepted_at": NOW, "last_accepted_at": NOW + number}
    return {**about, "name": "=spring", "messages": 3, **times, "instrumented": 2, **COUNTS, "targeted": 9}


def link(position: int) -> dict[str, Any]:
    about = {"position": position, "url": f"https://example.com/{position}", "label": None, "type": "tracked"}
    return {**about, "reason": "default", "clicks": 3, "unique_clicks": None, "machine_clicks": 1}


class Kept:
    """Numbers with three mailings, the first of them with three links; remembers what it was asked."""

    def __init__(self) -> None:
        self.rows = [mailing(number) for number in (3, 2, 1)]
        self.asked: list[MessageFilter] = []
        self.away = False

    def mailings(self, wanted: MessageFilter, limit: int, after: str | None = None) -> Page:
        self.asked.append(wanted)
        if self.away:
            raise StoreError("away")
        return paged(self.rows, limit, after)

    def mailing(self, id: str) -> Row | None:
        return next((row for row in self.rows if row["id"] == id), None)

    def mailing_links(self, id: str, limit: int, after: str | None = None) -> Page:
        return paged([link(position) for position in (1, 2, 3)], limit, after)


def paged(rows: list[dict[str, Any]], limit: int, after: str | None) -> Page:
    start = int(after or 0)
    return Page(rows[start : start + limit], str(start + limit) if start + limit < len(rows) else None)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
async def client(kept: Kept) -> AsyncIterator[httpx.AsyncClient]:
    async def conforms(answer: httpx.Response) -> None:
        await answer.aread()
        judge().check(answer)

    config = configured()
    numbers: Any = kept
    app = Starlette(routes=routes_of(MailingApi(config, numbers, Gate(config.api_keys, Clock()))))
    transport, hooks = httpx.ASGITransport(app), {"response": [conforms]}
    headers = {"Authorization": f"Bearer {READ_KEY}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://tracker.test/api/v1", headers=headers, event_hooks=hooks
    ) as client:
        yield client


async def test_a_mailing_has_the_columns_of_messages_summed(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/mailings")).json()
    assert [row["id"] for row in answer["items"]] == ["m3", "m2", "m1"]
    assert answer["next"] is None
    first = answer["items"][0]
    assert list(first) == COLUMNS
    assert (first["messages"], first["recipients"], first["first_accepted_at"]) == (3, 1, "2026-09-21T14:13:20.000Z")
    assert (await client.get("/mailings/m3")).json() == first


async def test_pages_and_csv(client: httpx.AsyncClient) -> None:
    first = (await client.get("/mailings", params={"limit": 2})).json()
    rest = (await client.get("/mailings", params={"limit": 2, "cursor": first["next"]})).json()
    assert [row["id"] for row in first["items"] + rest["items"]] == ["m3", "m2", "m1"]
    answer = await client.get("/mailings", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(rows[0]) == COLUMNS
    assert (len(rows), rows[0]["tag"], rows[0]["instrumented"]) == (3, "'=spring", "2")
    answer = await client.get("/mailings", params={"format": "csv", "limit": 1})
    assert (len(answer.text.splitlines()), bool(answer.headers["x-next-cursor"])) == (2, True)


async def test_links_by_position(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/mailings/m1/links")).json()
    assert [row["position"] for row in answer["items"]] == [1, 2, 3]
    assert list(answer["items"][0]) == list(models.columns(models.MailingLink))
    answer = await client.get("/mailings/m1/links", params={"format": "csv"})
    assert len(answer.text.splitlines()) == 4


async def test_filters_are_those_of_messages(client: httpx.AsyncClient, kept: Kept) -> None:
    texts = {"sender": "a@b.c", "tag": "t", "mailing": "m", "mailing_key": "k", "message_id": "<x@y>"}
    texts |= {"recipient": "r@b.c", "status": "bounced", "q": "spring"}
    await client.get("/mailings", params={**texts, "from": "2026-09-21", "to": "2026-09-21"})
    assert kept.asked == [MessageFilter(**texts, since=1_789_941_600.0, until=1_790_028_000.0)]


@pytest.mark.parametrize("path", ["/mailings/none", "/mailings/none/links", "/mailings/%00"])
async def test_a_mailing_that_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "/api/v1/mailings" in answer.json()["detail"]


async def test_what_is_refused(client: httpx.AsyncClient, kept: Kept) -> None:
    answer = await client.get("/mailings", params={"from": "2026-09-22", "to": "2026-09-20"})
    assert (answer.status_code, "'from'" in answer.json()["detail"]) == (400, True)
    assert (await client.get("/mailings", params={"colour": "red"})).status_code == 400
    assert (await client.get("/mailings", headers={"Authorization": "Bearer no"})).status_code == 401
    kept.away = True
    assert (await client.get("/mailings")).status_code == 503


async def test_over_a_store(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        one, two = accepted(mailing="spring-1"), accepted(at=NOW + 60, mailing="spring-1")
        other = accepted(at=NOW + 90, mailing=None, tag=None, subject="Your order")
        t.store.apply([one, two, other, outcome(one.id), hit(one.id, 1, 0), hit(two.id, 1, 1), hit(two.id, 2, 1)])
        rows = (await t.api("/mailings"))["items"]
        assert [(row["name"], row["messages"], row["instrumented"]) for row in rows] == [
            ("Your order", 1, 1),
            ("spring-1", 2, 2),
        ]
        spring = rows[1]
        assert (spring["recipients"], spring["sent"], spring["pending"]) == (4, 1, 3)
        assert (spring["opens"], spring["unique_opens"], spring["clicks"], spring["unique_clicks"]) == (1, 1, 2, 2)
        assert await t.api(f"/mailings/{spring['id']}") == spring
        links = (await t.api(f"/mailings/{spring['id']}/links"))["items"]
        assert [(link["position"], link["clicks"]) for link in links] == [(1, 2), (2, 0), (3, 0), (4, 0)]
        mine = (await t.api("/messages", mailing_key=spring["id"]))["items"]
        assert [row["id"] for row in mine] == [str(two.id), str(one.id)]
        pages, cursor = [], ""
        while cursor is not None:
            page = await t.api("/mailings", limit=1, cursor=cursor)
            pages += page["items"]
            cursor = page["next"]
        assert pages == rows
        found = await t.api("/mailings", recipient="person1@example.net", tag="spring", **{"to": "2026-09-21"})
        assert found["items"] == [spring]
