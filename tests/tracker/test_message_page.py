"""The page of one message: its steps, recipients, timeline and links; and the picture of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from lxml import html

from tests.tracker.facts import NOW, accepted, hit, outcome
from tests.tracker.test_editors import filled
from tests.tracker.test_pages import page, sign_in
from tests.tracker.tracked import KEYRING, Tracker, tracker
from tracker.mirror import Document, Kind, Splice, pack
from tracker.model import BounceKind, Link, LinkType, MirrorPage, Recipient, Returned, Status, new_id

HTML = Document(
    (
        (
            '<p>Hi</p><img src="https://cdn.test/a.png"><img src="http://tracker.test/logo.png"><a href="',
            Splice(Kind.CLICK, "https://example.com/1?a=1", 1),
            '">one</a><a href="',
            Splice(Kind.CLICK, "https://example.com/2?a=1", 2),
            '">two</a>',
        ),
    ),
    {},
    "https://track.example.com",
    KEYRING.ids[0],
)


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        await sign_in(running, "another-key")
        yield running


def tree(text: str) -> Any:
    return html.fromstring(text)


def texts(text: str, path: str) -> list[str]:
    return [" ".join(" ".join(each.itertext()).split()) for each in tree(text).xpath(path)]


async def kept(t: Tracker, document: Document = HTML, **changes: Any) -> UUID:
    message = accepted(at=t.clock.now, **changes)
    t.store.apply([message, MirrorPage(message.id, t.clock.now, pack(document))])
    return message.id


async def test_the_steps_from_acceptance_to_clicks(t: Tracker) -> None:
    message = accepted(people=4)
    t.store.apply([message, outcome(message.id), outcome(message.id, 2), outcome(message.id, 3, Status.BOUNCED)])
    t.store.apply([hit(message.id), hit(message.id, 1, 1, NOW + 90), hit(message.id, 2, 1, agent="curl/8")])
    assert texts(await page(t, f"/messages/{message.id}"), "//ol[@class='funnel']/li") == [
        "Targeted 4",
        "Sent 2 50.0% of those not suppressed taken by the smarthost",
        "Delivered 2 50.0% of those not suppressed 1 bounced, 1 on the way",
        "Opened 1 50.0% of delivered with a pixel 1 open in all",
        "Clicked 1 50.0% of delivered with a tracked link 1 click in all, 1 by machines",
    ]


async def test_without_attribution_the_people_are_unknown(t: Tracker) -> None:
    message = accepted(attributed=False)
    t.store.apply([message, outcome(message.id), hit(message.id, None)])
    text = await page(t, f"/messages/{message.id}")
    assert texts(text, "//ol[@class='funnel']/li")[3] == "Opened 1 people unknown"
    assert texts(text, "//table[contains(@class, 'people')]//td")[1:3] == ["Opens – not known", "Clicks – not known"]
    assert "hits hold no recipient" in text


async def test_a_mail_that_was_not_tracked_says_why_and_what_to_do(t: Tracker) -> None:
    message = accepted(instrumented=False, reason="dkim_signed", pixel=False, links=())
    t.store.apply([message, outcome(message.id)])
    text = await page(t, f"/messages/{message.id}")
    assert "would break the signature" in texts(text, "//div[contains(@class, 'untracked')]")[0]
    assert "signed_mail: resign" in texts(text, "//div[contains(@class, 'untracked')]")[0]
    assert texts(text, "//ol[@class='funnel']/li")[3:] == ["Opened – no pixel in it", "Clicked – no tracked link in it"]
    assert "Not tracked. The sending app signed it" in texts(text, "//ol[contains(@class, 'timeline')]/li")[0]


async def test_the_timeline_tells_each_try_and_each_hit(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, outcome(message.id, 1, Status.PENDING, NOW + 1), outcome(message.id, 1, at=NOW + 61)])
    t.store.apply([outcome(message.id, 2, at=NOW + 5), hit(message.id, 1, 2, NOW + 100)])
    t.store.apply([hit(message.id, 2, 0, NOW + 200, agent="Mozilla/5.0")])
    lines = texts(await page(t, f"/messages/{message.id}"), "//ol[contains(@class, 'timeline')]/li/div")
    assert lines[0] == "Accepted Instrumented: an open pixel and 4 tracked links."
    assert lines[1].startswith("Deferred, will be tried again person1@example.net Try 1.")
    assert lines[2] == "Taken by the smarthost person2@example.net 250 2.0.0 Ok"
    assert lines[3] == "Taken by the smarthost person1@example.net Try 2. 250 2.0.0 Ok"
    assert "Clicked person1@example.net person browser https://example.com/2?a=1 Link 2: Link 2." in lines[4]
    assert "Opened person2@example.net machine privacy proxy" in lines[5]


async def test_what_comes_back_later_is_no_try(t: Tracker) -> None:
    message = accepted(instrumented=False, reason="no_html")
    t.store.apply([message, outcome(message.id)])
    for number, kind, code in ((2, BounceKind.DELAYED, "4.4.1"), (3, BounceKind.HARD, "5.1.1")):
        t.store.apply([Returned(message.id, 1, NOW + number, kind, code, "smtp; x")])
    lines = texts(await page(t, f"/messages/{message.id}"), "//ol[contains(@class, 'timeline')]/li/div")
    assert "no_html" not in lines[0].lower()
    assert lines[2].startswith("Delayed on its way person1@example.net delayed 4.4.1: the host does not answer.")
    assert lines[3].startswith("Bounced person1@example.net hard 5.1.1: no such mailbox.")


async def test_the_timeline_of_one_recipient_alone(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, outcome(message.id, 1), outcome(message.id, 2), hit(message.id, 2, 1)])
    text = await page(t, f"/messages/{message.id}?recipient=2")
    assert "Only what concerns person2@example.net" in texts(text, "//p[@class='only']")[0]
    lines = texts(text, "//ol[contains(@class, 'timeline')]/li/div")
    assert [line.split()[0] for line in lines] == ["Taken", "Clicked"]
    for bad in ("x", "-1", "1" * 30):
        await page(t, f"/messages/{message.id}?recipient={bad}", 400)


async def test_a_long_timeline_is_read_page_by_page(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message, *(hit(message.id, 1, 1, NOW + 60 * n) for n in range(1, 121))])
    seen, path = 0, f"/messages/{message.id}"
    for _ in range(9):
        text = await page(t, path)
        seen += len(texts(text, "//ol[contains(@class, 'timeline')]/li"))
        following = tree(text).xpath("//nav[@aria-label='Pages of the timeline']/a[@rel='next']/@href")
        if not following:
            break
        path = following[0].partition("#")[0]
    assert seen == 121
    await page(t, f"/messages/{message.id}?cursor=!!", 400)


async def test_recipients_are_found_by_address_and_state_and_paged(t: Tracker) -> None:
    message = accepted(recipients=tuple(Recipient(n, f"p{n}@example.net") for n in range(1, 61)))
    t.store.apply([message, outcome(message.id, 7, Status.BOUNCED), outcome(message.id, 8), hit(message.id, 8)])
    path = f"/messages/{message.id}"

    async def listed(query: str) -> list[str]:
        return texts(await page(t, path + query), "//table[contains(@class, 'people')]//th/a")

    assert await listed("") == [f"p{n}@example.net" for n in range(1, 26)]
    assert await listed("?page=3") == [f"p{n}@example.net" for n in range(51, 61)]
    assert await listed("?page=99") == await listed("?page=3")
    assert await listed("?state=bounced") == ["p7@example.net"]
    assert await listed("?state=opened") == ["p8@example.net"]
    assert await listed("?q=P6") == ["p6@example.net", "p60@example.net"]
    assert await listed("?q=nobody") == []
    assert "No recipient is like that" in await page(t, path + "?q=nobody")
    await page(t, path + "?state=odd", 400)


@pytest.mark.parametrize(("table", "rows"), [("recipients", 2), ("links", 4), ("timeline", 2)])
async def test_each_table_comes_as_a_file(t: Tracker, table: str, rows: int) -> None:
    message = accepted()
    t.store.apply([message, outcome(message.id)])
    answer = await t.client.get(f"/messages/{message.id}?format=csv&table={table}")
    assert answer.headers["content-disposition"] == f'attachment; filename="{table}.csv"'
    assert len(answer.text.splitlines()) == rows + 1


async def test_a_type_is_saved_where_the_link_is_seen(t: Tracker) -> None:
    links = (
        Link(1, "https://example.com/1?a=1#x", "", "One", LinkType.TRACKED, "default", True),
        Link(2, "https://example.com/2", "", "Two", LinkType.NEVER, "attribute data-track", False),
    )
    message = accepted(links=links)
    t.store.apply([message])
    path = f"/messages/{message.id}"
    answer = await filled(t, path, "/links", type="never")
    assert answer.headers["location"] == f"{path}?done=saved&count=1#links"
    (row,) = t.store.link_types()
    assert (row["url"], row["sender"], row["type"]) == ("https://example.com/1", "news@example.com", "never")
    text = await page(t, f"{path}?done=saved&count=1")
    assert "Saved, for mail from now on" in text
    assert tree(text).xpath("//table[contains(@class, 'links')]//option[@selected]/@value") == ["never"]
    assert len(tree(text).xpath("//form[@action='/links']")) == 1, "an attribute decides, whatever is saved"


async def test_whoever_may_only_read_sees_no_editor(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        message = accepted()
        t.store.apply([message])
        text = await page(t, f"/messages/{message.id}")
        assert [form.action for form in tree(text).forms if form.method == "POST"] == ["/logout"]
        assert "as in the mail" in text


# -- the picture -----------------------------------------------------------------------------------------------------


async def test_a_mail_whose_html_is_kept_has_a_picture(t: Tracker) -> None:
    id = await kept(t)
    text = await page(t, f"/messages/{id}")
    (frame,) = tree(text).iter("iframe")
    assert (frame.get("sandbox"), frame.get("src")) == ("", f"/messages/{id}/picture?recipient=&images=")
    t.store.apply([hit(id, 1, 1), hit(id, 2, 1), hit(id, 2, 2), hit(id, 2, 1, NOW + 99, agent="curl/8")])
    answer = await t.client.get(frame.get("src"))
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith(
        "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    )
    assert "img-src data:;" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["cache-control"] == "no-store"
    assert texts(answer.text, "//a") == ["1 2 one", "2 1 two"]
    assert texts((await t.client.get(f"/messages/{id}/picture?recipient=1")).text, "//a") == ["1 1 one", "2 0 two"]


async def test_looking_at_the_picture_counts_nothing(t: Tracker) -> None:
    id = await kept(t)
    await t.client.get(f"/messages/{id}/picture?images=1")
    await t.settle()
    row = t.store.message(str(id))
    assert row is not None
    assert [row[name] for name in ("opens", "machine_opens", "clicks", "mirror_views")] == [0, 0, 0, 0]
    answer = await t.client.get(f"/messages/{id}/picture")
    for purpose in ("/c/", "/u/", "/m/", "/o/"):
        assert purpose not in answer.text


async def test_pictures_of_other_hosts_are_loaded_when_asked_for_and_never_from_ours(t: Tracker) -> None:
    id = await kept(t)
    text = await page(t, f"/messages/{id}")
    assert "1 other host" in text
    assert "https://cdn.test" in text
    assert "tracking hosts are never loaded" in text
    (link,) = tree(text).xpath("//a[text()='Load pictures']/@href")
    shown = await page(t, link.partition("#")[0])
    (frame,) = tree(shown).iter("iframe")
    policy = (await t.client.get(frame.get("src"))).headers["content-security-policy"]
    assert "img-src data: https://cdn.test;" in policy
    assert "tracker.test" not in policy


async def test_without_its_html_the_page_says_how_to_keep_it(t: Tracker) -> None:
    message = accepted()
    t.store.apply([message])
    text = await page(t, f"/messages/{message.id}")
    assert not list(tree(text).iter("iframe"))
    assert "mirror_page: true" in text
    assert "news@example.com" in texts(text, "//pre")[0]
    assert (await t.client.get(f"/messages/{message.id}/picture")).status_code == 404


async def test_a_picture_is_gone_when_its_time_is_over(t: Tracker) -> None:
    id = await kept(t)
    t.clock.now += 90 * 86400 + 1
    await sign_in(t, "another-key")
    assert not list(tree(await page(t, f"/messages/{id}")).iter("iframe"))
    assert (await t.client.get(f"/messages/{id}/picture")).status_code == 404


async def test_the_picture_is_for_those_who_are_signed_in(t: Tracker) -> None:
    id = await kept(t)
    t.client.cookies.clear()
    assert (await t.client.get(f"/messages/{id}/picture")).status_code == 303
    await sign_in(t)
    for path in (f"/messages/{new_id()}/picture", "/messages/x/picture"):
        assert (await t.client.get(path)).status_code == 404
    for query in ("recipient=x", "other=1"):
        assert (await t.client.get(f"/messages/{id}/picture?{query}")).status_code == 400


async def test_what_a_mail_says_of_itself_is_escaped(t: Tracker) -> None:
    links = (Link(1, "https://x.test/<script>", "", "<script>1</script>", LinkType.TRACKED, "rule <i>", True),)
    people = (Recipient(1, "<script>@x.test"),)
    message = accepted(
        subject="<script>", sender="<script>", metadata={"<i>": "<script>"}, links=links, recipients=people
    )
    t.store.apply([message, outcome(message.id), hit(message.id, 1, 1, agent="<script>")])
    text = await page(t, f"/messages/{message.id}")
    assert not re.search(r"<(script|i)>", text)
