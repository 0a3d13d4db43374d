"""A lane: so many at a time, in the order of asking; closed while its host is in trouble, and carefully reopened."""

from __future__ import annotations

import asyncio

import pytest

from relay.dispatch.envelope import Verdict
from relay.dispatch.lane import LONGEST_PAUSE, Closed
from tests.dispatch.queued import Clock, Host, lane

GOOD = [Verdict(1, "a@x.test", 250, "2.0.0", "Ok", "after")]
REFUSED = [Verdict(1, "a@x.test", 550, "5.1.1", "no", "rcpt")]
TROUBLE = [Verdict(1, "a@x.test", 421, "4.3.2", "going down", "mail", host_wide=True)]


@pytest.fixture
def clock():
    return Clock()


async def turns(lane, count: int) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(lane.turn()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def through(tasks: list[asyncio.Task]) -> list[bool]:
    return [task.done() and task.exception() is None for task in tasks]


async def test_so_many_at_a_time_in_the_order_of_asking(clock):
    way = lane(Host(), clock=clock, width=2)
    tasks = await turns(way, 4)
    assert through(tasks) == [True, True, False, False]
    way.done()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert through(tasks) == [True, True, True, False]
    way.done()
    await asyncio.wait_for(tasks[3], 60)


async def test_whoever_stops_waiting_takes_no_place(clock):
    way = lane(Host(), clock=clock, width=1)
    _, second, third = await turns(way, 3)
    second.cancel()
    way.done()
    await asyncio.wait_for(third, 60)
    assert second.cancelled()


async def test_a_place_given_to_one_who_is_just_cancelled_goes_on_to_the_next(clock):
    way = lane(Host(), clock=clock, width=1)
    _, second, third = await turns(way, 3)
    way.done()
    second.cancel()
    await asyncio.wait_for(third, 60)


async def test_trouble_closes_it_and_sends_away_who_waits(clock):
    way = lane(Host(), clock=clock, width=1)
    tasks = await turns(way, 3)
    assert way.heed(TROUBLE)
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [type(None), Closed, Closed]
    assert not way.open
    assert way.failing_since == clock.now
    assert way.reason == "421 4.3.2 going down"
    with pytest.raises(Closed):
        await way.turn()


async def test_a_refusal_is_no_trouble_of_the_host(clock):
    way = lane(Host(), clock=clock)
    assert not way.heed(REFUSED)
    assert way.open


async def test_pauses_grow_up_to_a_minute_and_are_spread(clock):
    first, pauses = set(), []
    for _ in range(20):
        way = lane(Host(), clock=clock)
        way.heed(TROUBLE)
        first.add(way.closed_until - clock.now)
    assert 0.75 <= min(first) < max(first) <= 1.0
    way = lane(Host(), clock=clock)
    for _ in range(12):
        assert way.heed(TROUBLE)
        pauses.append(way.closed_until - clock.now)
        clock.now = way.closed_until
    assert pauses[:6] == sorted(pauses[:6])
    assert all(45.0 <= pause <= LONGEST_PAUSE for pause in pauses[6:])
    assert way.failing_since is not None
    assert clock.now - way.failing_since == pytest.approx(sum(pauses))


async def test_copies_that_meet_the_same_trouble_close_it_once(clock):
    way = lane(Host(), clock=clock)
    assert way.heed(TROUBLE)
    until = way.closed_until
    assert not way.heed(TROUBLE)
    assert way.closed_until == until


async def test_it_is_reopened_for_one_and_widens_with_each_success(clock):
    way = lane(Host(), clock=clock, width=7)
    way.heed(TROUBLE)
    clock.now = way.closed_until
    tasks = await turns(way, 20)
    assert sum(through(tasks)) == 1
    widths = []
    for _ in range(5):
        assert way.heed(GOOD) == (not widths)
        way.done()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = sum(through(tasks))
        widths.append(done - len(widths) - 1)
    assert widths == [2, 4, 7, 7, 7]
    assert way.failing_since is None
    assert way.reason == ""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_one_that_fails_again_closes_it_for_longer(clock):
    way = lane(Host(), clock=clock, width=7)
    way.heed(TROUBLE)
    clock.now = way.closed_until
    tasks = await turns(way, 3)
    way.heed(TROUBLE)
    way.done()
    await asyncio.wait(tasks)
    assert [isinstance(task.exception(), Closed) for task in tasks] == [False, True, True]
    assert way.closed_until - clock.now > 1.4


async def test_an_operator_may_have_it_tried_at_once(clock):
    way = lane(Host(), clock=clock, width=7)
    way.heed(TROUBLE)
    way.nudge()
    assert way.open
    tasks = await turns(way, 3)
    assert sum(through(tasks)) == 1
    way.end()
    await asyncio.wait(tasks)


async def test_at_the_end_nobody_goes_through(clock):
    host = Host()
    way = lane(host, clock=clock, width=1)
    tasks = await turns(way, 2)
    retiring = asyncio.create_task(way.retire())
    await asyncio.sleep(0.01)
    assert isinstance(tasks[1].exception(), Closed)
    with pytest.raises(Closed):
        await way.turn()
    assert not host.closed
    way.done()
    await asyncio.wait_for(retiring, 60)
    assert host.closed
