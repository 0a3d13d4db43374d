"""The dashboard: pages that show the counts, nothing from elsewhere, nothing unescaped."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from lxml import html

from tests.tracker.facts import NOW, accepted, hit, outcome
from tests.tracker.tracked import READ_KEY, Tracker, configured, tracker
from tracker.app import create_admin_app
from tracker.model import Recipient, Status


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path, sample="swaks --to you@example.com --server 127.0.0.1:2525") as running:
        yield running


async def sign_in(t: Tracker, key: str = READ_KEY) -> httpx.Response:
    return await t.client.post("/login", data={"key": key})


async def page(t: Tracker, path: str, status: int = 200) -> str:
    answer = await t.client.get(path)
    assert answer.status_code == status, answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    tree = html.fromstring(answer.text)
    for element in tree.iter("link", "img", "a", "form", "script", "iframe"):
        assert element.tag != "script" or element.get("src")
        for name in ("href", "src", "action"):
            assert element.get(name) is None or element.get(name, "").startswith(("/", "#")), answer.text
    return answer.text


async def test_the_empty_list_says_what_to_do(t: Tracker) -> None:
    await sign_in(t)
    text = await page(t, "/messages")
    assert "swaks --to you@example.com" in text
    assert "Nothing found" in await page(t, "/messages?q=zzz")


async def test_the_list_shows_messages_and_counts(t: Tracker) -> None:
    await sign_in(t)
    message = accepted(subject="<script>alert(1)</script> & 'so'")
    plain = accepted(at=NOW + 5, instrumented=False, reason="no_profile", subject="Receipt")
    t.store.apply([message, plain, outcome(message.id), outcome(message.id, 2, Status.BOUNCED), hit(message.id)])
    text = await page(t, "/messages")
    assert "&lt;script&gt;alert(1)" in text
    assert text.index("Receipt") < text.index("alert(1)")
    assert "No entry of “senders”" in text
    assert "1 bounced" in text
    found = await page(t, "/messages?q=receipt")
    assert "alert(1)" not in found
    assert "Receipt" in found


async def test_a_message_has_its_page(t: Tracker) -> None:
    await sign_in(t)
    people = (Recipient(1, "<b>@example.net"), Recipient(2, "two@example.net"))
    message = accepted(recipients=people)
    t.store.apply([message, outcome(message.id), hit(message.id), hit(message.id, 1, 3), hit(message.id, 2, 1)])
    t.store.apply([hit(message.id, 2, 2, agent="curl/8")])
    text = await page(t, f"/messages/{message.id}")
    for part in ("&lt;b&gt;@example.net", "https://example.com/3?a=1", "opt-out", "Opened", "machine", "spring-1"):
        assert part in text
    assert "Not found" in await page(t, "/messages/nothing", 404)


async def test_a_message_that_only_hits_know_has_its_page_too(t: Tracker) -> None:
    await sign_in(t)
    message = accepted()
    t.store.apply([hit(message.id, 1, 1)])
    assert "not recorded yet" in await page(t, "/messages")
    await page(t, f"/messages/{message.id}")


async def test_paging(t: Tracker) -> None:
    await sign_in(t)
    t.store.apply([accepted(at=NOW + n, subject=f"Mail number {n:03}") for n in range(120)])
    seen: list[str] = []
    path = "/messages?q=number"
    while path:
        text = await page(t, path)
        seen += re.findall(r"Mail number (\d+)", text)
        tree = html.fromstring(text)
        links = tree.xpath("//a[@rel='next']/@href")
        path = str(links[0]) if links else ""
    assert seen == [f"{n:03}" for n in range(119, -1, -1)]
    assert "cursor" in await page(t, "/messages?cursor=!!", 400)


async def test_static_files_may_be_kept_and_nothing_else_is_served(t: Tracker) -> None:
    style = await t.client.get("/static/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "max-age" in style.headers["cache-control"]
    assert style.headers["x-content-type-options"] == "nosniff"
    assert "//" not in style.text.replace("/*", "").replace("*/", "")
    for path in ("/static/base.html", "/static/..%2fapi.py", "/static/"):
        assert (await t.client.get(path)).status_code == 404


async def test_with_a_listener_of_its_own_the_admin_side_answers_only_there(tmp_path: Path) -> None:
    config = configured(admin_listen="127.0.0.1:9")
    async with tracker(tmp_path, config=config) as t:
        for path in ("/", "/login", "/api/v1/messages", "/metrics", "/readyz", "/static/style.css"):
            assert (await t.client.get(path)).status_code == 404
        assert (await t.client.get("/livez")).status_code == 200
        admin = create_admin_app(config, t.store, t.recorder, t.clock)
        transport = httpx.ASGITransport(admin)
        async with httpx.AsyncClient(transport=transport, base_url="http://admin.test") as client:
            for path, status in (("/login", 200), ("/api/v1/messages", 401), ("/metrics", 200), ("/c/x", 404)):
                assert (await client.get(path)).status_code == status
