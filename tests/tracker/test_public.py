"""The pixel and the redirect: right answers, counted hits, nothing else."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracker.facts import BROWSER, NOW, accepted
from tests.tracker.tracked import KEYRING, configured, tracker
from tracker.errors import BadToken, StoreError
from tracker.hits.public import GIF
from tracker.hits.recorder import Limits
from tracker.model import Fact, LinkType, new_id
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click, Mirror, Open, OptOut

MESSAGE = new_id(NOW)
PIXEL = f"/o/{KEYRING.seal(Open(MESSAGE, 1))}.gif"
URL = "https://example.com/a|b^c{d}?q=%EF&copy=1&x='[]@,#frag%20ment"
LINK = f"/c/{KEYRING.seal(Click(MESSAGE, 1, 1, URL))}"
AGENT = {"User-Agent": BROWSER}


def is_public(answer: httpx.Response) -> None:
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-robots-tag"] == "noindex"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


async def test_the_pixel_is_a_gif_and_an_open(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        answer = await t.client.get(PIXEL, headers=AGENT)
        assert (answer.status_code, answer.content, len(answer.content)) == (200, GIF, 43)
        assert answer.headers["content-type"] == "image/gif"
        is_public(answer)
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["opens"], row["unique_opens"], row["machine_opens"]) == (1, 1, 0)


async def test_the_redirect_is_byte_for_byte(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        answer = await t.client.get(LINK, headers=AGENT)
        raw = dict(answer.headers.raw)
        assert answer.status_code == 302
        assert raw[b"location"] == URL.encode()
        is_public(answer)
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["clicks"], row["unique_clicks"], row["opens"]) == (1, 1, 0)
        events = (await t.api(f"/messages/{MESSAGE}/events"))["items"]
        assert events[0]["url"] == URL
        assert (events[0]["address"], events[0]["agent"]) == ("192.0.2.0", "Chrome on Windows")


async def test_head_has_the_same_headers_and_is_no_person(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        for path in (PIXEL, LINK, "/c/forged", "/nothing"):
            got, head = await t.client.get(path, headers=AGENT), await t.client.head(path, headers=AGENT)
            assert head.status_code == got.status_code
            assert head.content == b""
            assert dict(head.headers) == dict(got.headers)
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["opens"], row["machine_opens"], row["clicks"], row["machine_clicks"]) == (1, 1, 1, 1)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_refused(tmp_path: Path, method: str) -> None:
    async with tracker(tmp_path) as t:
        for path in (PIXEL, LINK):
            answer = await t.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
            is_public(answer)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/c/", "/c", "/o/.gif", "/o/", "/unknown", "/c/é", LINK + "/", LINK[:-1], LINK + "A", PIXEL[:-4]),
        *(
            PIXEL.replace("/o/", "/c/")[:-4],
            LINK.replace("/c/", "/o/") + ".gif",
            "/c/" + "A" * 9000,
            LINK + "=",
            LINK + "%0A",
        ),
        "/c/" + KEYRING.seal(Mirror(MESSAGE, 1)),
        "/c/" + KEYRING.seal(OptOut(MESSAGE, 1, "a@example.com", "b@example.com")),
    ],
)
async def test_what_is_not_ours_is_not_found(tmp_path: Path, path: str) -> None:
    async with tracker(tmp_path, config=configured(admin_listen="127.0.0.1:1")) as t:
        answer = await t.client.get(httpx.URL("http://x.test").copy_with(raw_path=httpx.URL(path).raw_path))
        assert answer.status_code == 404
        assert "location" not in answer.headers
        is_public(answer)


@pytest.mark.parametrize(
    "url", ["https://a.example/\r\nSet-Cookie: a=b", "javascript:alert(1)", "https://é.example/", "/x"]
)
async def test_even_a_sealed_url_must_be_a_plain_web_address(tmp_path: Path, url: str) -> None:
    async with tracker(tmp_path) as t:
        answer = await t.client.get("/c/" + KEYRING.seal(Click(MESSAGE, 1, 1, url)))
        assert answer.status_code == 404
        assert "location" not in answer.headers


async def test_a_query_that_someone_hung_on_does_not_break_a_link(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        answer = await t.client.get(LINK + "?fbclid=1", headers=AGENT)
        assert answer.headers["location"] == URL


@pytest.mark.parametrize(
    ("kept", "agent", "whole"),
    [("full", BROWSER, "whole"), ("family", "Chrome on Windows", None), ("none", None, None)],
)
async def test_what_judged_a_hit_is_kept_with_it(tmp_path: Path, kept: str, agent: str | None, whole: Any) -> None:
    async with tracker(tmp_path, config=configured(privacy={"user_agent": kept})) as t:
        await t.client.get(LINK, headers={**AGENT, "X-Moz": "other", "Cookie": "a=b"})
        await t.settle()
        event = (await t.api(f"/messages/{MESSAGE}/events"))["items"][0]
        signals = event["signals"]
        assert event["agent"] == agent
        assert (signals.pop("agent", None), signals) == (whole, {"method": "GET", "x-moz": "other", "rule": "browser"})


async def test_opt_out_and_mirror_links_are_counted_as_such(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        for position, kind in ((3, LinkType.OPT_OUT), (4, LinkType.MIRROR)):
            claim = Click(MESSAGE, 1, position, "https://example.com/own", kind)
            assert (await t.client.get("/c/" + KEYRING.seal(claim), headers=AGENT)).status_code == 302
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["clicks"], row["opt_out_clicks"], row["mirror_views"], row["opt_outs"]) == (0, 1, 1, 0)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(LINK) - 4), st.sampled_from(string.ascii_letters + string.digits + "-_=.~ "))
def test_one_changed_character_opens_nothing(place: int, letter: str) -> None:
    token = LINK[3:]
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(BadToken):
            KEYRING.open(Click, changed)


async def test_twenty_thousand_altered_tokens_redirect_nowhere(tmp_path: Path) -> None:
    chance = random.Random(7)
    alphabet = string.ascii_letters + string.digits + "-_"
    statuses: set[int] = set()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])
            assert b"location" not in dict(message["headers"])

    async with tracker(tmp_path) as t:
        for _ in range(20_000):
            token = list(LINK[3:])
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                token[chance.randrange(len(token))] = chance.choice(alphabet)
            cut = chance.choice((len(token), len(token), chance.randrange(len(token))))
            if (altered := "".join(token[:cut])) == LINK[3:]:
                continue
            await t.app({"type": "http", "method": "GET", "path": f"/c/{altered}", "headers": []}, None, send)  # type: ignore[arg-type]
        assert statuses == {404}
        assert (await t.api("/messages"))["items"] == []


class Broken(SqliteStore):
    """A store that fails for as long as it is told to, or takes its time."""

    broken, slow = True, 0.0

    def apply(self, facts: Sequence[Fact]) -> None:
        time.sleep(self.slow)
        if self.broken:
            raise StoreError("away")
        super().apply(facts)


async def test_links_work_with_the_store_broken_and_are_counted_later(tmp_path: Path) -> None:
    store = Broken(tmp_path / "s.sqlite")
    async with tracker(tmp_path, store, limits=Limits(backoff=(0.01, 0.05))) as t:
        for _ in range(5):
            begun = time.monotonic()
            assert (await t.client.get(LINK, headers=AGENT)).headers["location"] == URL
            assert (await t.client.get(PIXEL, headers=AGENT)).content == GIF
            assert time.monotonic() - begun < 5
            t.clock.now += 20
        store.broken = False
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["clicks"], row["opens"]) == (5, 5)


async def test_a_slow_store_costs_a_visitor_little(tmp_path: Path) -> None:
    store = Broken(tmp_path / "s.sqlite")
    store.broken, store.slow = False, 3.0
    async with tracker(tmp_path, store) as t:
        begun = time.monotonic()
        assert (await t.client.get(LINK, headers=AGENT)).status_code == 302
        assert time.monotonic() - begun < 1.5
        await t.settle()
        assert (await t.api(f"/messages/{MESSAGE}"))["clicks"] == 1


@pytest.mark.parametrize(
    ("ip", "agent", "address", "kept"),
    [
        ("truncated", "family", "192.0.2.0", "Chrome on Windows"),
        ("full", "full", "192.0.2.77", BROWSER),
        ("none", "none", None, None),
    ],
)
async def test_no_more_is_kept_than_privacy_allows(
    tmp_path: Path, ip: str, agent: str, address: str | None, kept: str | None
) -> None:
    async with tracker(tmp_path, config=configured(privacy={"ip": ip, "user_agent": agent})) as t:
        await t.client.get(PIXEL, headers=AGENT)
        await t.client.get(LINK, headers={"User-Agent": "curl/8.5.0"})
        await t.settle()
        event, bot = (await t.api(f"/messages/{MESSAGE}/events"))["items"]
        assert (event["address"], event["agent"]) == (address, kept)
        assert (event["class"], bot["class"], bot["kind"]) == ("human", "machine", "bot")
    kept_bytes = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("store.sqlite*")))  # noqa: ASYNC240
    assert (b"192.0.2.77" in kept_bytes) == (ip == "full")


async def test_without_attribution_people_are_told_apart_and_not_kept(tmp_path: Path) -> None:
    async with tracker(tmp_path, config=configured(privacy={"ip": "full", "user_agent": "full"})) as t:
        t.recorder.record(accepted(MESSAGE, attributed=False))
        path = f"/o/{KEYRING.seal(Open(MESSAGE, None))}.gif"
        for turn in range(3):
            await t.client.get(path, headers=AGENT | {"X-Forwarded-For": "ignored"})
            await t.client.get(path, headers={"User-Agent": BROWSER.replace("129", str(130 + turn))})
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["opens"], row["unique_opens"]) == (4, None)
        events = (await t.api(f"/messages/{MESSAGE}/events"))["items"]
        hits = [event for event in events if event["type"] == "open"]
        assert [event["kind"] for event in hits].count("repeat") == 2
        assert {(event["recipient"], event["address"], event["agent"]) for event in hits} == {(None, None, None)}


async def test_repeats_within_ten_seconds(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        for step in (0, 4, 4, 4):
            t.clock.now += step
            await t.client.get(PIXEL, headers=AGENT)
        await t.settle()
        row = await t.api(f"/messages/{MESSAGE}")
        assert (row["opens"], row["unique_opens"]) == (2, 1)


async def test_without_attribution_a_link_made_for_one_reader_does_not_tell_whose_it_was(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        url = "https://example.com/p?e=ann%40example.net&n=1"
        answer = await t.client.get("/c/" + KEYRING.seal(Click(MESSAGE, None, 1, url)), headers=AGENT)
        assert answer.headers["location"] == url
        await t.settle()
        events = (await t.api(f"/messages/{MESSAGE}/events"))["items"]
        assert [event["url"] for event in events] == ["https://example.com/p?e=forgotten&n=1"]
    assert not any(b"ann" in path.read_bytes() for path in tmp_path.glob("store.sqlite*"))  # noqa: ASYNC240
