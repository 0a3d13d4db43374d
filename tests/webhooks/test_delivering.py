"""From the store to endpoints that take events, refuse them, hang, or come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.facts import NOW, accepted, hit, opted_in, opted_out, outcome
from tests.webhooks.receiver import Receiver, Reply, Request
from tracker.config import Webhook
from tracker.errors import StoreError
from tracker.model import BounceKind, Complained, Fact, Returned, Status, SuppressionKind
from tracker.store import webhooks as store_webhooks
from tracker.store.sqlite import SqliteStore
from tracker.webhooks import delivering
from tracker.webhooks.client import Client
from tracker.webhooks.deliveries import State
from tracker.webhooks.delivering import Limits
from tracker.webhooks.endpoint import Endpoint, endpoint_of
from tracker.webhooks.service import Webhooks

QUICK = Limits(settling=0.05, poll=0.02, lease=60.0, probe=0.3, drain=20.0)
BOT = "curl/8"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.open()
    store.apply([accepted(people=1)])  # something from before, which is nobody's business
    yield store
    store.close()


@pytest.fixture(autouse=True)
def _quick_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedules, a thousand times as fast."""
    from tracker.webhooks import schedule

    quick = {name: tuple(wait / 1000 for wait in waits) for name, waits in schedule.SCHEDULES.items()}
    monkeypatch.setattr(schedule, "SCHEDULES", quick)


def endpoint(url: str, place: int = 0, **more: Any) -> Endpoint:
    return endpoint_of(place, Webhook.model_validate({"url": url, "allow_private": True, **more}))


@asynccontextmanager
async def running(
    store: SqliteStore, *endpoints: Endpoint, limits: Limits = QUICK, owner: str = "node", patience: float = 20.0
) -> AsyncIterator[Webhooks]:
    """Deliveries to endpoints, enrolled when entered; stopped in order afterwards."""

    def client(endpoint: Endpoint) -> Client:
        found = Client(endpoint)
        found.limits = (patience, patience)
        return found

    webhooks = Webhooks(store.deliveries(), owner, limits=limits, client=client)
    webhooks.replace(endpoints)
    stop = asyncio.Event()
    task = asyncio.create_task(webhooks.run(stop))
    await until(lambda: {each.key for each in endpoints} <= set(store.deliveries().endpoints()))
    try:
        yield webhooks
    finally:
        stop.set()
        await task


async def until(probe: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)
    return found


def rows(store: SqliteStore, endpoint: Endpoint) -> list[Any]:
    return list(store.deliveries().recent(endpoint.key, 1000))


def about(store: SqliteStore, endpoint: Endpoint) -> Any:
    return store.deliveries().endpoints()[endpoint.key]


def life() -> list[Fact]:
    """A mail and what becomes of it."""
    mail = accepted(people=3)
    return [
        mail,
        outcome(mail.id, 1, Status.PENDING),
        outcome(mail.id, 1, Status.SENT, NOW + 2),
        outcome(mail.id, 2, Status.BOUNCED),
        outcome(mail.id, 3, Status.SUPPRESSED),
        hit(mail.id, 1),
        hit(mail.id, 1, at=NOW + 63),  # a repeat
        hit(mail.id, 1, 1, at=NOW + 70),
        hit(mail.id, 1, 3, at=NOW + 80),  # the opt-out page is no link's target
        hit(mail.id, 1, 2, at=NOW + 90, agent=BOT),
        opted_out(mail.id, 1),
        opted_out(mail.id, 1, NOW + 105, kind=SuppressionKind.TRACKING),
        opted_in(mail.id, 1),
    ]


LIFE = ["queued", "deferred", "sent", "bounced", "rejected", "opened", "clicked", "unsubscribed", "subscribed"]


async def test_a_life_is_told_in_its_order_and_history_is_not(store: SqliteStore) -> None:
    async with Receiver() as host:
        here = endpoint(host.url)
        async with running(store, here):
            store.apply(life())
            await host.until(len(LIFE))
            assert host.told("type") == LIFE
            assert host.told("data", "recipient") == [
                *(None, "person1@example.net", "person1@example.net", "person2@example.net", "person3@example.net"),
                *["person1@example.net"] * 4,
            ]
            assert host.told("data")[0]["recipients"] == [f"person{n}@example.net" for n in (1, 2, 3)]
            assert host.told("data")[5]["first"] is True
            assert host.told("data")[6]["url"] == "https://example.com/1?a=1"
            assert host.told("data")[6]["label"] == "Link 1"
            await until(lambda: about(store, here)["delivered"] == len(LIFE))
            assert {row["state"] for row in rows(store, here)} == {"delivered"}


