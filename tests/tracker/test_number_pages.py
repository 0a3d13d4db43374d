"""Overview, report, mailings and messages: the numbers of the API, each table as CSV, searched and filtered."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from lxml import html

from tests.fakes.month import NEWS, NOTES, SHOP, fill
from tests.tracker.facts import NOW, accepted, hit, outcome
from tests.tracker.test_pages import page, sign_in
from tests.tracker.tracked import Tracker, tracker
from tracker.errors import StoreError
from tracker.model import Link, LinkType, Status
from tracker.reading import reports
from tracker.store.sqlite import SqliteStore

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    """A month of mail, signed in."""
    async with tracker(tmp_path) as running:
        fill(running.store, NOW, size=0.05)  # type: ignore[arg-type]
        await sign_in(running)
        yield running


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def texts(text: str, path: str) -> list[str]:
    return [" ".join(each.text_content().split()) for each in html.fromstring(text).xpath(path)]


async def file(t: Tracker, path: str) -> str:
    answer = await t.client.get(path)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8", answer.text
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return answer.text


# -- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", f"&sender={NEWS}", "&tag=magazine", f"&sender={NOTES}&tag=campaign"])
async def test_the_report_has_the_numbers_of_the_api_on_the_page_and_in_each_file(t: Tracker, query: str) -> None:
    days = "from=2026-08-22&to=2026-09-21"
    found = await t.api("/reports/global", **dict(parse_qsl(days + query)))
    text = await page(t, f"/report?{days}{query}")
    cells = {row.xpath("string(th)"): row.xpath("string(td[1])") for row in html.fromstring(text).xpath("//table//tr")}
    for title, name in (("Sent", "sent"), ("Opens", "opens"), ("Clicks by machines", "machine_clicks")):
        assert cells[title].replace("\u202f", "") == str(found["totals"][name])
    for table in reports.TABLES:
        own = await file(t, f"/report?{days}{query}&format=csv&table={table}")
        assert own.encode() == reports.as_csv(found, table)
    links = html.fromstring(text).xpath("//a[@class='csv']/@href")
    assert {path.partition("table=")[2] for path in links} == set(reports.TABLES)
    for path in links:
        await file(t, path)


async def test_a_preset_is_its_days(t: Tracker) -> None:
    today = datetime.fromtimestamp(NOW, BERLIN).date().isoformat()
    text = await page(t, "/report?period=today")
    form = html.fromstring(text).xpath("//form[@action='/report']")[0]
    assert (form.fields["from"], form.fields["to"], form.fields["period"]) == (today, today, "today")
    assert texts(text, "//ul[@class='choices']//a[@aria-current]") == ["Today", "By URL"]
    assert len((await file(t, "/report?period=7d&format=csv")).splitlines()) == 8
    assert await file(t, "/report?format=csv") == await file(t, "/report?period=30d&format=csv&table=series")


@pytest.mark.parametrize("path", ["/report", "/mailings", "/messages"])
async def test_the_senders_there_are_can_be_chosen(t: Tracker, path: str) -> None:
    (field,) = html.fromstring(await page(t, path)).xpath("//input[@name='sender']")
    offered = html.fromstring(await page(t, path)).xpath(f"//datalist[@id='{field.get('list')}']/option/@value")
    assert offered == sorted([NEWS, SHOP, NOTES])


async def test_a_report_of_one_tag_leads_there_and_back(t: Tracker) -> None:
    text = await page(t, "/report?period=30d")
    (link,) = html.fromstring(text).xpath("//a[text()='magazine']/@href")
    assert link == "/report?period=30d&tag=magazine"
    text = await page(t, link)
    assert texts(text, "//section[.//h2[@id='tags']]//tbody/tr/th") == ["magazine"]
    assert html.fromstring(text).xpath("//a[text()='Clear']/@href") == ["/report?period=30d"]


async def test_a_long_time_is_by_week_or_month(t: Tracker) -> None:
    assert "Activity by day" in await page(t, "/report?period=30d")
    assert "Activity by week" in await page(t, "/report?period=year")
    assert "Activity by month" in await page(t, "/report?from=2023-01-01&to=2026-09-21")
    by = texts(await page(t, "/report?by=label"), "//section[.//ul[@aria-label='Links by']]//tbody/tr/th")
    assert set(by) <= {"Read more", "See the details", "Your account", "The whole story"}
    assert by


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("period=always", "yesterday"),
        ("from=2026-02-01&to=2026-01-01", "before"),
        ("from=soon", "2026-01-31"),
        ("by=colour", "label"),
        ("table=links", "format=csv"),
        ("format=csv&table=x", "domains"),
        ("what=x", "no parameter"),
    ],
)
async def test_what_cannot_be_shown_is_said(t: Tracker, query: str, said: str) -> None:
    assert said in await page(t, f"/report?{query}", 400)


# -- the overview ----------------------------------------------------------------------------------------------------


async def test_the_overview_and_its_part_that_refreshes(t: Tracker) -> None:
    text, part = await page(t, "/"), await page(t, "/?part=live")
    assert "<html" not in part
    for path in ("//ul[@class='tiles']/li", "//table//tr"):
        assert texts(text, path) == texts(part, path) != []
    found = await t.api("/reports/live")
    assert texts(text, "//ul[@class='tiles']/li[1]/b") == [str(found["totals"]["sent"])]
    for path in html.fromstring(part).xpath("//a[@class='csv']/@href"):
        name = path.partition("table=")[2]
        if name == "mailings":
            assert await file(t, path) == await file(t, "/mailings?format=csv")
        else:
            assert (await file(t, path)).encode() == reports.as_csv(found, name)
    assert "part" in await page(t, "/?part=other", 400)


async def test_the_overview_says_what_is_wrong_first(tmp_path: Path) -> None:
    async with tracker(tmp_path, readiness=lambda: {"smtp": False}) as t:
        await sign_in(t)
        message = accepted(at=NOW - 600)
        t.store.apply([message, outcome(message.id, status=Status.ERROR)])
        text = await page(t, "/")
        said = texts(text, "//ul[@class='troubles']/li/b")
        assert said == ["The service is not ready.", "1 recipient was given up in the last 24 hours."]
        assert text.index("The service is not ready.") < text.index('class="tiles"')
        (look,) = html.fromstring(text).xpath("//ul[@class='troubles']//a/@href")
        assert "Spring offers" in await page(t, look)


async def test_uniques_that_are_not_known_are_not_shown_as_nobody(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        message = accepted(at=NOW - 600, attributed=False)
        t.store.apply([message, outcome(message.id, at=NOW - 500), hit(message.id, None, at=NOW - 400)])
        for path in ("/", "/report"):
            text = await page(t, path)
            assert "Opened by" not in texts(text, "//ul[@class='tiles']//span[@class='label']")
            assert "Opens" in texts(text, "//ul[@class='tiles']//span[@class='label']")
        for path in ("/", "/mailings", "/messages"):
            text = await page(t, path)
            assert texts(text, "//table[contains(@class, 'mailings')]//td[2]") == ["Opened by 1 people unknown"]
            assert texts(text, "//table[contains(@class, 'mailings')]//td[3]") == ["Clicked by 0 people unknown"]


@pytest.mark.parametrize("status", [Status.BOUNCED, Status.SUPPRESSED, Status.SENT])
async def test_a_mail_that_reached_nobody_is_not_called_untracked(tmp_path: Path, status: Status) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        tracked = accepted(at=NOW - 600)
        plain = accepted(at=NOW - 601, mailing="plain", instrumented=False, pixel=False, links=())
        t.store.apply([tracked, plain, outcome(tracked.id, 1, status), outcome(plain.id)])
        for path in ("/mailings", "/messages"):
            rows = texts(await page(t, path), "//table//tbody//td[2]")
            assert "Opened by – no pixel in it" in rows
            assert ("Opened by 0 0%" if status is Status.SENT else "Opened by –") in rows


async def test_the_store_being_away_is_said_on_every_page(tmp_path: Path) -> None:
    class Away(SqliteStore):
        def totals(self, *args: object, **named: object) -> dict[str, int]:
            raise StoreError("away")

        mailings = messages = mailing = series = at_once = totals  # type: ignore[assignment]

    async with tracker(tmp_path, store=Away(tmp_path / "s.sqlite")) as t:
        await sign_in(t)
        for path in ("/", "/?part=live", "/report", "/report?format=csv", "/mailings", "/mailings/x", "/messages"):
            assert "The store is away" in await page(t, path, 503)


# -- mailings and messages -------------------------------------------------------------------------------------------


async def test_mailings_are_searched_and_have_their_page(t: Tracker) -> None:
    text = await page(t, f"/mailings?q=issue&sender={NOTES.upper()}")
    assert texts(text, "//table//a[@class='subject']") == ["issue-43", "issue-42", "issue-41"]
    found = rows(await file(t, "/mailings?q=issue-42&format=csv"))
    assert [row["mailing"] for row in found] == ["issue-42"]
    (mailing,) = (await t.api("/mailings", mailing="issue-42"))["items"]
    assert found[0]["clicks"] == str(mailing["clicks"])
    path = f"/mailings/{mailing['id']}"
    text = await page(t, path)
    assert "A map of small rivers" in text
    assert texts(text, "//ol[@class='funnel']//span[@class='what']")[0] == "Targeted"
    assert texts(text, "//ol[@class='funnel']//b")[0] == str(mailing["recipients"])
    links = (await t.api(f"{path}/links"))["items"]
    assert [row["url"] for row in rows(await file(t, f"{path}?format=csv&table=links"))] == [
        link["url"] for link in links
    ]
    (opens,) = html.fromstring(text).xpath("//figure[@id='course']//tbody")
    assert sum(int(cell.text) for cell in opens.xpath("tr/td[1]")) == mailing["opens"]
    course = rows(await file(t, f"{path}?format=csv&table=course"))
    assert sum(int(row["clicks"]) for row in course) == mailing["clicks"]
    assert all(row["end_at"] == later["start_at"] for row, later in pairwise(course))
    (own,) = html.fromstring(text).xpath("//a[contains(@href, 'mailing_key')]/@href")
    messages = rows(await file(t, f"{own}&format=csv"))
    assert len(messages) == mailing["messages"] == len(rows(await file(t, f"{path}?format=csv&table=messages")))
    assert "of the mailing issue-42" in await page(t, own)


async def test_a_mailing_of_one_message_leads_to_it(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        message = accepted()
        t.store.apply([message])
        (mailing,) = (await t.api("/mailings"))["items"]
        assert f'href="/messages/{message.id}"' in await page(t, f"/mailings/{mailing['id']}")
        assert "Not found" in await page(t, "/mailings/nothing", 404)
        assert "Nothing found" in await page(t, "/mailings?q=zzz")


async def test_mailings_are_paged(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        t.store.apply([accepted(at=NOW + n, mailing=f"number {n:03}") for n in range(120)])
        seen: list[str] = []
        path = "/mailings?q=number"
        while path:
            text = await page(t, path)
            seen += texts(text, "//table//a[@class='subject']")
            path = next(iter(html.fromstring(text).xpath("//a[@rel='next']/@href")), "")
        assert seen == [f"number {n:03}" for n in range(119, -1, -1)]
        assert "cursor" in await page(t, "/mailings?cursor=!!", 400)


async def test_messages_are_found_by_state_sender_tag_and_day(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        day = datetime(2026, 9, 20, tzinfo=BERLIN).timestamp()
        facts = [
            accepted(at=day + 86400 * n - 1, subject=f"Mail {n}", sender=f"s{n}@x.test", tag=f"tag {n % 2}")
            for n in range(4)
        ]
        t.store.apply([*facts, outcome(facts[2].id, status=Status.BOUNCED, at=day + 3 * 86400)])
        for query, found in (
            ("from=2026-09-20&to=2026-09-21", [2, 1]),
            ("to=2026-09-20", [1, 0]),
            ("status=bounced", [2]),
            ("sender=S1@x.test", [1]),
            ("tag=tag+1", [3, 1]),
            ("status=pending&from=2026-09-21", [3, 2]),
        ):
            text = await page(t, f"/messages?{query}")
            assert texts(text, "//table//a[@class='subject']") == [f"Mail {n}" for n in found], query
            assert len(rows(await file(t, f"/messages?{query}&format=csv"))) == len(found)
        form = html.fromstring(await page(t, "/messages?status=bounced&from=2026-09-20&q=x")).forms[1]
        assert dict(form.form_values()) == {
            **{"q": "x", "sender": "", "status": "bounced", "from": "2026-09-20", "to": ""},
        }
        assert "pending" in await page(t, "/messages?status=odd", 400)


async def test_everything_shown_is_escaped(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        await sign_in(t)
        bad = "<script>alert(1)</script>'\"><img src=x>"
        url = f"https://x.test/{bad}"
        link = Link(1, url, "https://x.test/", bad, LinkType.TRACKED, bad, True)
        message = accepted(subject=bad, tag=bad, mailing=bad, sender=f'{bad}"@x.test', at=NOW - 600, links=(link,))
        bounced = outcome(message.id, 2, Status.BOUNCED, at=NOW - 500)
        t.store.apply([message, outcome(message.id, at=NOW - 500), bounced, hit(message.id, 1, 1, at=NOW - 400)])
        (mailing,) = (await t.api("/mailings"))["items"]
        paths = ("/", "/report", "/report?by=label", "/report?tag=<script>", "/mailings", "/messages")
        for path in (*paths, f"/mailings/{mailing['id']}", f"/messages?mailing_key={mailing['id']}&tag=<script>"):
            text = await page(t, path)
            assert "alert(1)" not in "".join(html.fromstring(text).xpath("//script/text()"))
            assert not html.fromstring(text).xpath("//main//img | //main//script")
