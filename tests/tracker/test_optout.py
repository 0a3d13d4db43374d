"""The opt-out page: only a POST opts out, in both of its forms; what it says, in which language, what it lets in."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from tests.tracker.facts import BROWSER, NOW, accepted
from tests.tracker.tracked import KEYRING, Tracker, tracker
from tracker.errors import StoreError
from tracker.forms import fields_of
from tracker.hits.languages import FOLDER, Catalogue
from tracker.hits.optout import CHOICES
from tracker.hits.recorder import Limits
from tracker.model import Fact, new_id
from tracker.store.base import SuppressionFilter
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click, Mirror, Open, OptOut

MESSAGE = new_id(NOW)
SENDER, ADDRESS = "news@shop.example", "ann@example.net"
CLAIM = OptOut(MESSAGE, 1, SENDER, ADDRESS)
PATH = f"/u/{KEYRING.seal(CLAIM)}"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[Tracker]:
    async with tracker(tmp_path) as running:
        running.store.apply([accepted(MESSAGE)])
        yield running


async def listed(t: Tracker) -> list[tuple[str, str | None, str, str]]:
    await t.settle()
    rows = t.store.suppressions(SuppressionFilter(), 100).rows
    return [(row["address"], row["sender"], row["kind"], row["reason"]) for row in rows]


def counts(t: Tracker) -> tuple[int, int]:
    row = t.store.message(str(MESSAGE))
    assert row is not None
    return row["opt_outs"], row["opt_out_clicks"]


def buttons(answer: httpx.Response) -> list[tuple[str, str]]:
    forms = html.fromstring(answer.text).xpath("//form")
    assert all(form.get("action") is None and form.get("method") == "post" for form in forms)
    return [tuple(field.get("value") for field in form.xpath("input")) for form in forms]


def say(action: str, kind: str = "mail") -> dict[str, str]:
    return {"action": action, "kind": kind}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_opts_nobody_out(t: Tracker, method: str) -> None:
    for _ in range(3):
        assert (await t.client.request(method, PATH)).status_code == 200
    assert await listed(t) == []
    assert counts(t)[0] == 0


async def test_the_page_asks_and_names_who_and_whom(t: Tracker) -> None:
    answer = await t.client.get(PATH)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for text in (SENDER, ADDRESS, "shop.example"):
        assert text in answer.text
    assert buttons(answer) == [("opt_out", "mail"), ("opt_out", "tracking")]


async def test_a_post_opts_out_and_can_be_undone(t: Tracker) -> None:
    answer = await t.client.post(PATH, data=say("opt_out"))
    assert (answer.status_code, "You are unsubscribed" in answer.text) == (200, True)
    assert ("undo", "mail") in buttons(answer)
    assert await listed(t) == [(ADDRESS, SENDER, "mail", "opt-out page")]
    assert counts(t)[0] == 1
    t.clock.now += 1
    answer = await t.client.post(PATH, data=say("undo"))
    assert "You are subscribed again" in answer.text
    assert await listed(t) == []
    assert counts(t)[0] == 0
    assert [event["type"] for event in t.store.events(10).rows] == ["accepted", "opt_out", "opt_in"]


async def test_do_not_track_me_keeps_the_mail(t: Tracker) -> None:
    answer = await t.client.post(PATH, data=say("opt_out", "tracking"))
    assert "no longer tracked" in answer.text
    assert buttons(answer) == [("undo", "tracking"), ("opt_out", "mail")]
    assert await listed(t) == [(ADDRESS, SENDER, "tracking", "opt-out page")]
    assert counts(t)[0] == 0
    t.clock.now += 1
    await t.client.post(PATH, data=say("undo", "tracking"))
    assert await listed(t) == []


async def test_every_button_does_what_its_page_offers(t: Tracker) -> None:
    """Each choice of each page is taken from where it is offered, and leads to a page that has choices again."""
    for choices in CHOICES.values():
        for choice in choices:
            answer = await t.client.post(PATH, data=say(choice.action, choice.kind.value))
            assert answer.status_code == 200
            assert buttons(answer)


@pytest.mark.parametrize("multipart", [False, True])
async def test_one_click_of_a_mail_program(t: Tracker, multipart: bool) -> None:
    files: Any = {name: (None, value) for name, value in ONE_CLICK.items()}
    answer = await t.client.post(PATH, **({"files": files} if multipart else {"data": ONE_CLICK}))
    assert answer.request.headers["content-type"].startswith("multipart/" if multipart else "application/x-www-form")
    assert (answer.status_code, answer.text) == (200, "You are unsubscribed.\n")
    assert "set-cookie" not in answer.headers
    assert await listed(t) == [(ADDRESS, SENDER, "mail", "one-click unsubscribe")]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"something=else", b"list-unsubscribe"])
async def test_a_bare_post_opts_out_too(t: Tracker, body: bytes) -> None:
    assert (await t.client.post(PATH, content=body)).status_code == 200
    assert len(await listed(t)) == 1


@pytest.mark.parametrize("fields", [{"action": "explode"}, {"kind": "paper"}, {"action": "", "kind": "mail"}])
async def test_a_form_that_asks_for_what_there_is_not_changes_nothing(t: Tracker, fields: dict[str, str]) -> None:
    assert (await t.client.post(PATH, data=fields)).status_code == 400
    assert (await t.client.post(PATH, content=b"x" * 20_000)).status_code == 413
    assert await listed(t) == []


async def test_who_leaves_amid_the_form_opts_nobody_out(t: Tracker) -> None:
    sent: list[Any] = []
    events = [{"type": "http.request", "body": b"action=opt_out", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await t.app({"type": "http", "method": "POST", "path": PATH, "headers": []}, receive, send)
    assert sent == []
    assert await listed(t) == []


async def test_the_page_may_hold_nothing_from_elsewhere_and_stand_in_no_frame(t: Tracker) -> None:
    answer = await t.client.get(PATH)
    style = html.fromstring(answer.text).xpath("string(//style)")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-frame-options"] == "DENY"
    assert not re.search(r"<script|<link|<img| style=| on\w+=|https?:", answer.text)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_answer_bears_what_public_answers_bear(t: Tracker, method: str) -> None:
    for path in (PATH, PATH + "x"):
        answer = await t.client.request(method, path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers


async def test_head_is_get_without_its_body(t: Tracker) -> None:
    get, head = await t.client.get(PATH), await t.client.head(PATH)
    assert head.content == b""
    assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_do_nothing(t: Tracker, method: str) -> None:
    answer = await t.client.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert await listed(t) == []


async def test_what_we_did_not_seal_for_this_is_not_found(t: Tracker) -> None:
    token = PATH.removeprefix("/u/")
    chance = random.Random(4)
    forged = [token[:-1], token[1:], token + "A", token + "=", token.swapcase(), "", "%00", "ü", "a" * 5000]
    for _ in range(200):
        at = chance.randrange(len(token))
        forged.append(token[:at] + chance.choice("ABCDwxyz0189-_".replace(token[at], "")) + token[at + 1 :])
    others = [Open(MESSAGE, 1), Click(MESSAGE, 1, 1, "https://example.com/"), Mirror(MESSAGE, 1)]
    forged += [KEYRING.seal(claim) for claim in others]
    for each in forged:
        for method in ("GET", "HEAD", "POST"):
            answer = await t.client.request(method, f"/u/{each}", data=say("opt_out") if method == "POST" else None)
            assert answer.status_code == 404, (method, each)
    assert await listed(t) == []


async def test_names_are_escaped(t: Tracker) -> None:
    evil = OptOut(MESSAGE, 1, "<script>alert(1)</script>@x.test", "\"><img src=x onerror='1'>{sender}{0}%s@y.test")
    path = f"/u/{KEYRING.seal(evil)}"
    for answer in (await t.client.get(path), await t.client.post(path), await t.client.post(path, data=say("undo"))):
        tree = html.fromstring(answer.text)
        assert not tree.xpath("//script | //img")
        assert evil.sender in tree.text_content()
        assert evil.address in tree.text_content()


async def test_a_look_at_the_page_is_a_click_on_the_opt_out_link(t: Tracker) -> None:
    agent = {"User-Agent": BROWSER}
    await t.client.get(PATH, headers=agent)
    t.clock.now += 1
    await t.client.get(PATH, headers=agent)
    await t.client.head(PATH, headers=agent)
    t.clock.now += 20
    await t.client.get(PATH, headers={"User-Agent": "curl/8"})
    await t.settle()
    row = t.store.message(str(MESSAGE))
    assert row is not None
    assert (row["opt_out_clicks"], row["clicks"], row["opens"], row["machine_clicks"]) == (1, 0, 0, 2)
    assert [link["position"] for link in t.store.links(str(MESSAGE), 10).rows] == [1, 2, 3, 4]
    kinds = [(event["position"], event["kind"]) for event in t.store.events(10, kind="opt_out_click").rows]
    assert kinds == [(None, "browser"), (None, "repeat"), (None, "head"), (None, "bot")]


async def test_without_attribution_another_reader_behind_the_same_address_is_no_repeat(t: Tracker) -> None:
    mine, another = (f"/u/{KEYRING.seal(OptOut(MESSAGE, None, SENDER, who))}" for who in (ADDRESS, "bob@example.net"))
    for path in (mine, another, mine):
        await t.client.get(path, headers={"User-Agent": BROWSER})
    await t.settle()
    kinds = [event["kind"] for event in t.store.events(10, kind="opt_out_click").rows]
    assert kinds == ["browser", "browser", "repeat"]


async def test_an_open_shortly_before_makes_no_repeat_of_it(t: Tracker) -> None:
    agent = {"User-Agent": BROWSER}
    await t.client.get(f"/o/{KEYRING.seal(Open(MESSAGE, 1))}.gif", headers=agent)
    await t.client.get(PATH, headers=agent)
    await t.settle()
    row = t.store.message(str(MESSAGE))
    assert row is not None
    assert (row["opens"], row["opt_out_clicks"]) == (1, 1)


class Away(SqliteStore):
    """A store that is away until it is told to be back."""

    away = True

    def apply(self, facts: Any) -> None:
        if self.away:
            raise StoreError("away")
        super().apply(facts)


async def test_an_opt_out_is_taken_while_the_store_is_away(tmp_path: Path) -> None:
    store = Away(tmp_path / "s.sqlite")
    async with tracker(tmp_path, store, limits=Limits(backoff=(0.01, 0.02))) as t:
        assert (await t.client.get(PATH)).status_code == 200
        assert "You are unsubscribed" in (await t.client.post(PATH)).text
        store.away = False
        assert await listed(t) == [(ADDRESS, SENDER, "mail", "opt-out page")]
        assert counts(t) == (1, 0)


async def test_an_opt_out_is_on_disk_before_it_is_confirmed(tmp_path: Path) -> None:
    kept: list[Fact] = []

    class Slow(SqliteStore):
        def apply(self, facts: Any) -> None:
            super().apply(facts)
            kept.extend(facts)

    async with tracker(tmp_path, Slow(tmp_path / "s.sqlite"), limits=Limits(patience=5.0)) as t:
        await t.client.post(PATH)
        assert [type(fact).__name__ for fact in kept] == ["OptedOut"]


async def test_the_sender_may_have_a_page_of_its_own(tmp_path: Path) -> None:
    target = "https://shop.example/bye?from=mail"
    async with tracker(tmp_path, onward={SENDER: target}.get) as t:
        page = await t.client.get(PATH)
        assert "form-action 'self' https: http:;" in page.headers["content-security-policy"]
        for kind in ("mail", "tracking"):
            answer = await t.client.post(PATH, data=say("opt_out", kind), headers={"Host": "evil.example"})
            assert (answer.status_code, answer.headers["location"]) == (303, target)
        assert len(await listed(t)) == 2
        assert (await t.client.post(PATH, data=say("undo"))).status_code == 200
        # a mail program gets no redirect (RFC 8058 section 3.1)
        assert (await t.client.post(PATH, data=ONE_CLICK)).status_code == 200
        other = f"/u/{KEYRING.seal(OptOut(MESSAGE, 1, 'x@other.example', ADDRESS))}"
        assert (await t.client.post(other)).status_code == 200


# -- languages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["de", "fr", "es", "ja"])
async def test_the_page_speaks_the_readers_language(t: Tracker, tag: str) -> None:
    phrases = Catalogue().languages[tag].phrases
    for answer, state in (
        (await t.client.get(PATH, headers={"Accept-Language": f"{tag}-XX,{tag};q=0.9,en;q=0.5"}), "ask"),
        (await t.client.post(PATH, headers={"Accept-Language": tag}), "mail_done"),
    ):
        tree = html.fromstring(answer.text)
        assert tree.get("lang") == tag == answer.headers["content-language"]
        assert tree.xpath("string(//h1)") == phrases[state]
        assert answer.headers["vary"] == "Accept-Language"


@pytest.mark.parametrize(
    ("accepted", "tag"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("pt-BR, pt;q=0.9", "en"),
        ("pt-BR, de-AT;q=0.4, fr;q=0.7", "fr"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("ja-JP-u-ca-japanese", "ja"),
        ("DE-ch", "de"),
        ("es, fr", "es"),
        ("nonsense;;q=x, fr;q=1.5, es;q = 0.3", "es"),
        ("de;q=0.8, *;q=0.9", "en"),
        ("x" * 10_000, "en"),
    ],
)
def test_the_language_wanted_most_is_chosen(accepted: str | None, tag: str) -> None:
    assert Catalogue().choose(accepted).tag == tag


@given(st.text())
def test_whatever_is_accepted_there_is_a_language(accepted: str) -> None:
    assert Catalogue().choose(accepted).phrases["ask"]


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_every_language_has_every_phrase_with_its_names(file: Path) -> None:
    languages = Catalogue().languages
    english, other = languages["en"].phrases, languages[file.stem].phrases
    assert file.suffix == ".toml"
    assert other.keys() == english.keys()
    for name, phrase in other.items():
        assert sorted(re.findall(r"\{.*?\}", phrase)) == sorted(re.findall(r"\{.*?\}", english[name])), name
        assert phrase.strip()


def test_a_language_is_added_by_adding_its_file(tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_text(file.read_text("utf-8"), "utf-8")
    (tmp_path / "pt-br.toml").write_text((FOLDER / "en.toml").read_text("utf-8"), "utf-8")
    assert Catalogue(tmp_path).choose("pt-BR").tag == "pt-br"
    assert Catalogue(tmp_path).choose("pt").tag == "en"


# -- forms -----------------------------------------------------------------------------------------------------------

FIELDS = st.dictionaries(
    st.text("abcXYZ-_", min_size=1), st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))
)


@given(FIELDS, st.booleans())
def test_what_a_form_sends_is_read(fields: dict[str, str], multipart: bool) -> None:
    files: Any = [(name, (None, value)) for name, value in fields.items()]
    request = httpx.Request("POST", "http://x.test/", **({"files": files} if multipart else {"data": fields}))
    if fields:
        assert fields_of(request.headers["content-type"], request.read()) == fields


@given(st.sampled_from(["multipart/form-data", "multipart/form-data; boundary=x", "", "text/csv"]), st.binary())
def test_anything_can_be_read_as_a_form(content_type: str, body: bytes) -> None:
    assert all(isinstance(value, str) for value in fields_of(content_type, body).values())