async def test_an_endpoint_gets_what_it_asked_for_by_the_name_it_asked_by(store: SqliteStore) -> None:
    async with Receiver() as one, Receiver() as two, Receiver() as three:
        hosts = (one, two, three)
        wants: list[dict[str, Any]] = [
            {"events": ["delivered", "clicked"]},
            {"events": ["clicked"], "machine": True},
            {"format": "sendgrid"},
        ]
        endpoints = [endpoint(host.url, n, **want) for n, (host, want) in enumerate(zip(hosts, wants, strict=True))]
        async with running(store, *endpoints):
            store.apply(life())
            await one.until(2)
            await two.until(2)
            await until(lambda: sum(len(request.json) for request in three.requests) == len(LIFE) + 2)
        assert one.told("type") == ["delivered", "clicked"]
        assert two.told("data", "class") == ["human", "machine"]
        assert len(three.requests) == 1


async def test_what_comes_back_later_is_told_of(store: SqliteStore) -> None:
    async with Receiver() as host, Receiver() as other:
        here, there = endpoint(host.url), endpoint(other.url, 1, format="sendgrid")
        mail = accepted(people=3)
        said = "smtp; 550 5.1.1 no such user"
        async with running(store, here, there):
            store.apply([mail, *(outcome(mail.id, person) for person in (1, 2, 3))])
            store.apply(
                [
                    Returned(mail.id, 1, NOW + 60, BounceKind.HARD, "5.1.1", said),
                    Returned(mail.id, 2, NOW + 60, BounceKind.SOFT, "5.2.2", "mailbox full"),
                    Complained(mail.id, 3, NOW + 90, "abuse", "a provider"),
                ]
            )
            await host.until(7)
            await until(lambda: sum(len(request.json) for request in other.requests) == 9)
        told = [each for each in host.told() if each["type"] in ("bounced", "complained")]
        about = [(each["data"].get("bounce"), each["data"]["reason"], each["data"]["reply"]) for each in told]
        assert about == [("hard", "5.1.1", said), ("soft", "5.2.2", "mailbox full"), (None, None, "a provider")]
        assert [each["data"]["recipient"] for each in told] == [f"person{n}@example.net" for n in (1, 2, 3)]
        events = [event for request in other.requests for event in request.json if event["event"] == "bounce"]
        assert [(event["type"], event["status"]) for event in events] == [("bounce", "5.1.1"), ("blocked", "5.2.2")]


