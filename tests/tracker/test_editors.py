"""The dashboard's editors, of the suppression list and of saved link types: who may change what, and what it shows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from lxml import html

from tests.tracker.facts import NOW, accepted, hit, opted_out
from tests.tracker.test_pages import page, sign_in
from tests.tracker.tracked import Tracker, tracker
from tracker.model import LinkType, Suppression, SuppressionKind
from tracker.store.base import SuppressionFilter

ANN, SHOP = "ann@example.net", "shop@example.com"
FORMS = ["/suppressions", "/suppressions/remove", "/suppressions/import", "/links"]


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        await sign_in(running, "another-key")
        yield running


async def token(t: Tracker) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await t.client.get("/messages")).text)
    assert found
    return found[1]


async def post(t: Tracker, path: str, fields: dict[str, str], **more: Any) -> httpx.Response:
    return await t.client.post(path, data={"csrf": await token(t), **fields}, **more)


def listed(t: Tracker) -> list[tuple[str, str | None, str, str]]:
    rows = t.store.suppressions(SuppressionFilter(), 100).rows
    return [(row["address"], row["sender"], row["kind"], row["reason"]) for row in rows]


async def filled(t: Tracker, path: str, action: str, number: int = 0, **fields: str) -> httpx.Response:
    """Fill in a form of a page as it stands there, and send it."""
    tree = html.fromstring((await t.client.get(path)).text)
    form: Any = [form for form in tree.forms if form.action == action and form.method == "POST"][number]
    for name, value in fields.items():
        form.fields[name] = value
    return await t.client.post(action, data=dict(form.form_values()))


@pytest.mark.parametrize("path", ["/suppressions", "/links", "/suppressions?format=csv"])
async def test_strangers_are_sent_to_sign_in(tmp_path: Path, path: str) -> None:
    async with tracker(tmp_path) as t:
        assert (await t.client.get(path)).headers["location"].startswith("/login")


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_from_elsewhere_changes_nothing(t: Tracker, path: str) -> None:
    t.store.suppress([Suppression(ANN)])
    for csrf in ({}, {"csrf": ""}, {"csrf": "guess"}, {"csrf": "é"}):
        fields = {"address": ANN, "url": "https://x.test/", "type": "never", "file": "address\nx@y.z\n", **csrf}
        answer = await t.client.post(path, data=fields)
        assert answer.status_code == 403
    t.client.cookies.clear()
    assert (await t.client.post(path, data=fields)).headers["location"].startswith("/login")
    assert (listed(t), t.store.link_types()) == ([(ANN, None, "mail", "")], [])


@pytest.mark.parametrize("path", FORMS)
async def test_a_session_that_may_only_read_changes_nothing(tmp_path: Path, path: str) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        t.store.suppress([Suppression(ANN)])
        t.store.apply([accepted()])
        for shown in ("/suppressions", "/links"):
            tree = html.fromstring(await page(t, shown))
            assert [form.action for form in tree.forms if form.method == "POST"] == ["/logout"]
        fields = {"address": ANN, "url": "https://x.test/", "type": "never", "file": "address\nx@y.z\n"}
        answer = await post(t, path, fields)
        assert (answer.status_code, "may only read" in answer.text) == (403, True)
        assert (listed(t), t.store.link_types()) == ([(ANN, None, "mail", "")], [])


# -- the suppression list --------------------------------------------------------------------------------------------


async def test_an_address_is_added_and_removed_by_the_forms_of_the_page(t: Tracker) -> None:
    assert "Nobody is on the list" in await page(t, "/suppressions")
    answer = await filled(t, "/suppressions", "/suppressions", address=ANN, sender="Shop@example.com", kind="tracking")
    assert (answer.status_code, answer.headers["location"]) == (303, "/suppressions?done=added&count=1")
    assert "1 entry added" in await page(t, answer.headers["location"])
    assert listed(t) == [(ANN, SHOP, "tracking", "added by hand")]
    await filled(t, "/suppressions", "/suppressions", address=ANN, reason="by phone")
    assert [row for row in listed(t) if row[1] is None] == [(ANN, None, "mail", "by phone")]
    answer = await filled(t, "/suppressions", "/suppressions/remove", number=0)
    assert answer.headers["location"] == "/suppressions?done=removed&count=1"
    assert len(listed(t)) == 1


async def test_what_is_wrong_is_said_where_it_was_typed(t: Tracker) -> None:
    answer = await post(t, "/suppressions", {"address": "<b>nobody", "sender": SHOP, "reason": "so"})
    assert (answer.status_code, "mail address" in answer.text) == (400, True)
    form: Any = next(each for each in html.fromstring(answer.text).forms if each.action == "/suppressions")
    assert (form.fields["address"], form.fields["sender"], form.fields["reason"]) == ("<b>nobody", SHOP, "so")
    assert (await post(t, "/suppressions/remove", {"address": "nobody"})).status_code == 400


async def test_the_list_is_searched_and_paged(t: Tracker) -> None:
    t.store.suppress([Suppression(f"p{n}@example.net", SHOP, since=NOW + n) for n in range(70)])
    assert "p69@" in await page(t, "/suppressions?q=p69")
    assert "p68@" not in await page(t, "/suppressions?q=p69")
    assert "Nothing found for “zzz”" in await page(t, "/suppressions?q=zzz")
    seen: list[str] = []
    path: str | None = "/suppressions?q=example"
    while path:
        text = await page(t, path)
        seen += re.findall(r">p(\d+)@example", text)
        links = html.fromstring(text).xpath("//a[@rel='next']/@href")
        path = str(links[0]) if links else None
    assert seen == [str(n) for n in range(69, -1, -1)]
    assert "cursor" in await page(t, "/suppressions?cursor=!!", 400)


async def test_a_file_goes_in_and_the_list_comes_out(t: Tracker) -> None:
    file = b'address,kind,reason\r\nann@example.net,tracking,"a ""b"", c"\r\nbob@example.net,,\r\n'
    answer = await post(t, "/suppressions/import", {}, files={"file": ("list.csv", file, "text/csv")})
    assert answer.headers["location"] == "/suppressions?done=added&count=2"
    assert (ANN, None, "tracking", 'a "b", c') in listed(t)
    out = await t.client.get("/suppressions?format=csv")
    assert out.headers["content-disposition"] == 'attachment; filename="suppressions.csv"'
    assert out.text.startswith("address,sender,kind,reason,since\r\n")
    assert len(out.text.splitlines()) == 3
    answer = await post(t, "/suppressions/import", {}, files={"file": ("x.csv", b"address\nnobody\n", "text/csv")})
    assert (answer.status_code, "Row 2" in answer.text) == (400, True)


async def test_everything_shown_is_escaped(t: Tracker) -> None:
    t.store.suppress([Suppression("<script>@x.test", '"><img src=x>@y.test', SuppressionKind.MAIL, "<i>why")])
    t.store.save_link_type(None, "https://x.test/<script>", LinkType.NEVER)
    for path in ("/suppressions", "/suppressions?q=<script>", "/links", "/links?sender=<script>"):
        tree = html.fromstring(await page(t, path))
        assert not tree.xpath("//script | //i | //main//img")


async def test_an_opt_out_stands_in_the_messages_timeline(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, opted_out(message.id, kind=SuppressionKind.TRACKING)])
    text = await page(t, f"/messages/{message.id}")
    for part in ("Opted out", "no tracking", "Opt-out page", "person1@example.net"):
        assert part in text


# -- saved types -----------------------------------------------------------------------------------------------------


async def test_a_type_is_saved_for_a_link_seen_and_taken_back(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, hit(message.id, 1, 1)])
    answer = await filled(t, "/links", "/links", number=1, type="never")
    assert answer.headers["location"] == "/links?done=saved&count=1#links"
    assert [(row["url"], row["type"]) for row in t.store.link_types()] == [("https://example.com/1", "never")]
    text = await page(t, "/links?done=saved")
    assert "Saved, for mail from now on" in text
    assert html.fromstring(text).xpath("//table[contains(@class, 'seen')]//option[@selected]/@value") == ["never"]
    await filled(t, "/links", "/links", number=1)  # the form that removes it
    assert t.store.link_types() == []


async def test_a_type_is_saved_for_a_glob_of_one_sender(t: Tracker) -> None:
    answer = await filled(t, "/links?sender=news@example.com", "/links", url="https://a.test/*", type="mirror")
    assert answer.headers["location"] == "/links?sender=news%40example.com&done=saved&count=1"
    (row,) = t.store.link_types()
    assert (row["url"], row["sender"], row["type"]) == ("https://a.test/*", "news@example.com", "mirror")


async def test_links_of_one_sender_alone(t: Tracker) -> None:
    t.store.apply([accepted()])
    assert "https://example.com/1" in await page(t, "/links?sender=News@example.com")
    assert "No link is like that" in await page(t, "/links?sender=other@example.com")


async def test_links_are_found_by_a_part_of_their_url(t: Tracker) -> None:
    t.store.apply([accepted()])
    for query, found in (("COM/2", ["https://example.com/2"]), ("%", []), ("nothing", [])):
        tree = html.fromstring(await page(t, f"/links?q={quote(query)}"))
        assert tree.xpath("//table[contains(@class, 'seen')]//th/span[@class='subject']/text()") == found
    out = await t.client.get("/links?q=com/2&format=csv&table=links")
    assert [line.partition(",")[0] for line in out.text.splitlines()] == ["url", "https://example.com/2"]


async def test_a_form_leads_back_to_a_page_of_ours_and_nowhere_else(t: Tracker) -> None:
    for back, place in (
        ("/messages/x?recipient=2&cursor=y#links", "/messages/x?recipient=2&done=saved&count=1#links"),
        ("//evil.test/", "/?done=saved&count=1"),
        ("https://evil.test/", "/?done=saved&count=1"),
        ("/\\evil.test", "/?done=saved&count=1"),
        ("", "/links?done=saved&count=1"),
    ):
        answer = await post(t, "/links", {"url": "https://x.test/", "type": "never", "back": back})
        assert answer.headers["location"] == place


async def test_a_type_that_cannot_be_saved_is_refused(t: Tracker) -> None:
    answer = await post(t, "/links", {"url": "javascript:alert(1)", "type": "never"})
    assert (answer.status_code, "https://example.com/reset/*" in answer.text) == (400, True)
    assert (await post(t, "/links", {"url": "https://x.test/", "type": "odd"})).status_code == 400
    assert t.store.link_types() == []
