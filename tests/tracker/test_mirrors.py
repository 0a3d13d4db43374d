"""The mirror page: the reader's own copy or an honest word, in a cage, counted as a view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tracker.facts import BROWSER, NOW, accepted
from tests.tracker.test_public import is_public
from tests.tracker.tracked import KEYRING, Clock, Tracker, configured, tracker
from tracker import retention
from tracker.errors import StoreError
from tracker.facts import decode, encode
from tracker.mirror import Document, Kind, Splice, pack
from tracker.model import Accepted, Fact, MirrorPage, new_id
from tracker.store.base import Row
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click, Mirror, Open, OptOut

MESSAGE = new_id(NOW)
AGENT = {"User-Agent": BROWSER}
DAY = 86400.0
DOCUMENT = Document(
    (
        ("<meta charset='latin1'><p>Grüße</p><a href='", Splice(Kind.CLICK, "http://x.test/?a=1&b=2", 2), "'>x</a>"),
        ("<a href=", Splice(Kind.OPT_OUT), ">o</a>"),
    ),
    {},
    "https://t.test",
    KEYRING.ids[0],
)
POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation;"
    " default-src 'none'; img-src https: http: data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'self'"
)


def page(message: object = MESSAGE, at: float = NOW, document: Document = DOCUMENT) -> MirrorPage:
    return MirrorPage(message, at, pack(document))  # type: ignore[arg-type]


def path(recipient: int | None = 1) -> str:
    return f"/m/{KEYRING.seal(Mirror(MESSAGE, recipient))}"


async def seen(t: Tracker) -> tuple[int, int, int, int]:
    row = await t.api(f"/messages/{MESSAGE}")
    return row["mirror_views"], row["clicks"], row["machine_clicks"], row["opens"]


async def test_each_recipient_sees_the_own_copy_in_a_cage(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        for recipient in (1, 2):
            answer = await t.client.get(path(recipient), headers=AGENT)
            assert answer.status_code == 200
            is_public(answer)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["content-security-policy"] == POLICY
            assert "<p>Grüße</p>" in answer.content.decode()
            click = Click(MESSAGE, recipient, 2, "http://x.test/?a=1&b=2")
            assert f"href='https://t.test/c/{KEYRING.seal(click)}'" in answer.text
            own = OptOut(MESSAGE, recipient, "news@example.com", f"person{recipient}@example.net")
            assert f"href=https://t.test/u/{KEYRING.seal(own)}>" in answer.text
        assert await seen(t) == (2, 0, 0, 0)


async def test_a_view_is_an_event_of_a_person_or_a_machine(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        got = await t.client.get(path(), headers=AGENT)
        head = await t.client.head(path(), headers=AGENT)
        assert (head.status_code, head.content) == (200, b"")
        assert dict(head.headers) == dict(got.headers)
        await t.client.get(path(2), headers={"User-Agent": "curl/8"})
        assert await seen(t) == (1, 0, 2, 0)
        events = [e for e in (await t.api(f"/messages/{MESSAGE}/events"))["items"] if e["type"] == "mirror_view"]
        assert [(e["class"], e["recipient"], e["position"]) for e in events] == [
            ("human", "person1@example.net", None),
            ("machine", "person1@example.net", None),
            ("machine", "person2@example.net", None),
        ]
        await t.client.get(path(), headers=AGENT)
        assert await seen(t) == (1, 0, 2, 0), "a repeat"
        links = (await t.api(f"/messages/{MESSAGE}/links"))["items"]
        assert [link["position"] for link in links] == [1, 2, 3, 4]
        assert not any(link["clicks"] or link["machine_clicks"] for link in links)
        t.clock.now += 60
        await t.client.get(path(), headers=AGENT)
        assert await seen(t) == (2, 0, 2, 0)


async def test_an_open_is_no_repeat_of_a_view(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        for recipient in (1, None):
            await t.client.get(path(recipient), headers=AGENT)
            await t.client.get(f"/o/{KEYRING.seal(Open(MESSAGE, recipient))}.gif", headers=AGENT)
        assert await seen(t) == (2, 0, 0, 2)


async def test_a_view_is_no_repeat_of_a_look_at_the_opt_out_page(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        for recipient in (1, None):
            opt_out = OptOut(MESSAGE, recipient, "news@example.com", "person1@example.net")
            await t.client.get(f"/u/{KEYRING.seal(opt_out)}", headers=AGENT)
            await t.client.get(path(recipient), headers=AGENT)
        assert await seen(t) == (2, 0, 0, 0)
        assert (await t.api(f"/messages/{MESSAGE}"))["opt_out_clicks"] == 2


async def test_the_one_copy_of_all_is_shown_too_and_names_nobody(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE, attributed=False), page())
        await t.settle()
        answer = await t.client.get(path(None), headers=AGENT)
        assert answer.status_code == 200
        assert KEYRING.seal(Click(MESSAGE, None, 2, "http://x.test/?a=1&b=2")) in answer.text
        assert "href=#>" in answer.text
        assert (await seen(t))[0] == 1
        (event,) = [e for e in (await t.api(f"/messages/{MESSAGE}/events"))["items"] if e["type"] == "mirror_view"]
        assert (event["recipient"], event["address"], event["agent"]) == (None, None, None)


@pytest.mark.parametrize("token", ["", "A", "A" * 60, "A" * 9000, "é"])
async def test_what_is_not_ours_is_not_found(tmp_path: Path, token: str) -> None:
    async with tracker(tmp_path) as t:
        for forged in (
            f"/m/{token}",
            path() + "A",
            path()[:-1],
            "/m/" + KEYRING.seal(Click(MESSAGE, 1, 1, "http://x")),
        ):
            answer = await t.client.get(forged)
            assert answer.status_code == 404
            is_public(answer)
        assert (await t.api("/messages"))["items"] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(tmp_path: Path, method: str) -> None:
    async with tracker(tmp_path) as t:
        answer = await t.client.request(method, path())
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_what_is_not_kept_any_more_is_gone(tmp_path: Path) -> None:
    async with tracker(tmp_path, config=configured(retention={"mirror_pages": "90d"})) as t:
        answer = await t.client.get(path(), headers=AGENT)
        assert answer.status_code == 410, "a message that nobody knows"
        is_public(answer)
        assert answer.headers["content-security-policy"] == POLICY
        assert "not kept any more" in answer.text
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        t.clock.now = NOW + 90 * DAY - 1
        assert (await t.client.get(path(), headers=AGENT)).status_code == 200
        t.clock.now = NOW + 90 * DAY + 1
        assert (await t.client.get(path(), headers=AGENT)).status_code == 410
        assert (await t.client.head(path(), headers=AGENT)).status_code == 410
        assert (await seen(t))[0] == 1


class Away(SqliteStore):
    """A store that cannot be read now."""

    away = False

    def page(self, message: str, recipient: int | None) -> Row | None:
        if self.away:
            raise StoreError("away")
        return super().page(message, recipient)


async def test_while_the_store_is_away_the_reader_is_asked_to_come_back(tmp_path: Path) -> None:
    store = Away(tmp_path / "s.sqlite")
    async with tracker(tmp_path, store) as t:
        t.recorder.record(accepted(MESSAGE), page())
        await t.settle()
        store.away = True
        answer = await t.client.get(path(), headers=AGENT)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        is_public(answer)
        store.away = False
        assert (await t.client.get(path(), headers=AGENT)).status_code == 200
        assert (await seen(t))[0] == 1


async def test_a_page_that_cannot_be_read_is_gone(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.recorder.record(accepted(MESSAGE), MirrorPage(MESSAGE, NOW, b"broken"))
        await t.settle()
        assert (await t.client.get(path(), headers=AGENT)).status_code == 410


# -- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.open()
    return store


def test_a_page_is_a_fact_like_others() -> None:
    for fact in (page(), MirrorPage(MESSAGE, NOW, b""), MirrorPage(MESSAGE, -0.5, bytes(range(256)))):
        assert decode(encode(fact)) == fact
    for octets in (b"p", b"p" + bytes(23)):
        with pytest.raises(ValueError, match="not a fact"):
            decode(octets)


def test_a_page_told_twice_or_before_its_message_is_kept_once(store: SqliteStore) -> None:
    for facts in ([page()], [page(at=NOW + 5), accepted(MESSAGE)], [page()]):
        store.apply(facts)
        row = store.page(str(MESSAGE), 2)
        assert row is not None
        assert (row["at"], row["content"]) == (NOW, page().content)
    assert (row["sender"], row["address"]) == ("news@example.com", "person2@example.net")
    assert store.page(str(new_id(NOW)), 1) is None


async def test_old_pages_are_dropped_and_nothing_else(store: SqliteStore) -> None:
    ids = [new_id(NOW + number) for number in range(130)]
    people: list[Accepted] = [accepted(id, NOW + number) for number, id in enumerate(ids)]
    facts: Sequence[Fact] = [*people, *(page(id, NOW + number) for number, id in enumerate(ids))]
    store.apply(facts)
    kept = retention.Retention({"mirror_pages": (90 * DAY, store.drop_pages)}, lambda: NOW + 120 + 90 * DAY)
    assert await kept.round() == {"mirror_pages": 120}
    assert await kept.round() == {"mirror_pages": 0}
    assert [store.page(str(id), 1) is not None for id in ids] == [False] * 120 + [True] * 10
    assert store.message(str(ids[0])) is not None


async def test_rounds_go_on_whatever_happens(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rounds = Clock(NOW + 91 * DAY), []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        rounds.append(store.page(str(MESSAGE), 1) is not None)
        clock.now += DAY
        if len(rounds) == 4:
            raise Enough

    def failing(before: float, limit: int) -> int:
        if len(rounds) == 1:
            raise StoreError("away")
        return SqliteStore.drop_pages(store, before, limit)

    store.apply([page(at=NOW + 2 * DAY)])
    monkeypatch.setattr(store, "drop_pages", failing)
    monkeypatch.setattr(retention.asyncio, "sleep", sleep)
    with pytest.raises(Enough):
        await retention.Retention({"mirror_pages": (90 * DAY, store.drop_pages)}, clock).run()
    assert rounds == [True, True, False, False]
