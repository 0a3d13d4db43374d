"""The dashboard's page of webhooks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.facts import NOW, accepted, outcome
from tests.tracker.tracked import READ_KEY, Tracker, configured, tracker
from tracker.errors import StoreError
from tracker.store.sqlite import SqliteStore
from tracker.webhooks.deliveries import Settled, State
from tracker.webhooks.endpoint import endpoints_of
from tracker.webhooks.metrics import WebhooksCollector

HOOKS = [
    {"url": "https://user:hunter2@app.example.com/hooks?token=s3cret", "secret": f"whsec_{'MDEy' * 12}"},
    {"url": "https://other.example.com/", "format": "postmark", "secret": "X-Token: t0ken"},
]
CONFIG = configured(webhooks=HOOKS)
ENDPOINTS = endpoints_of(CONFIG)
SECRETS = ("hunter2", "s3cret", "MDEy", "t0ken")


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    store = SqliteStore(tmp_path / "store.sqlite", clock=lambda: NOW + 5)
    async with tracker(tmp_path, store, CONFIG) as running:
        yield running


async def sign_in(t: Tracker, key: str = "another-key") -> None:
    await t.client.post("/login", data={"key": key})


async def page(t: Tracker, path: str = "/webhooks", status: int = 200) -> str:
    answer = await t.client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


async def press(t: Tracker, path: str, **fields: Any) -> int:
    (csrf, *_) = re.findall(r'name="csrf" value="([^"]+)"', await page(t))
    return (await t.client.post(path, data={"csrf": csrf, **fields})).status_code


def delivered(t: Tracker, **changes: Any) -> Any:
    """The first endpoint has got one event; its row."""
    deliveries, mail = t.store.deliveries(), accepted(people=1, subject="Spring")
    deliveries.enrol({each.key: each.mark for each in ENDPOINTS}, "node", NOW)
    t.store.apply([mail, outcome(mail.id)])
    standing = deliveries.lease(ENDPOINTS[0].key, "node", NOW, NOW + 60)
    assert standing is not None
    rows = deliveries.upcoming(ENDPOINTS[0].key, 0, deliveries.newest(), 10)
    row = next(row for row in rows if row["type"] == "sent")
    about = (row["recorded"], row["message"], row["id"], "sent")
    settled = replace(Settled(*about, State.DELIVERED, 2, NOW + 9, None, 200, None), **changes)
    deliveries.settle(ENDPOINTS[0].key, "node", [settled], standing, NOW + 9, NOW + 60)
    return row


async def test_without_endpoints_the_page_says_how_to_name_one(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        assert "webhooks:" in await page(t)
        assert 'href="/webhooks"' not in await page(t, "/messages")


async def test_an_endpoint_that_was_never_delivered_to_is_shown(t: Tracker) -> None:
    await sign_in(t)
    text = await page(t)
    assert "https://app.example.com/hooks?…" in text
    assert "Nothing was sent here yet" in text
    assert 'href="/webhooks"' in await page(t, "/messages")


async def test_how_endpoints_fare_and_no_secret(t: Tracker) -> None:
    delivered(t)
    await sign_in(t)
    text = await page(t)
    assert "in order" in text
    assert "2 tries" in text
    assert not [secret for secret in SECRETS if secret in text]
    file = (await t.client.get("/webhooks?format=csv")).text
    assert re.search(r"^0,sent,[0-9a-f-]{36},delivered,2,", file, re.M)
    assert not [secret for secret in SECRETS if secret in file]


async def test_one_delivery_and_what_is_told(t: Tracker) -> None:
    row = delivered(t)
    await sign_in(t)
    text = await page(t, f"/webhooks/0/{row['recorded']}")
    assert "person1@example.net" in text
    assert "&#34;type&#34;: &#34;sent&#34;" in text
    assert not [secret for secret in SECRETS if secret in text]
    t.store.forget("person1@example.net")
    assert "person1" not in await page(t, f"/webhooks/0/{row['recorded']}")
    t.store.drop_events(NOW + 60, 100)
    assert "kept no more" in await page(t, f"/webhooks/0/{row['recorded']}")
    await page(t, "/webhooks/0/5", 404)
    await page(t, f"/webhooks/7/{row['recorded']}", 404)


async def test_resend(t: Tracker) -> None:
    row = delivered(t)
    await sign_in(t)
    assert (
        await t.client.post("/webhooks/resend", data={"endpoint": 0, "recorded": row["recorded"]})
    ).status_code == 403
    assert t.store.deliveries().due(ENDPOINTS[0].key, 1e12, 10) == []
    assert await press(t, "/webhooks/resend", endpoint=0, recorded=row["recorded"]) == 303
    (due,) = t.store.deliveries().due(ENDPOINTS[0].key, t.clock.now, 10)
    assert (due["event"], due["about"]["type"]) == (row["id"], "sent")
    assert "The event is sent once more" in await page(t, "/webhooks?done=resent")
    for endpoint, recorded in ((0, 5), (9, row["recorded"]), ("x", "y"), ("-1", "²")):
        assert await press(t, "/webhooks/resend", endpoint=endpoint, recorded=recorded) == 400


async def test_a_key_that_may_only_read_changes_nothing(t: Tracker) -> None:
    row = delivered(t)
    await sign_in(t, READ_KEY)
    text = await page(t)
    assert "Resend" not in text
    assert await press(t, "/webhooks/resend", endpoint=0, recorded=row["recorded"]) == 403


async def test_a_stopped_endpoint_can_be_sent_to_again(t: Tracker) -> None:
    delivered(t, state=State.WAITING, next_at=NOW + 9, status=410)
    deliveries = t.store.deliveries()
    standing = deliveries.lease(ENDPOINTS[0].key, "node", NOW, NOW + 60)
    assert standing is not None
    deliveries.settle(ENDPOINTS[0].key, "node", [], replace(standing, stopped_at=NOW + 9), NOW, NOW + 60)
    await sign_in(t)
    assert "said that it is gone" in await page(t)
    assert await press(t, "/webhooks/resume", endpoint=0) == 303
    assert "said that it is gone" not in await page(t)
    assert await press(t, "/webhooks/resume", endpoint=9) == 400


async def test_a_failing_endpoint_says_why(t: Tracker) -> None:
    delivered(t, state=State.WAITING, next_at=NOW + 60, status=None, problem="the connection was refused")
    deliveries = t.store.deliveries()
    standing = deliveries.lease(ENDPOINTS[0].key, "node", NOW, NOW + 60)
    assert standing is not None
    deliveries.settle(ENDPOINTS[0].key, "node", [], replace(standing, failures=5), NOW, NOW + 60)
    await sign_in(t)
    text = await page(t)
    assert "does not take events" in text
    assert "the connection was refused" in text


def figures(collector: WebhooksCollector) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["endpoint"]): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


async def test_metrics_name_endpoints_by_their_place(t: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    deliveries = t.store.deliveries()
    collector = WebhooksCollector(deliveries, lambda: ENDPOINTS, lambda: NOW + 105)
    assert figures(collector) == {}
    delivered(t)
    found = figures(collector)
    assert found["webhooks_delivered_total", "0"] == 1
    assert found["webhooks_delivered_total", "1"] == 0
    assert found["webhooks_waiting", "0"] == found["webhooks_stopped", "0"] == 0
    assert found["webhooks_behind_seconds", "1"] == pytest.approx(100, abs=0.1)

    def away(*arguments: object) -> Any:
        raise StoreError("away")

    monkeypatch.setattr(t.store, "_read", away)
    assert figures(WebhooksCollector(t.store.deliveries(), lambda: ENDPOINTS, lambda: NOW)) == {}