async def test_what_fails_is_tried_again_with_the_same_id_and_what_follows_waits(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.script += [Reply(500), Reply(302), Reply(200)]
        here = endpoint(host.url)
        mail, other = accepted(people=1), accepted(people=1)
        async with running(store, here):
            store.apply([mail])
            await host.until(1)
            store.apply([outcome(mail.id), hit(mail.id), other])
            requests = await host.until(6)
            by_mail = [
                [request.json["type"] for request in requests if request.json["data"]["message"] == str(each.id)]
                for each in (mail, other)
            ]
            assert by_mail == [["queued", "queued", "queued", "sent", "opened"], ["queued"]]
            assert len({request.id for request in requests}) == 4
            await until(lambda: about(store, here)["delivered"] == 4)
            assert about(store, here)["failed"] == 2
            (first,) = (row for row in rows(store, here) if row["tries"] == 3)
            assert (first["state"], first["status"], first["problem"]) == ("delivered", 200, None)


async def test_what_waits_behind_one_that_fails_for_good_goes_on_in_the_end(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_webhooks, "HOLD", 1.0)
    mail = accepted(people=1)

    class Poisoned(Receiver):
        def choose(self, request: Request) -> Reply:
            return Reply(500 if request.json["type"] == "queued" else 200)

    async with Poisoned() as host:
        here = endpoint(host.url, format="standard")
        async with running(store, here):
            store.apply([mail, outcome(mail.id), hit(mail.id)])
            await until(lambda: about(store, here)["delivered"] == 2)
            types = [each for each in host.told("type") if each != "queued"]
            assert types == ["sent", "opened"]


async def test_what_is_never_taken_is_given_up_after_the_last_try(store: SqliteStore, monkeypatch: Any) -> None:
    from tracker.webhooks import schedule

    monkeypatch.setattr(schedule, "SCHEDULES", {"mailgun": (0.01,) * 7})
    async with Receiver() as host:
        host.usual = Reply(500)
        here = endpoint(host.url, format="mailgun", secret="k")
        async with running(store, here, limits=Limits(settling=0.05, poll=0.02, probe=60)):
            store.apply([accepted(people=1)])
            await until(lambda: about(store, here)["given_up"] == 1)
            assert len(host.requests) == 8
            assert [row["state"] for row in rows(store, here)] == ["failed"]
            tokens = {request.json["signature"]["token"] for request in host.requests}
            assert len(tokens) == 1


async def test_406_ends_a_mailgun_delivery_and_is_a_failure_elsewhere(store: SqliteStore) -> None:
    async with Receiver() as host, Receiver() as other:
        host.script.append(Reply(406))
        other.script.append(Reply(406))
        here, there = endpoint(host.url, format="mailgun", secret="k"), endpoint(other.url, 1)
        async with running(store, here, there):
            store.apply([accepted(people=1)])
            await other.until(2)
            await until(lambda: [row["state"] for row in rows(store, here)] == ["dropped"])
            await until(lambda: [row["state"] for row in rows(store, there)] == ["delivered"])
        assert len(host.requests) == 1


async def test_410_stops_an_endpoint_until_its_configuration_changes(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.script.append(Reply(410))
        here = endpoint(host.url)
        mail = accepted(people=1)
        async with running(store, here):
            store.apply([mail])
            await until(lambda: about(store, here)["stopped_at"])
            store.apply([outcome(mail.id)])
            await asyncio.sleep(0.5)
        assert len(host.requests) == 1
        async with running(store, here):  # a new start changes nothing
            await asyncio.sleep(0.5)
            assert len(host.requests) == 1
        changed = endpoint(host.url, events=["queued", "sent"])
        async with running(store, changed):
            await host.until(3)
            assert host.told("type") == ["queued", "queued", "sent"]
            assert len({request.id for request in host.requests}) == 2
            assert about(store, changed)["stopped_at"] is None


async def test_a_stopped_endpoint_can_be_told_to_go_on(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.script.append(Reply(410))
        here = endpoint(host.url)
        async with running(store, here, limits=Limits(settling=0.05, poll=0.02, lease=40.0)):
            store.apply([accepted(people=1)])
            await until(lambda: about(store, here)["stopped_at"])
            store.deliveries().resume(here.key)
            await host.until(2)


async def test_what_was_read_before_a_pause_is_read_again_after_it(store: SqliteStore) -> None:
    """Somebody is forgotten meanwhile; nobody is told of it twice or not at all."""
    async with Receiver() as host:
        host.script.append(Reply(429, {"Retry-After": "4"}, delay=0.3))
        here = endpoint(host.url, events=["sent"])
        mails = [accepted(people=1) for _ in range(40)]
        async with running(store, here):
            store.apply([*mails, *(outcome(mail.id) for mail in mails)])
            await host.until(1)
            await until(lambda: about(store, here)["last_error"])
            await asyncio.to_thread(store.forget, "person1@example.net")
            before = len(host.requests)
            await until(lambda: about(store, here)["delivered"] == 40)
        assert len({request.id for request in host.requests}) == 40
        assert len(host.requests) == 41
        assert not any(b"person1" in request.body for request in host.requests[before:])


@pytest.mark.parametrize("usual", [Reply(delay=0.4), Reply(500, delay=0.4)], ids=["takes", "refuses"])
async def test_a_slow_endpoint_hears_of_what_it_had_to_wait_for_as_it_stands_then(
    store: SqliteStore, usual: Reply, monkeypatch: Any
) -> None:
    monkeypatch.setattr(delivering, "FAILING", 1000)
    async with Receiver() as host:
        host.usual = usual
        here = endpoint(host.url, events=["sent"])
        mails = [accepted(people=1) for _ in range(20)]
        async with running(store, here, limits=replace(QUICK, concurrency=1, fresh=0.1)):
            store.apply([*mails, *(outcome(mail.id) for mail in mails)])
            await host.until(3)
            await asyncio.to_thread(store.forget, "person1@example.net")
            before = len(host.requests)
            await host.until(before + 4)
        # One may be under way, and one was read just before.
        assert not any(b"person1" in request.body for request in host.requests[before + 2 :])
        assert usual.status == 500 or len({request.id for request in host.requests}) == len(host.requests)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_heeded_for_all_of_an_endpoint(store: SqliteStore, status: int) -> None:
    async with Receiver() as host:
        host.script.append(Reply(status, {"Retry-After": "1"}))
        here = endpoint(host.url)
        async with running(store, here):
            store.apply([accepted(people=1)])
            await host.until(1)
            store.apply([accepted(people=1)])
            first, second, _ = await host.until(3)
            assert second.at - first.at > 0.9


async def test_a_dead_endpoint_holds_up_no_other_and_is_left_alone(store: SqliteStore) -> None:
    async with Receiver() as host, Receiver() as dead:
        port = dead.port
        await dead.refuse()
        here, there = endpoint(host.url), endpoint(f"http://127.0.0.1:{port}/hook", 1)
        async with running(store, here, there):
            for _ in range(10):
                store.apply([accepted(people=1) for _ in range(50)])
            await host.until(500)
            await until(lambda: about(store, there)["failures"] >= 5)
            await asyncio.sleep(0.5)
            written = len(rows(store, there))
            assert written <= 5 + QUICK.concurrency
            await asyncio.sleep(0.5)
            assert len(rows(store, there)) == written
            dead.port = port
            await dead.listen()
            await dead.until(500)
            await until(lambda: about(store, there)["waiting"] == 0 and about(store, there)["delivered"] == 500)
        ids = [request.id for request in dead.requests]
        assert len(set(ids)) == len(ids) == 500


async def test_a_dead_endpoint_with_one_event_is_noticed_when_it_is_back(store: SqliteStore, monkeypatch: Any) -> None:
    from tracker.webhooks import schedule

    monkeypatch.setattr(schedule, "SCHEDULES", {"standard": (0.01, 0.01, 0.01, 0.01, 3600.0)})
    async with Receiver() as host:
        host.usual = Reply(500)
        here = endpoint(host.url)
        async with running(store, here):
            store.apply([accepted(people=1)])
            await until(lambda: about(store, here)["failures"] > 5)
            host.usual = Reply(200)
            await until(lambda: about(store, here)["delivered"] == 1)


async def test_tries_at_once_are_bounded_and_a_hanging_endpoint_ends_them(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.usual = Reply(hang=True)
        here = endpoint(host.url)
        async with running(store, here, patience=3.0, limits=Limits(settling=0.05, poll=0.02, concurrency=4)):
            store.apply([accepted(people=1) for _ in range(50)])
            await host.until(4)
            await asyncio.sleep(0.2)
            assert host.busiest == 4
            host.usual = Reply()
            found = await until(lambda: about(store, here)["last_error"])
            assert found == "no answer within 3 s"


async def test_events_of_one_mail_never_overtake_each_other(store: SqliteStore) -> None:
    """Ten go at once, the answers take longer and shorter; what one mail's events say comes in its order."""

    class Uneven(Receiver):
        def choose(self, request: Request) -> Reply:
            return Reply(delay=(hash(request.id) % 5) / 100)

    async with Uneven() as host:
        here = endpoint(host.url)
        async with running(store, here):
            mails = [accepted(people=1) for _ in range(30)]
            for step in range(4):
                for mail in mails:
                    store.apply([hit(mail.id, at=NOW + 60 * step)] if step else [mail, outcome(mail.id)])
            requests = await host.until(30 * 5)
        for mail in mails:
            times = [each.json["timestamp"] for each in requests if each.json["data"]["message"] == str(mail.id)]
            assert len(times) == 5
            assert times == sorted(times)
        assert host.busiest > 1


async def test_a_burst_that_shows_later_is_told_right_the_first_time(store: SqliteStore) -> None:
    async with Receiver() as host:
        here = endpoint(host.url, events=["clicked"])
        async with running(store, here, limits=Limits(settling=3.0, poll=0.02)):
            mail = accepted(people=1)
            store.apply([mail, hit(mail.id, 1, 1)])
            await asyncio.sleep(0.2)
            with contextlib.closing(sqlite3.connect(store.path)) as db:
                db.execute("UPDATE events SET class = 'machine', kind = 'scanner' WHERE type = 'click'")
                db.commit()
            store.apply([hit(mail.id, 1, 2, at=NOW + 90)])
            await host.until(1)
            await asyncio.sleep(0.3)
        assert host.told("data", "position") == [2]


async def test_an_event_that_is_gone_by_the_next_try_is_not_told(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.usual = Reply(500)
        here = endpoint(host.url)
        async with running(store, here):
            store.apply([accepted(people=1)])
            await host.until(1)
            with contextlib.closing(sqlite3.connect(store.path)) as db:
                db.execute("DELETE FROM events")
                db.commit()
            await until(lambda: about(store, here)["waiting"] == 0)
            assert rows(store, here) == []


async def test_a_forgotten_person_is_not_named_at_the_next_try(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.script.append(Reply(500, {"Retry-After": "4"}))
        here = endpoint(host.url, events=["sent"])
        mail = accepted(people=1)
        async with running(store, here):
            store.apply([mail, outcome(mail.id)])
            await host.until(1)
            await asyncio.to_thread(store.forget, "person1@example.net")
            await host.until(2)
        assert [b"person1" in request.body for request in host.requests] == [True, False]
        assert b"person1" not in store.path.read_bytes()


# -- stopping, starting, several nodes -------------------------------------------------------------------------------


async def test_what_comes_while_nobody_delivers_is_told_later(store: SqliteStore) -> None:
    async with Receiver() as host:
        here = endpoint(host.url)
        async with running(store, here):
            store.apply([accepted(people=1)])
            await host.until(1)
        store.apply([accepted(people=1)])
        async with running(store, here):
            await host.until(2)
            await asyncio.sleep(0.2)
        assert len(host.requests) == 2


async def test_stopping_waits_for_what_is_under_way(store: SqliteStore) -> None:
    async with Receiver() as host:
        host.usual = Reply(delay=0.4)
        here = endpoint(host.url)
        async with running(store, here, limits=Limits(settling=0.05, poll=0.02, drain=10.0)):
            store.apply([accepted(people=1)])
            await host.until(1)
        assert about(store, here)["delivered"] == 1
        assert about(store, here)["owner"] is None


async def test_endpoints_are_taken_over_changed_added_and_removed(store: SqliteStore) -> None:
    async with Receiver() as one, Receiver() as two:
        first, second = endpoint(one.url), endpoint(two.url, 1)
        async with running(store, first) as webhooks:
            store.apply([accepted(people=1)])
            await one.until(1)
            webhooks.replace([endpoint(one.url, events=["sent"]), second])
            await until(lambda: len(store.deliveries().endpoints()) == 2)
            await asyncio.sleep(0.2)
            mail = accepted(people=1)
            store.apply([mail, outcome(mail.id)])
            await one.until(2)
            await two.until(2)
            assert one.told("type") == ["queued", "sent"]
            assert two.told("type") == ["queued", "sent"]
            webhooks.replace([second])
            await until(lambda: list(store.deliveries().endpoints()) == [second.key])
            store.apply([accepted(people=1)])
            await two.until(3)
            assert len(one.requests) == 2
            webhooks.replace([first, second])  # begins anew, now
            await until(lambda: len(store.deliveries().endpoints()) == 2)
            store.apply([accepted(people=1)])
            await one.until(3)
            await asyncio.sleep(0.2)
            assert len(one.requests) == 3


async def test_only_one_node_delivers_and_another_goes_on_when_it_is_gone(store: SqliteStore) -> None:
    """The second waits for the lease of the first, which it cannot have while the first renews it."""
    slow = Limits(settling=0.05, poll=0.02, lease=33.0)  # a request may take thirty seconds of it
    async with Receiver() as host:
        here = endpoint(host.url)
        other = SqliteStore(store.path)
        async with running(store, here, owner="one", limits=slow), running(other, here, owner="two", limits=slow):
            store.apply([accepted(people=1) for _ in range(30)])
            await host.until(30)
            await asyncio.sleep(0.3)
            assert len(host.requests) == 30
            assert about(store, here)["owner"] == "one"
        deliveries = store.deliveries()
        now = time.time()
        assert deliveries.lease(here.key, "one", now, now + 60) is not None
        assert deliveries.lease(here.key, "two", now + 59, now + 120) is None
        assert deliveries.lease(here.key, "two", now + 61, now + 120) is not None
        standing = deliveries.lease(here.key, "two", now + 61, now + 120)
        assert standing is not None
        assert deliveries.settle(here.key, "one", [], standing, now, now + 60) is None
        other.close()


async def test_a_store_that_is_away_for_a_while_loses_nothing(store: SqliteStore, monkeypatch: Any) -> None:
    async with Receiver() as host:
        here = endpoint(host.url)
        host.usual = Reply(delay=0.05)
        async with running(store, here):
            store.apply([accepted(people=1) for _ in range(30)])
            await host.until(5)
            real = store._transaction

            def away() -> Any:
                raise StoreError("away")

            monkeypatch.setattr(store, "_transaction", away)
            await asyncio.sleep(0.3)
            monkeypatch.setattr(store, "_transaction", real)
            await until(lambda: about(store, here)["delivered"] == 30)
        assert len({request.id for request in host.requests}) == 30
        assert len(host.requests) == 30


# -- what people do --------------------------------------------------------------------------------------------------


async def test_a_delivery_can_be_sent_once_more(store: SqliteStore) -> None:
    async with Receiver() as host:
        here = endpoint(host.url)
        async with running(store, here):
            store.apply([accepted(people=1)])
            await until(lambda: about(store, here)["delivered"] == 1)
            (row,) = rows(store, here)
            assert store.deliveries().resend(here.key, row["recorded"], time.time())
            await host.until(2)
            await until(lambda: about(store, here)["delivered"] == 2)
            assert not store.deliveries().resend(here.key, 1, time.time())
        assert host.requests[0].id == host.requests[1].id
        assert json.loads(host.requests[0].body) == json.loads(host.requests[1].body)


def test_what_is_settled_is_kept_for_a_while_only(store: SqliteStore) -> None:
    deliveries = store.deliveries()
    deliveries.enrol({"here": "mark"}, "node", NOW)
    standing = deliveries.lease("here", "node", NOW, NOW + 60)
    assert standing is not None
    from dataclasses import replace

    from tracker.webhooks.deliveries import Settled

    states = [State.DELIVERED, State.FAILED, State.WAITING]
    settled = [
        Settled(standing.cursor + n, f"m{n}", f"e{n}", "opened", states[n % 3], 1, NOW + n, NOW + 1e6, 200)
        for n in range(1, 31)
    ]
    moved = replace(standing, cursor=standing.cursor + 24)
    assert deliveries.settle("here", "node", settled, moved, NOW, NOW + 60) is not None
    deliveries.trim("here", 3, NOW)
    kept = sorted((row["state"], row["recorded"] - standing.cursor) for row in deliveries.recent("here", 100))
    assert [n for state, n in kept if state == "delivered"] == [24, 27, 30]
    assert [n for state, n in kept if state == "failed"] == [22, 25, 28]
    assert len([n for state, n in kept if state == "waiting"]) == 10
    deliveries.trim("here", 100, NOW + 29)
    assert [n for state, n in kept if state == "waiting"] == sorted(
        row["recorded"] - standing.cursor for row in deliveries.recent("here", 100) if row["state"] == "waiting"
    )
    # Beyond the cursor, rows also say that an event is settled.
    left = [row["recorded"] - standing.cursor for row in deliveries.recent("here", 100) if row["state"] != "waiting"]
    assert sorted(left) == [25, 27, 28, 30]


def test_the_usual_limits_leave_a_request_its_time_within_a_lease() -> None:
    usual = Limits()
    assert usual.lease * 2 / 3 > delivering.WHOLE_SECONDS + 5
