"""The pages of what is beside the tracker: queue, sandbox, settings. What there is not is said or left out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from tests.tracker.test_pages import page, sign_in
from tests.tracker.tracked import KEYRING, Tracker, tracker
from tracker.errors import SpoolError
from tracker.mirror import Document
from tracker.model import new_id
from tracker.reading.beside import (
    Beside,
    Configuration,
    Kept,
    Leaf,
    Letter,
    QueuedMail,
    QueueState,
    Setting,
    Trouble,
    Waiting,
)
from tracker.tokens import Click, OptOut

NOW = 1_790_000_000.0
NAME = str(new_id(NOW))
MAIL = QueuedMail(
    *(NAME, "news@example.com", "*@example.com", 1234, NOW - 7200, NOW + 300),
    own=False,
    recipients=[
        Waiting("<b>@example.net", "waiting", 3, NOW + 300, "451 4.2.2 <i>mailbox full"),
        *(Waiting(f"p{number}@example.net", "waiting", 0, NOW, None) for number in range(9)),
    ],
)
STATE = QueueState(1, 1234, NOW - 7200, [], [MAIL], None)
LETTER = Letter(
    Kept(NAME, NOW, 1234, "news@example.com", ["ann@example.net"], "News <news@example.com>", "<b>Hello"),
    [("From", "News <news@example.com>"), ("X-Odd", "<script>")],
    Document((("<p>hi <img src='https://cdn.test/a'><img src='http://tracker.test/a'>",),)),
    ["plain <text>"],
    [Leaf("application/pdf", "<i>.pdf", 1000)],
    None,
)


class Inbox:
    """A sandbox of one mail."""

    def __init__(self, letter: Letter | None = LETTER, path: Path | None = None, broken: bool = False) -> None:
        self._letter, self._path, self._broken = letter, path, broken

    def list(self, limit: int, after: str | None) -> tuple[Sequence[Kept], str | None]:
        if self._broken:
            raise OSError("no")
        return ([self._letter.kept], NAME) if self._letter and after is None else ([], None)

    def letter(self, name: str) -> Letter | None:
        return self._letter if name == NAME else None

    def file(self, name: str) -> Path | None:
        return self._path if name == NAME else None


def running(folder: Path, **beside: Any) -> Any:
    return tracker(folder, beside=Beside(**beside))


def texts(text: str, path: str) -> list[str]:
    return [" ".join(" ".join(each.itertext()).split()) for each in html.fromstring(text).xpath(path)]


def nav(text: str) -> list[str]:
    return texts(text, "//nav[@aria-label='Main']//a")


# -- the queue -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", [None, lambda limit, after: None])
async def test_without_a_spool_the_page_of_the_queue_says_so(tmp_path: Path, queue: Any) -> None:
    async with running(tmp_path, queue=queue) as t:
        await sign_in(t)
        text = await page(t, "/queue")
        assert "There is no queue on this machine" in text
        assert "tracepost queue list" in text


async def test_the_queue_shows_who_waits_for_what(tmp_path: Path) -> None:
    trouble = Trouble("*@example.com", NOW - 60, NOW + 60, "451 4.4.1 <b>not reached")
    async with running(tmp_path, queue=lambda limit, after: replace(STATE, troubles=[trouble])) as t:
        await sign_in(t)
        text = await page(t, "/queue")
        (row,) = texts(text, "//table//tbody/tr")
        for part in ("news@example.com", NAME, "<b>@example.net 3 tries", "451 4.2.2 <i>mailbox full", "in 5"):
            assert part in row.replace("\N{NARROW NO-BREAK SPACE}", " ")
        assert f"and 5 more: tracepost queue show {NAME}" in row
        assert "The smarthost of *@example.com cannot be used" in texts(text, "//*[@role='alert']")[0]
        assert "tracepost queue retry" in text
        assert "1 in trouble" in text
        out = await t.client.get("/queue?format=csv")
        assert len(out.text.splitlines()) == 11
        assert "'<" not in out.text


async def test_an_empty_queue_is_good_news(tmp_path: Path) -> None:
    async with running(tmp_path, queue=lambda limit, after: QueueState(0, 0, None, [], [], None)) as t:
        await sign_in(t)
        assert "The queue is empty" in await page(t, "/queue")


async def test_the_sandbox_comes_as_a_file(tmp_path: Path) -> None:
    async with running(tmp_path, inbox=Inbox()) as t:
        await sign_in(t)
        assert "CSV" in texts(await page(t, "/sandbox"), "//a[@class='csv']")[0]
        (row,) = csv.DictReader(StringIO((await t.client.get("/sandbox?format=csv")).text))
        assert (row["name"], row["recipients"], row["subject"]) == (NAME, "ann@example.net", "<b>Hello")
        assert row["kept_at"].startswith("2026-")


async def test_an_empty_sandbox_says_how_to_fill_it(tmp_path: Path) -> None:
    async with tracker(tmp_path, beside=Beside(inbox=Inbox(None)), sample="swaks --to x") as t:
        await sign_in(t)
        assert "swaks --to x" in await page(t, "/sandbox")


async def test_the_queue_is_paged(tmp_path: Path) -> None:
    asked = []

    def queue(limit: int, after: str | None) -> QueueState:
        asked.append(after)
        if after == '"bad"':
            raise ValueError(after)
        return replace(STATE, next=None if after else "[1.0]")

    async with running(tmp_path, queue=queue) as t:
        await sign_in(t)
        following = html.fromstring(await page(t, "/queue")).xpath("//a[@rel='next']/@href")[0]
        await page(t, following)
        assert asked == [None, "[1.0]"]
        await page(t, "/queue?cursor=ImJhZCI", 400)
        await page(t, "/queue?cursor=!", 400)


async def test_a_queue_that_cannot_be_read_is_said_to_be_one(tmp_path: Path) -> None:
    def queue(limit: int, after: str | None) -> QueueState:
        raise SpoolError("/secret/path: broken")

    async with running(tmp_path, queue=queue) as t:
        await sign_in(t)
        text = await page(t, "/queue", 503)
        assert "cannot be read" in text
        assert "/secret" not in text


# -- the sandbox -----------------------------------------------------------------------------------------------------


async def test_the_sandbox_is_in_the_navigation_where_there_is_one(tmp_path: Path) -> None:
    async with running(tmp_path) as t:
        await sign_in(t)
        assert not {"Sandbox", "Settings"} & set(nav(await page(t, "/queue")))
        assert (await t.client.get("/sandbox")).status_code == 404
        assert (await t.client.get("/settings")).status_code == 404
    async with running(tmp_path, inbox=Inbox()) as t:
        await sign_in(t)
        assert "Sandbox" in nav(await page(t, "/queue"))


async def test_the_sandbox_lists_its_mails(tmp_path: Path) -> None:
    async with running(tmp_path, inbox=Inbox()) as t:
        await sign_in(t)
        text = await page(t, "/sandbox")
        assert texts(text, "//table//tbody/tr")[0].startswith("<b>Hello News <news@example.com> To ann@example.net")
        assert html.fromstring(text).xpath("//a[@rel='next']/@href") == [f"/sandbox?cursor={NAME}"]
        assert "No older mail" in await page(t, f"/sandbox?cursor={NAME}")
        for bad in ("x", "../etc", NAME.upper()):
            await page(t, f"/sandbox?cursor={bad}", 400)
    async with running(tmp_path, inbox=Inbox(None)) as t:
        await sign_in(t)
        assert "The sandbox is empty" in await page(t, "/sandbox")
    async with running(tmp_path, inbox=Inbox(broken=True)) as t:
        await sign_in(t)
        assert "cannot be read" in await page(t, "/sandbox", 503)


async def test_a_mail_of_the_sandbox_is_shown_whole(tmp_path: Path) -> None:
    async with running(tmp_path, inbox=Inbox()) as t:
        await sign_in(t)
        text = await page(t, f"/sandbox/{NAME}")
        for part in ("plain &lt;text&gt;", "&lt;i&gt;.pdf", "&lt;script&gt;", "X-Odd", "application/pdf"):
            assert part in text
        (frame,) = html.fromstring(text).iter("iframe")
        assert (frame.get("sandbox"), frame.get("src")) == ("", f"/sandbox/{NAME}/html")
        answer = await t.client.get(f"/sandbox/{NAME}/html")
        assert "sandbox; default-src 'none'" in answer.headers["content-security-policy"]
        assert "img-src data:;" in answer.headers["content-security-policy"]
        answer = await t.client.get(f"/sandbox/{NAME}/html?images=1")
        assert "img-src data: https://cdn.test;" in answer.headers["content-security-policy"]
        for path in ("", "/html", "/source"):
            assert (await t.client.get(f"/sandbox/{new_id()}{path}")).status_code == 404
            assert (await t.client.get(f"/sandbox/..%2fx{path}")).status_code == 404
        assert (await t.client.get(f"/sandbox/{NAME}?x=1")).status_code == 400


async def test_its_links_can_be_tried_knowingly(tmp_path: Path) -> None:
    message = new_id(NOW)
    click = f"http://127.0.0.1/c/{KEYRING.seal(Click(message, 1, 1, 'https://x.test/'))}"
    opt_out = f"http://127.0.0.1/u/{KEYRING.seal(OptOut(message, 1, 'a@x.test', 'b@x.test'))}"
    forged = f"http://127.0.0.1/c/{'A' * 40}"
    text = f'<a href="{click}">Go <b>on</b></a><a href="{forged}">x</a><a href="https://plain.test/">plain</a>'
    letter = replace(LETTER, html=Document(((text,),)), texts=[f"Or not: {opt_out}"])
    target = {click: "https://x.test/"}.get
    async with running(tmp_path, inbox=Inbox(letter), target=target) as t:
        await sign_in(t)
        answer = (await t.client.get(f"/sandbox/{NAME}")).text
        assert "counts as a click" in answer
        rows = texts(answer, "//table[contains(@class, 'tries')]//tbody/tr")
        assert [row.replace(" (opens another window, and counts)", "") for row in rows] == [
            "Go on Leads to https://x.test/",
            "x Leads to a link that no key of ours sealed",
            "(no text) Leads to the opt-out page, which asks first",
        ]
        links = html.fromstring(answer).xpath("//table[contains(@class, 'tries')]//a")
        assert [link.get("href") for link in links] == [click, forged, opt_out]
        assert {(link.get("rel"), link.get("target")) for link in links} == {("noopener noreferrer", "_blank")}


async def test_its_source_is_a_file_that_no_browser_shows(tmp_path: Path) -> None:
    file = tmp_path / f"{NAME}.eml"
    file.write_bytes(b"Subject: x\r\n\r\n<script>alert(1)</script>\r\n")
    async with running(tmp_path, inbox=Inbox(path=file)) as t:
        await sign_in(t)
        answer = await t.client.get(f"/sandbox/{NAME}/source")
        assert answer.content == file.read_bytes()
        assert answer.headers["content-disposition"] == f'attachment; filename="{NAME}.eml"'
        assert answer.headers["content-type"].startswith("message/rfc822")
        assert answer.headers["x-content-type-options"] == "nosniff"
        t.client.cookies.clear()
        for path in ("", "/html", "/source"):
            assert (await t.client.get(f"/sandbox/{NAME}{path}")).status_code == 303


# -- settings --------------------------------------------------------------------------------------------------------


async def test_the_settings_show_what_is_in_force_and_hide_what_is_secret(tmp_path: Path) -> None:
    rows = [
        Setting("relay.hostname", "<b>relay.test", "its <i>name", "/etc/tracepost/config.yaml:7", True, True),
        Setting("relay.password", None, "for AUTH", "TRACEPOST_RELAY__PASSWORD"),
        Setting("relay.workers", "1", "processes", "", True),
    ]
    found = Configuration([("relay", "where mail comes in", rows)], "1.2.3")
    async with running(tmp_path, configuration=lambda: found) as t:
        await sign_in(t)
        text = await page(t, "/settings")
        assert "Tracepost 1.2.3" in text
        shown = texts(text, "//dl/div")
        assert shown[0].startswith("hostname restart waits for a restart <b>relay.test its <i>name config.yaml:7")
        assert shown[1:] == [
            "password set, hidden for AUTH TRACEPOST_RELAY__PASSWORD",
            "workers restart 1 processes",
        ]
        assert (
            "Waiting for a restart: the file says otherwise since for relay.hostname ." in texts(text, "//p[@role]")[0]
        )
        out = (await t.client.get("/settings?format=csv")).text.splitlines()
        assert out[2] == "relay.password,(hidden),TRACEPOST_RELAY__PASSWORD,for AUTH"
        assert out[3] == "relay.workers,1,default,processes"


@pytest.mark.parametrize("path", ["/queue", "/sandbox", f"/sandbox/{NAME}", "/settings"])
async def test_strangers_are_sent_to_sign_in(tmp_path: Path, path: str) -> None:
    parts: dict[str, Any] = {"inbox": Inbox(), "configuration": lambda: Configuration([], "1")}
    async with running(tmp_path, **parts) as t:
        running_: Tracker = t
        answer = await running_.client.get(path)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")
