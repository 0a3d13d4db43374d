"""The reports in the API: JSON, every table as CSV, what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from tests.tracker.facts import NOW
from tests.tracker.numbers import Move, PlainNumbers
from tests.tracker.tracked import READ_KEY, Clock, configured
from tracker.errors import StoreError
from tracker.reading.auth import Gate
from tracker.reading.operations import routes_of
from tracker.reading.report_api import ReportApi
from tracker.reading.reports import COUNTS, RATES, TABLES

AUTH = {"Authorization": f"Bearer {READ_KEY}"}
EVIL = "=cmd|' /C calc'!A0"


@pytest.fixture
def numbers() -> PlainNumbers:
    values = {"url": "https://example.com/", "label": "@SUM(1)", "tag": EVIL, "domain": "example.net"}
    return PlainNumbers(
        [
            Move(NOW - 50, {"messages": 1, "targeted": 2}, NOW - 50, values=values),
            Move(NOW - 40, {"sent": 1, "delivered": 1, "open_tracked": 1}, NOW - 50, values=values),
            Move(NOW - 30, {"opens": 3, "clicks": 1, "unique_clicks": 1}, NOW - 50, values=values),
            Move(NOW - 30, {"opens": 9}, NOW - 50, sender="other@example.com", tag="other"),
        ]
    )


@pytest.fixture
async def client(numbers: PlainNumbers) -> AsyncIterator[httpx.AsyncClient]:
    config, clock = configured(), Clock(NOW)
    app = Starlette(routes=routes_of(ReportApi(config, numbers, Gate(config.api_keys, clock), clock)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://tracker.test", headers=AUTH) as client:
        yield client


async def told(client: httpx.AsyncClient, path: str, **params: str) -> Any:
    answer = await client.get(f"/api/v1/reports/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_live_and_global_have_one_shape(client: httpx.AsyncClient) -> None:
    live, overall = await told(client, "live"), await told(client, "global")
    assert list(live) == list(overall)
    assert list(live["totals"]) == list(COUNTS)
    assert list(live["rates"]) == list(RATES)
    assert (live["kind"], live["from"], live["to"]) == ("live", "2026-09-20T15:00:00.000Z", "2026-09-21T15:00:00.000Z")
    assert (len(live["series"]), len(overall["series"])) == (24, 30)
    assert (overall["from"], overall["to"]) == ("2026-08-22T22:00:00.000Z", "2026-09-21T22:00:00.000Z")
    assert live["timezone"] == "Europe/Berlin"
    assert live["totals"] == overall["totals"]
    assert (live["totals"]["opens"], live["rates"]["delivery"]) == (12, 0.5)


async def test_a_report_may_be_of_one_sender_or_tag(client: httpx.AsyncClient) -> None:
    for asked in ({"sender": "other@example.com"}, {"tag": "other"}, {"sender": "other@example.com", "tag": "other"}):
        for path in ("live", "global"):
            report = await told(client, path, **asked)
            assert report["totals"]["opens"] == 9
            assert asked.items() <= report.items()
    assert (await told(client, "live", sender="Other@Example.com"))["sender"] == "other@example.com"
    assert (await told(client, "live", sender="other@example.com", tag="spring"))["totals"]["opens"] == 0


async def test_every_table_comes_as_csv(client: httpx.AsyncClient) -> None:
    for table in (None, *TABLES):
        asked = {"format": "csv"} | ({"table": table} if table else {})
        answer = await client.get("/api/v1/reports/global", params=asked)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="global-{table or "series"}.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        if table in (None, "series"):
            assert len(rows) == 30
            assert sum(int(row["opens"]) for row in rows) == 12
        if table == "totals":
            assert (rows[0]["opens"], rows[0]["delivery_rate"], rows[0]["complaint_rate"]) == ("12", "0.5", "0.0")
        if table == "tags":
            assert rows[0]["tag"] == f"'{EVIL}"
        if table == "links":
            assert {"by": "label", "value": "'@SUM(1)", "clicks": "1"}.items() <= rows[1].items()


@pytest.mark.parametrize(
    ("path", "asked", "sentence"),
    [
        ("global", {"from": "2026-02-01", "to": "2026-01-01"}, "before 'to'"),
        ("global", {"from": "2000-01-01"}, "ten years"),
        ("live", {"from": "2026-01-01"}, "no parameter 'from'"),
        ("live", {"format": "xml"}, "json, csv"),
        ("live", {"format": "csv", "table": "people"}, "series, totals"),
        ("live", {"table": "links"}, "format=csv"),
    ],
)
async def test_what_is_refused_says_what_to_do(
    client: httpx.AsyncClient, path: str, asked: dict[str, str], sentence: str
) -> None:
    answer = await client.get(f"/api/v1/reports/{path}", params=asked)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert sentence in answer.json()["detail"]


async def test_a_key_is_needed(client: httpx.AsyncClient) -> None:
    for path in ("live", "global"):
        assert (await client.get(f"/api/v1/reports/{path}", headers={"Authorization": ""})).status_code == 401


async def test_a_store_that_is_away_is_503(client: httpx.AsyncClient, numbers: PlainNumbers, monkeypatch: Any) -> None:
    def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(numbers, "series", away)
    assert (await client.get("/api/v1/reports/live")).status_code == 503
