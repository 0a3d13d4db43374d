"""The door of the dashboard: who gets in, for how long, and who is shut out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests.tracker.test_pages import page, sign_in
from tests.tracker.tracked import READ_KEY, Tracker, configured, tracker
from tracker.app import create_admin_app
from tracker.errors import StoreError
from tracker.reading.addresses import Address, local
from tracker.reading.attempts import MOST, WINDOW, Attempts, network
from tracker.reading.auth import Gate
from tracker.reading.sessions import COOKIE, Sessions
from tracker.store.sqlite import SqliteStore


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        yield running


async def csrf(t: Tracker) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await t.client.get("/messages")).text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/", ""), ("/messages/x", "?next=%2Fmessages%2Fx"), ("/messages?q=a&cursor=b", "?next=%2Fmessages%3Fq%3Da")],
)
async def test_strangers_are_sent_to_sign_in(t: Tracker, path: str, wanted: str) -> None:
    answer = await t.client.get(path, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login{wanted}")
    t.client.cookies.set(COOKIE, "9999999999.x.y")
    assert (await t.client.get(path)).status_code == 303


async def test_signing_in_and_out(t: Tracker) -> None:
    await page(t, "/login")
    assert "No such key" in (await sign_in(t, "wrong")).text
    answer = await sign_in(t)
    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age=43200" in cookie
    assert READ_KEY not in cookie
    text = await page(t, "/messages")
    assert (await t.client.post("/logout", data={"csrf": "guess"})).status_code == 403
    assert (await t.client.post("/logout")).status_code == 403
    await page(t, "/messages")
    token = re.search(r'name="csrf" value="([^"]+)"', text)
    assert token
    kept = t.client.cookies.get(COOKIE)
    answer = await t.client.post("/logout", data={"csrf": token[1]})
    assert answer.headers["location"] == "/login"
    assert t.client.cookies.get(COOKIE) != kept


async def test_a_session_ends_after_twelve_hours(t: Tracker) -> None:
    await sign_in(t)
    t.clock.now += 12 * 3600 - 1
    await page(t, "/messages")
    t.clock.now += 2
    assert (await t.client.get("/messages")).status_code == 303


async def test_an_altered_cookie_opens_nothing(t: Tracker) -> None:
    await sign_in(t)
    ends, nonce, mac = (t.client.cookies.get(COOKIE) or "").split(".")
    for forged in (f"{int(ends) + 1}.{nonce}.{mac}", f"{ends}.{nonce}x.{mac}", f"{ends}.{nonce}.{mac[:-1]}", mac, ""):
        t.client.cookies.clear()
        answer = await t.client.get("/", headers={"Cookie": f"{COOKIE}={forged}"})
        assert answer.status_code == 303


async def test_the_cookie_is_secure_where_the_site_is(tmp_path: Path) -> None:
    async with tracker(tmp_path, config=configured(public_url="https://track.example.com")) as t:
        assert "Secure" in (await sign_in(t)).headers["set-cookie"]


async def test_a_copied_cookie_is_no_use_after_signing_out_in_any_process(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        copied = t.client.cookies[COOKIE]
        await sign_in(t)  # another session of the same key, which goes on
        other = t.client.cookies[COOKIE]
        t.client.cookies.set(COOKIE, copied, domain="tracker.test")
        await t.client.post("/logout", data={"csrf": await csrf(t)})
        config, store = configured(), SqliteStore(tmp_path / "store.sqlite")
        gate = Gate(config.api_keys, t.clock)
        app = create_admin_app(config, store, t.recorder, t.clock, gate=gate)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://other.test") as client:
            for cookie, status in ((copied, 303), (other, 200)):
                headers = {"Cookie": f"{COOKIE}={cookie}"}
                assert (await t.client.get("/messages", headers=headers)).status_code == status
                assert (await client.get("/messages", headers=headers)).status_code == status
            assert (await client.get("/login", headers={"Cookie": f"{COOKIE}={copied}"})).status_code == 200
        store.close()


async def test_ended_sessions_are_forgotten_once_they_would_have_ended_anyway(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite", clock=lambda: 1000.0)
    store.end_session("one", 1001.0)
    store.end_session("one", 1001.0)
    assert store.session_ended("one")
    later = SqliteStore(tmp_path / "store.sqlite", clock=lambda: 1002.0)
    later.end_session("two", 2000.0)
    assert (later.session_ended("one"), later.session_ended("two")) == (False, True)
    store.close()
    later.close()


async def test_nobody_is_let_in_while_it_cannot_be_known_whether_a_session_was_ended(tmp_path: Path) -> None:
    class Away(SqliteStore):
        def session_ended(self, id: str) -> bool:
            raise StoreError("away")

        def end_session(self, id: str, until: float) -> None:
            raise StoreError("away")

    async with tracker(tmp_path, store=Away(tmp_path / "s.sqlite")) as t:
        await sign_in(t)
        assert "The store is away" in await page(t, "/messages", 503)
        assert (await t.client.get("/login")).headers["location"] == "/"
        kept = t.client.cookies[COOKIE]
        assert (await t.client.post("/logout")).status_code == 503
        assert t.client.cookies[COOKIE] == kept


async def test_a_session_ends_when_its_key_goes(t: Tracker) -> None:
    config = configured()
    gate = Gate(config.api_keys, t.clock)
    sessions = Sessions(gate, t.store)
    cookie = sessions.open(config.api_keys[0])
    assert sessions.claimed(cookie)
    gate.replace(config.api_keys[1:])
    assert sessions.claimed(cookie) is None


# -- back to where one wanted to go ----------------------------------------------------------------------------------


async def test_after_signing_in_one_is_where_one_wanted_to_be(t: Tracker) -> None:
    wanted = "/messages?q=spring+%26+summer&status=bounced"
    sent = (await t.client.get(wanted)).headers["location"]
    form = await page(t, sent)
    assert f'name="next" value="{wanted.replace("&", "&amp;")}"' in form
    answer = await t.client.post("/login", data={"key": READ_KEY, "next": wanted})
    assert answer.headers["location"] == wanted
    assert (await t.client.get(sent)).headers["location"] == wanted  # signed in already


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "javascript:alert(1)",
        "/a\r\nb: c",
        "/é",
        "",
        "/ x",
        "/\t/evil.example",
        "/" + "x" * 3000,
    ],
)
async def test_only_pages_of_ours_are_gone_on_to(t: Tracker, elsewhere: str) -> None:
    assert local(elsewhere) == "/"
    assert "evil" not in (await t.client.get("/login?" + urlencode({"next": elsewhere}))).text
    answer = await t.client.post("/login", data={"key": READ_KEY, "next": elsewhere})
    assert answer.headers["location"] == "/"


def test_a_page_knows_its_own_address_with_parameters_changed() -> None:
    here = Address("/report", (("from", "2026-01-01"), ("tag", "a&b"), ("cursor", "x"), ("format", "csv"), ("q", "")))
    assert here.but() == "/report?from=2026-01-01&tag=a%26b"
    assert here.but(tag=None, cursor="y") == "/report?from=2026-01-01&cursor=y"
    assert here.but(format="csv", table="links") == "/report?from=2026-01-01&tag=a%26b&format=csv&table=links"
    assert Address("/report", (("tag", "x"),)).but(tag="") == "/report"


# -- guesses ---------------------------------------------------------------------------------------------------------


async def guess(t: Tracker, address: str, key: str = "wrong") -> httpx.Response:
    """From one address, as a trusted proxy forwards it."""
    app = httpx.ASGITransport(t.app, client=("10.0.0.1", 4711))
    async with httpx.AsyncClient(transport=app, base_url="http://tracker.test") as client:
        return await client.post("/login", data={"key": key}, headers={"X-Forwarded-For": address})


async def test_ten_wrong_keys_shut_an_address_out_for_ten_minutes(t: Tracker) -> None:
    for _ in range(MOST):
        assert (await guess(t, "198.51.100.1")).status_code == 401
        t.clock.now += 10
    for key in ("wrong", READ_KEY):
        answer = await guess(t, "198.51.100.1", key)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "500")
        assert "try again in 9 minutes" in answer.text
        assert COOKIE not in answer.cookies
    assert (await guess(t, "198.51.100.2", READ_KEY)).status_code == 303
    t.clock.now += 500
    assert (await guess(t, "198.51.100.1", READ_KEY)).status_code == 303


async def test_an_ipv6_visitor_is_known_by_its_network(t: Tracker) -> None:
    for n in range(MOST):
        await guess(t, f"2001:db8:1:2::{n:x}")
    assert (await guess(t, "2001:db8:1:2:ffff::1")).status_code == 429
    assert (await guess(t, "2001:db8:1:3::1")).status_code == 401


async def test_who_is_no_trusted_proxy_cannot_say_who_asks(t: Tracker) -> None:
    for n in range(MOST):
        await t.client.post("/login", data={"key": "wrong"}, headers={"X-Forwarded-For": f"198.51.100.{n}"})
    assert (await sign_in(t)).status_code == 429


def test_guesses_are_counted_within_bounds() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0], addresses=100)
    for n in range(MOST - 1):
        attempts.failed("192.0.2.1")
        now[0] = float(n)
    assert attempts.wait("192.0.2.1") == 0
    attempts.failed("192.0.2.1")
    assert attempts.wait("192.0.2.1") == WINDOW - now[0]
    for n in range(100):
        attempts.failed(f"198.51.100.{n}")
    assert attempts.wait("192.0.2.1") == 0  # the one that was quiet for longest is forgotten
    assert (network(None), network("x"), network("192.0.2.1")) == ("", "x", "192.0.2.1")


async def test_a_form_on_another_site_signs_nobody_in(t: Tracker) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 303), ("none", 303)):
        answer = await t.client.post("/login", data={"key": READ_KEY}, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status


async def test_behind_a_proxy_of_its_own_the_admin_side_learns_of_https_from_it(t: Tracker) -> None:
    config = configured(admin_listen="127.0.0.1:9", public_url="https://track.example.com")
    app = create_admin_app(config, t.store, t.recorder, t.clock)
    for peer, forwarded, secure in (
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "http", False),
        ("192.0.2.1", "https", False),
    ):
        transport = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin.test") as client:
            headers = {"X-Forwarded-Proto": forwarded}
            answer = await client.post("/login", data={"key": READ_KEY}, headers=headers)
            assert ("Secure" in answer.headers["set-cookie"]) is secure
