"""The running queue: who goes when, and who does not have to wait for whom."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from relay.dispatch import delivery as module
from relay.dispatch.delivery import Delivery
from tests.dispatch.queued import (
    LATER,
    NOW,
    OK,
    RETRY,
    Clock,
    Host,
    Letter,
    delivering,
    emptied,
    idle,
    lane,
    mail,
    mails_in,
    soon,
    spool_in,
)
from tracker.errors import SpoolError


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def spool(tmp_path):
    async with spool_in(tmp_path, ["other"]) as spool:
        yield spool


async def test_what_is_due_is_sent_and_what_is_not_waits(spool, clock):
    host = Host()
    await spool.accept(mail("ann@x.test"), in_hand=False)
    await spool.accept(mail("bob@x.test", at=NOW + 10), in_hand=False)
    async with delivering(spool, lane(host, clock=clock), clock=clock):
        await soon(lambda: host.people == ["ann@x.test"])
        await asyncio.sleep(0.05)
        assert host.people == ["ann@x.test"]
        clock.now += 10
        await emptied(spool)
    assert host.people == ["ann@x.test", "bob@x.test"]
    assert host.closed


async def test_a_mail_that_is_taken_goes_on_at_once(spool, clock):
    host = Host()
    running = Delivery("relay.test", [lane(host, clock=clock)], RETRY, Letter, clock)
    sent = mail()
    await spool.accept(sent, in_hand=True)
    running.take(spool, sent)
    await soon(lambda: host.people == ["ann@example.net"])
    await running.stop(1.0)


async def test_who_is_put_off_comes_back_when_due(spool, clock):
    host = Host(lambda address: LATER)
    await spool.accept(mail(), in_hand=False)
    async with delivering(spool, lane(host, clock=clock), clock=clock):
        for tries in range(1, 5):
            await soon(lambda tries=tries: len(host.tries) == tries)
            await idle(spool)
            clock.now = (await mails_in(spool))[0][1]
        host.say = lambda address: OK
        await emptied(spool)


async def test_a_host_in_trouble_holds_up_its_own_mail_only(spool, clock):
    ill, well = Host(), Host()
    ill.trouble = "going down"
    ways = [lane(ill, clock=clock), lane(well, "other", clock=clock)]
    for _ in range(30):
        await spool.accept(mail("ann@x.test"), in_hand=False)
        await spool.accept(mail("bob@x.test", route="other"), in_hand=False)
    async with delivering(spool, *ways, clock=clock):
        await soon(lambda: len(well.people) == 30)
        await idle(spool)
        tries = len(ill.tries)
        assert tries <= 10
        await asyncio.sleep(0.05)
        assert len(ill.tries) == tries
        ill.trouble = None
        clock.now = ways[0].closed_until
        await emptied(spool)
    assert ill.people == ["ann@x.test"] * 30


async def test_after_trouble_one_mail_goes_first_and_then_more(spool, clock):
    host = Host()
    host.trouble = "going down"
    way = lane(host, clock=clock, width=8)
    for _ in range(40):
        await spool.accept(mail(), in_hand=False)
    async with delivering(spool, way, clock=clock):
        await soon(lambda: not way.open)
        await idle(spool)
        host.trouble, host.gate = None, asyncio.Event()
        host.tries.clear()
        clock.now = way.closed_until
        await soon(lambda: host.running == 1)
        await asyncio.sleep(0.05)
        assert len(host.tries) == 1
        for width, tries in ((2, 3), (8, 11), (8, 19)):  # each of the two that went through has doubled it
            host.gate.set()
            host.gate = asyncio.Event()
            await soon(lambda tries=tries: len(host.tries) == tries)
            await asyncio.sleep(0.02)
            assert (host.running, len(host.tries)) == (width, tries)
        host.gate.set()
        host.gate = None
        await emptied(spool)
    assert host.most == 8


async def test_a_slow_host_holds_up_its_own_mail_only(spool, clock):
    slow, fast = Host(), Host()
    slow.gate = asyncio.Event()
    ways = [lane(slow, clock=clock), lane(fast, "other", clock=clock)]
    await asyncio.gather(*(spool.accept(mail("ann@x.test"), in_hand=False) for _ in range(1500)))
    async with delivering(spool, *ways, clock=clock) as running:
        await soon(lambda: not running.has_room(10))
        assert running.has_room(10, "other")
        await spool.accept(mail("bob@x.test", route="other"), in_hand=False)
        await soon(lambda: fast.people == ["bob@x.test"])
        slow.gate.set()
        await emptied(spool, 30)
    assert len(slow.people) == 1500


async def test_memory_is_bounded_and_a_mail_larger_than_that_goes_all_the_same(spool, clock, monkeypatch):
    monkeypatch.setattr(module, "_MOST_HELD_OCTETS", 1_000_000)
    host = Host()
    host.gate = asyncio.Event()
    for _ in range(6):
        await spool.accept(mail(content=b"x" * 2_000_000), in_hand=False)
    async with delivering(spool, lane(host, clock=clock), clock=clock) as running:
        await soon(lambda: host.running)
        await asyncio.sleep(0.1)
        assert host.running == 1
        assert not running.has_room(1)
        host.gate.set()
        await emptied(spool)
    assert len(host.people) == 6


async def test_a_mail_to_a_thousand_does_not_hold_up_the_next(spool, clock):
    host = Host()
    host.gate = asyncio.Event()
    way = lane(host, clock=clock, width=5)
    many = mail(*(f"{number}@x.test" for number in range(1000)))
    async with delivering(spool, way, clock=clock) as running:
        await spool.accept(many, in_hand=True)
        running.take(spool, many)
        await soon(lambda: host.running == 5)
        one = mail("ann@x.test")
        await spool.accept(one, in_hand=True)
        running.take(spool, one)
        host.gate.set()
        await soon(lambda: "ann@x.test" in host.people)
        assert len(host.people) < 50
        await emptied(spool, 30)
    assert sorted(host.people) == sorted([*(f"{number}@x.test" for number in range(1000)), "ann@x.test"])
    assert host.most == 5


async def test_a_backlog_is_drawn_without_waiting_between(spool, clock):
    host = Host()
    await asyncio.gather(*(spool.accept(mail(), in_hand=False) for _ in range(2500)))
    module_poll = module._POLL_SECONDS
    async with delivering(spool, lane(host, clock=clock), clock=clock):
        module._POLL_SECONDS = 60.0  # only what is told to go on goes on
        began = time.monotonic()
        await emptied(spool, 50)
        assert time.monotonic() - began < 50
    assert module_poll == module._POLL_SECONDS
    assert len(host.people) == 2500


async def test_mail_of_which_the_store_does_not_know_is_told_of_though_its_host_is_away(spool, clock):
    host = Host()
    host.trouble = "going down"
    way = lane(host, clock=clock)
    first = mail()
    async with delivering(spool, way, clock=clock):
        await spool.accept(first, in_hand=False)
        await soon(lambda: not way.open)
        for _ in range(3):
            await spool.accept(mail(), in_hand=False)
        for _ in range(1000):
            found = await spool.facts(100)
            if sum(octets[:1] == b"a" for _, octets in found) == 4:
                break
            await asyncio.sleep(0.005)
        assert sum(octets[:1] == b"a" for _, octets in found) == 4
        await idle(spool)
        assert len(await mails_in(spool)) == 4


async def test_mail_that_cannot_be_prepared_holds_up_no_other(spool, clock):
    def prepare(each):
        if each.reverse_path == "bad@example.com":
            raise ValueError("a bug")
        return Letter(each)

    host = Host()
    for _ in range(12):
        await spool.accept(mail(reverse_path="bad@example.com"), in_hand=False)
    await spool.accept(mail("ann@x.test"), in_hand=False)
    async with delivering(spool, lane(host, clock=clock), clock=clock, prepare=prepare):
        await soon(lambda: host.people == ["ann@x.test"])
        await idle(spool)
        assert all(at > NOW + 200 for _, at in await mails_in(spool))


async def test_another_file_is_sent_too_and_one_that_fails_holds_up_none(tmp_path, clock, monkeypatch):
    host = Host()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(spool_in(tmp_path))
        second = await stack.enter_async_context(spool_in(tmp_path))
        third = await stack.enter_async_context(spool_in(tmp_path, ["gone"]))
        await third.accept(mail("ann@x.test", route="gone"), in_hand=False)

        async def broken() -> bool:
            raise SpoolError("no")

        async def worse() -> bool:
            raise KeyError("a bug")

        monkeypatch.setattr(first, "tend", broken)
        monkeypatch.setattr(second, "tend", worse)
        async with delivering(first, lane(host, clock=clock), clock=clock) as running:
            running.adopt(second)
            running.adopt(third)
            await emptied(third)
            running.drop(third)
            await asyncio.sleep(0.05)  # what is being looked into just now still is
            await third.accept(mail("bob@x.test"), in_hand=False)
            await asyncio.sleep(0.05)
    assert host.people == ["ann@x.test"]


async def test_other_lanes_from_now_on(spool, clock):
    old, new, usual = Host(), Host(), Host()
    way = lane(usual, clock=clock)
    old.gate = asyncio.Event()
    async with delivering(spool, way, lane(old, "other", clock=clock), clock=clock) as running:
        await spool.accept(mail("ann@x.test", route="other"), in_hand=False)
        await soon(lambda: old.running)
        running.set_lanes([way, lane(new, "other", clock=clock)])
        await spool.accept(mail("bob@x.test", route="other"), in_hand=False)
        await soon(lambda: new.people == ["bob@x.test"])
        assert not old.closed
        old.gate.set()
        await soon(lambda: old.closed)
        assert old.people == ["ann@x.test"]
        running.set_lanes([way])
        await spool.accept(mail("cat@x.test", route="other"), in_hand=False)
        await soon(lambda: usual.people == ["cat@x.test"])


async def test_mail_that_waits_for_a_smarthost_that_is_gone_goes_the_usual_way(spool, clock):
    usual, ill = Host(), Host()
    ill.trouble = "going down"
    way = lane(usual, clock=clock)
    async with delivering(spool, way, lane(ill, "other", clock=clock), clock=clock) as running:
        await spool.accept(mail(route="other"), in_hand=False)
        await soon(lambda: ill.tries)
        await idle(spool)
        running.set_lanes([way])
        await emptied(spool)
    assert usual.people == ["ann@example.net"]


async def test_what_ails_a_host_is_noted_while_it_does(spool, clock):
    async def noted() -> list[tuple[str, str]]:
        return await spool._ask(lambda db: db.execute("SELECT route, reason FROM hosts").fetchall())

    async def comes(expected: list[tuple[str, str]]) -> None:
        for _ in range(1000):
            if await noted() == expected:
                return
            await asyncio.sleep(0.005)
        assert await noted() == expected

    host = Host()
    host.trouble = "going down"
    way = lane(host, clock=clock)
    async with delivering(spool, way, clock=clock) as running:
        await spool.accept(mail(), in_hand=False)
        await comes([("", "421 4.3.2 going down")])
        host.trouble = None
        clock.now = way.closed_until
        await comes([])
        host.trouble = "again"
        await spool.accept(mail(), in_hand=False)
        await comes([("", "421 4.3.2 again")])
        host.trouble = None
        running.set_lanes([lane(host, clock=clock)])
        await comes([])


async def test_at_the_end_what_is_under_way_is_finished_and_nothing_begun(spool, clock):
    host = Host()
    host.gate = asyncio.Event()
    people = [f"{number}@x.test" for number in range(20)]
    sent = mail(*people)
    running = Delivery("relay.test", [lane(host, clock=clock, width=3)], RETRY, Letter, clock)
    running.start([spool])
    await spool.accept(sent, in_hand=True)
    running.take(spool, sent)
    await soon(lambda: host.running == 3)
    stopping = asyncio.create_task(running.stop(5.0))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    host.gate.set()
    await stopping
    assert host.people == people[:3]
    (left,) = await spool.lease([""], NOW, 10)
    assert [each.address for each in left.recipients] == people[3:]


async def test_what_does_not_end_in_time_is_cut_off_and_keeps(spool, clock):
    host = Host()
    host.gate = asyncio.Event()
    running = Delivery("relay.test", [lane(host, clock=clock)], RETRY, Letter, clock)
    running.start([spool])
    await spool.accept(mail(), in_hand=False)
    await soon(lambda: host.running)
    began = time.monotonic()
    await running.stop(0.05)
    assert time.monotonic() - began < 1.0
    assert len(await mails_in(spool)) == 1
