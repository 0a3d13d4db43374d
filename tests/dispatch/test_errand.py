"""One mail in hand: each recipient ends delivered, reported or waiting, and its sender hears of it once."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Iterable
from dataclasses import replace

import pytest

from relay.dispatch import errand as module
from relay.dispatch.envelope import Verdict
from relay.dispatch.errand import DELAY_AFTER, Errand, Office, Retry
from relay.dispatch.mail import Mail, State
from relay.dispatch.spool import Spool
from tests.dispatch.queued import (
    DAY,
    HOUR,
    LATER,
    NEVER,
    NOW,
    OK,
    RETRY,
    Clock,
    Host,
    Letter,
    lane,
    mail,
    mails_in,
    rcpt,
    spool_in,
)
from tracker import facts
from tracker.errors import SpoolError
from tracker.model import Accepted, Outcome, Status

PAUSE = RETRY.first * 1.2
"""The longest first pause, in seconds."""


class Desk:
    """A spool, a host and a clock; errands are run one by one."""

    def __init__(self, spool: Spool, host: Host, retry: Retry = RETRY, together: bool = False) -> None:
        self.spool, self.host, self.clock = spool, host, Clock()
        self.lane = lane(host, clock=self.clock)
        self.noted: list[object] = []
        self.prepare = lambda each: Letter(each, together)
        self.tasks: set[asyncio.Task] = set()
        self.office = Office(
            "relay.test",
            retry,
            lambda each: self.prepare(each),
            self.clock,
            self.spawn,
            lambda: None,
            self.noted.append,
        )

    def spawn(self, work) -> asyncio.Task:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task

    async def take(self, sent: Mail, under_way=None) -> None:
        await self.spool.accept(sent, in_hand=True)
        await Errand(self.office, self.spool, sent, self.lane, under_way or {}).run()

    async def later(self, seconds: float = 0.0) -> int:
        """Let time pass and run what is due; how many mails that were."""
        self.clock.now += seconds
        if self.lane.open:
            mails = await self.spool.lease(self.lane.routes, self.clock.now, 100)
        else:
            before = self.clock.now - self.office.retry.give_up_after
            mails = await self.spool.lease_idle(self.lane.routes, self.clock.now, before, 100)
        await asyncio.gather(*(Errand(self.office, self.spool, each, self.lane, {}).run() for each in mails))
        return len(mails)

    async def people(self) -> list[tuple[str, State]]:
        """Who is left in the spool, notifications aside."""
        sql = "SELECT address, state FROM recipients JOIN messages USING (seq) WHERE profile != '' ORDER BY ordinal"
        return [
            (address, State(state)) for address, state in await self.spool._ask(lambda db: db.execute(sql).fetchall())
        ]

    async def facts(self) -> list[object]:
        return [facts.decode(octets) for _, octets in await self.spool.facts(1000)]

    async def statuses(self) -> list[tuple[int, Status]]:
        return [(each.recipient, each.status) for each in await self.facts() if isinstance(each, Outcome)]


def reports(host: Host) -> list[list[tuple[str, str, str]]]:
    """Address, action and status of each recipient in each notification."""
    return [
        [
            (block["Final-Recipient"].split("; ")[1], block["Action"], block["Status"])
            for block in email.message_from_bytes(each.content, policy=email.policy.default)
            .get_payload(1)
            .get_payload()[1:]
        ]
        for each in host.notices
    ]


@pytest.fixture
async def desk(tmp_path):
    async with spool_in(tmp_path) as spool:
        yield Desk(spool, Host())


def says(host: Host, **replies: tuple[int, str]) -> None:
    """What the host says by the first letter of an address."""
    host.say = lambda address: replies.get(address[0], OK)


async def test_delivered_and_gone(desk):
    sent = mail("ann@x.test", "bob@x.test")
    await desk.take(sent)
    assert desk.host.people == ["ann@x.test", "bob@x.test"]
    assert await mails_in(desk.spool) == []
    accepted, *outcomes = await desk.facts()
    assert isinstance(accepted, Accepted)
    assert accepted.id == sent.id
    assert [(each.recipient, each.status, each.reply) for each in outcomes] == [
        (1, Status.SENT, "250 2.0.0 so it is"),
        (2, Status.SENT, "250 2.0.0 so it is"),
    ]


@pytest.mark.parametrize("together", [False, True])
async def test_a_mail_to_one_costs_two_commits_once_it_is_accepted(desk, monkeypatch, together):
    asked = []
    ask = desk.spool._commits.ask
    monkeypatch.setattr(desk.spool._commits, "ask", lambda work: asked.append(work) or ask(work))
    await desk.take(mail())
    assert len(asked) == 3  # acceptance, its record, its outcome and end


async def test_refused_for_good_is_told_in_one_notification(desk):
    says(desk.host, a=NEVER, c=(552, "5.2.2"))
    await desk.take(mail("ann@x.test", "bob@x.test", "cat@x.test"))
    assert desk.host.people == ["bob@x.test"]
    assert await desk.statuses() == [(1, Status.BOUNCED), (2, Status.SENT), (3, Status.BOUNCED)]
    assert await desk.later() == 1
    assert reports(desk.host) == [[("ann@x.test", "failed", "5.1.1"), ("cat@x.test", "failed", "5.2.2")]]
    (notice,) = desk.host.notices
    assert [target.address for target in notice.targets] == ["news@example.com"]
    assert await mails_in(desk.spool) == []


async def test_who_is_put_off_is_tried_again_alone_with_pauses_that_grow(desk):
    says(desk.host, a=LATER)
    await desk.take(mail("ann@x.test", "bob@x.test"))
    assert await desk.statuses() == [(1, Status.PENDING), (2, Status.SENT)]
    pauses = []
    for _ in range(12):
        ((_, next_at),) = await mails_in(desk.spool)
        pauses.append(next_at - desk.clock.now)
        assert await desk.later(pauses[-1] - 0.01) == 0
        assert await desk.later(0.02) == 1
    for number, pause in enumerate(pauses):
        usual = min(RETRY.longest, RETRY.first * 2**number)
        assert 0.79 * usual <= pause <= 1.21 * usual
    assert len(desk.host.tries) == 14
    says(desk.host)
    assert await desk.later(2 * RETRY.longest) == 1
    assert desk.host.people == ["bob@x.test", "ann@x.test"]
    assert await mails_in(desk.spool) == []
    assert not desk.host.notices


def test_pauses_are_spread():
    pauses = {RETRY.pause(1) for _ in range(100)}
    assert len(pauses) == 100
    assert 0.8 * RETRY.first <= min(pauses) < 0.9 * RETRY.first
    assert 1.1 * RETRY.first < max(pauses) <= 1.2 * RETRY.first
    assert RETRY.pause(10_000) <= 1.2 * RETRY.longest


async def test_when_the_time_is_over_there_is_a_last_try_and_then_a_notification(desk):
    says(desk.host, a=LATER)
    await desk.take(mail("ann@x.test", "bob@x.test"))
    while (await mails_in(desk.spool))[0][1] < NOW + RETRY.give_up_after:
        await desk.later((await mails_in(desk.spool))[0][1] - desk.clock.now)
    assert await mails_in(desk.spool) == [((await mails_in(desk.spool))[0][0], NOW + RETRY.give_up_after)]
    tries = len(desk.host.tries)
    await desk.later(NOW + RETRY.give_up_after - desk.clock.now)
    assert len(desk.host.tries) == tries + 1
    assert await desk.later() == 1
    assert reports(desk.host) == [[("ann@x.test", "failed", "4.4.7")]]
    assert b"Given up after waiting too long: 451 4.2.2 so it is" in b" ".join(desk.host.notices[0].content.split())
    assert await mails_in(desk.spool) == []
    assert (await desk.statuses())[-1] == (1, Status.ERROR)


async def test_a_mail_that_was_put_aside_beyond_its_time_is_tried_before_it_is_given_up(desk):
    await desk.spool.accept(mail("ann@x.test", "bob@x.test"), in_hand=False)
    says(desk.host, b=NEVER)
    assert await desk.later(30 * DAY) == 1
    assert desk.host.people == ["ann@x.test"]
    await desk.later()
    assert reports(desk.host) == [[("bob@x.test", "failed", "5.1.1")]]


async def test_a_host_that_is_away_for_too_long_is_given_up_unasked(desk):
    desk.host.trouble = "closed for holidays"
    await desk.take(mail("ann@x.test"))
    assert (await desk.statuses()) == [(1, Status.PENDING)]
    assert await desk.later(0.1) == 0
    desk.clock.now = NOW + RETRY.give_up_after
    desk.lane.heed([Verdict(1, "x", 421, "4.3.2", "away", "greeting", host_wide=True)])
    tries = len(desk.host.tries)
    assert await desk.later() == 1
    assert len(desk.host.tries) == tries
    desk.host.trouble = None
    await desk.later(100)
    assert reports(desk.host) == [[("ann@x.test", "failed", "4.4.7")]]
    assert b"421 4.3.2 closed for holidays" in b" ".join(desk.host.notices[0].content.split())


async def test_trouble_of_the_host_is_no_try_of_the_mail(desk):
    desk.host.trouble = "going down"
    await desk.take(mail("ann@x.test"))
    assert desk.noted == [desk.lane]
    assert not desk.lane.open
    desk.host.trouble = None
    desk.clock.now = desk.lane.closed_until
    (again,) = await desk.spool.lease([""], desk.clock.now, 10)
    assert (again.recipients[0].attempts, again.recipients[0].next_at) == (0, NOW)
    assert again.recipients[0].said.reply == "421 4.3.2 going down"
    await Errand(desk.office, desk.spool, again, desk.lane, {}).run()
    assert desk.noted == [desk.lane, desk.lane]
    assert desk.lane.failing_since is None
    assert await mails_in(desk.spool) == []


# -- who is told what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notify", "reply", "dsn", "told"),
    [
        (None, NEVER, False, "failed"),
        ("FAILURE", NEVER, False, "failed"),
        ("failure,delay", NEVER, True, "failed"),
        ("NEVER", NEVER, False, None),
        ("SUCCESS", NEVER, False, None),
        ("DELAY", NEVER, False, None),
        (None, OK, False, None),
        ("SUCCESS", OK, False, "relayed"),
        ("SUCCESS,FAILURE", OK, False, "relayed"),
        ("SUCCESS", OK, True, None),
        ("NEVER", OK, False, None),
    ],
)
async def test_the_sender_is_told_what_notify_asks_for(desk, notify, reply, dsn, told):
    desk.host.dsn = dsn
    says(desk.host, a=reply)
    await desk.take(mail(rcpt("ann@x.test", NOTIFY=notify) if notify else rcpt("ann@x.test")))
    await desk.later()
    assert [[action for _, action, _ in each] for each in reports(desk.host)] == ([[told]] if told else [])
    assert await mails_in(desk.spool) == []


@pytest.mark.parametrize("reply", [NEVER, LATER])
async def test_of_mail_from_nobody_nobody_is_told(desk, reply):
    says(desk.host, a=reply)
    await desk.take(mail(rcpt("ann@x.test", NOTIFY="SUCCESS,FAILURE,DELAY"), reverse_path=""))
    await desk.later(30 * DAY)
    assert await mails_in(desk.spool) == []
    assert (await desk.statuses())[-1] == (1, Status.BOUNCED if reply is NEVER else Status.ERROR)
    assert not desk.host.taken


@pytest.mark.parametrize(
    ("notify", "told"), [("DELAY", True), ("FAILURE,DELAY", True), (None, False), ("NEVER", False)]
)
async def test_a_delay_is_told_once_to_whoever_asked(desk, notify, told):
    says(desk.host, a=LATER)
    await desk.take(mail(rcpt("ann@x.test", NOTIFY=notify) if notify else rcpt("ann@x.test")))
    await desk.later(DELAY_AFTER - 1)
    await desk.later()
    assert not desk.host.notices
    for _ in range(5):
        await desk.later(DAY / 2)
        await desk.later()
    assert reports(desk.host) == ([[("ann@x.test", "delayed", "4.2.2")]] if told else [])
    assert await desk.people() == [("ann@x.test", State.WAITING)]
    await desk.later(RETRY.give_up_after)
    await desk.later()
    last = reports(desk.host)[1 if told else 0 :]
    assert last == ([[("ann@x.test", "failed", "4.4.7")]] if notify in (None, "FAILURE,DELAY") else [])


async def test_all_that_is_told_at_one_time_is_told_in_one_mail(desk):
    says(desk.host, a=NEVER, b=LATER)
    people = [rcpt(f"{name}@x.test", number, NOTIFY="SUCCESS,FAILURE,DELAY") for number, name in enumerate("abc", 1)]
    desk.clock.now = NOW + DELAY_AFTER
    await desk.take(mail(*people))
    await desk.later()
    assert reports(desk.host) == [
        [("a@x.test", "failed", "5.1.1"), ("b@x.test", "delayed", "4.2.2"), ("c@x.test", "relayed", "2.0.0")]
    ]
    assert await desk.people() == [("b@x.test", State.WAITING)]


async def test_a_notification_that_is_refused_ends_there(desk):
    says(desk.host, a=NEVER, n=NEVER)
    await desk.take(mail("ann@x.test"))
    await desk.later()
    await desk.later(30 * DAY)
    assert await mails_in(desk.spool) == []
    assert len(desk.host.tries) == 2


async def test_a_notification_that_is_put_off_is_tried_again(desk):
    says(desk.host, a=NEVER, n=LATER)
    await desk.take(mail("ann@x.test"))
    await desk.later()
    says(desk.host)
    await desk.later(HOUR)
    assert reports(desk.host) == [[("ann@x.test", "failed", "5.1.1")]]
    assert await mails_in(desk.spool) == []


# -- trouble here ----------------------------------------------------------------------------------------------------


async def test_a_disk_that_fails_delays_the_outcome_and_loses_nothing(desk, monkeypatch):
    monkeypatch.setattr(module, "_SPOOL_PAUSE", 0.001)
    says(desk.host, b=NEVER, c=LATER)
    ask, fails = desk.spool._ask, iter([True, False, True, True] * 30)

    async def failing(work):
        if next(fails):
            raise SpoolError("no")
        return await ask(work)

    sent = mail("ann@x.test", "bob@x.test", "cat@x.test")
    await desk.spool.accept(sent, in_hand=True)
    monkeypatch.setattr(desk.spool, "_ask", failing)
    await Errand(desk.office, desk.spool, sent, desk.lane, {}).run()
    monkeypatch.undo()
    await desk.later()
    assert desk.host.people == ["ann@x.test"]
    assert reports(desk.host) == [[("bob@x.test", "failed", "5.1.1")]]
    assert await desk.people() == [("cat@x.test", State.WAITING)]


async def test_a_carrier_that_raises_is_a_temporary_failure(desk, monkeypatch):
    async def broken(copy):
        raise RuntimeError("a bug")

    monkeypatch.setattr(desk.host, "deliver", broken)
    await desk.take(mail("ann@x.test"))
    monkeypatch.undo()
    assert await desk.statuses() == [(1, Status.PENDING)]
    assert await desk.later(PAUSE) == 1
    assert desk.host.people == ["ann@x.test"]


async def test_a_mail_that_cannot_be_prepared_is_put_off_and_in_the_end_given_up(desk):
    def prepare(each):
        if each.profile:
            raise ValueError("a bug")
        return Letter(each)

    desk.prepare = prepare
    await desk.take(mail("ann@x.test"))
    assert await desk.later(200) == 0
    assert await desk.later(200) == 1
    assert not desk.host.tries
    assert await desk.later(RETRY.give_up_after) == 1
    await desk.later()
    assert reports(desk.host) == [[("ann@x.test", "failed", "4.4.7")]]
    assert await mails_in(desk.spool) == []


async def test_a_copy_that_cannot_be_made_costs_the_others_nothing_and_nobody_a_second_copy(desk):
    class Bad(Letter):
        def copy(self, targets):
            if targets[0].address.startswith("bob"):
                raise ValueError("a bug")
            return super().copy(targets)

    desk.prepare = Bad
    desk.host.gate = asyncio.Event()
    sent = mail("ann@x.test", "bob@x.test", "cat@x.test")
    taking = asyncio.create_task(desk.take(sent))
    while len(desk.host.tries) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert await mails_in(desk.spool) == [(str(sent.id), None)]  # the others are still on their way
    desk.host.gate.set()
    await taking
    assert desk.host.people == ["ann@x.test", "cat@x.test"]
    assert await desk.people() == [("bob@x.test", State.WAITING)]
    desk.prepare = Letter
    await desk.later(400)
    assert desk.host.people == ["ann@x.test", "cat@x.test", "bob@x.test"]


async def test_tries_that_were_begun_before_the_mail_was_spooled_are_awaited_not_repeated(desk):
    async def begun(*verdicts: Verdict) -> Iterable[Verdict]:
        await asyncio.sleep(0.01)
        return verdicts

    sent = mail("ann@x.test", "bob@x.test", "cat@x.test")
    shared = asyncio.create_task(
        begun(
            Verdict(1, "ann@x.test", 250, "2.0.0", "Ok", "after"), Verdict(2, "bob@x.test", 550, "5.1.1", "no", "rcpt")
        )
    )
    await desk.take(sent, {1: shared, 2: shared})
    assert desk.host.people == ["cat@x.test"]
    await desk.later()
    assert reports(desk.host) == [[("bob@x.test", "failed", "5.1.1")]]
    assert await mails_in(desk.spool) == []


@pytest.mark.parametrize("reverse_path", ["news@example.com", ""])
async def test_a_large_mail_fares_like_a_small_one(tmp_path, reverse_path):
    async with spool_in(tmp_path) as spool:
        desk = Desk(spool, Host(), together=True)
        says(desk.host, b=NEVER)
        options = {"RET": "FULL"}
        large = mail("ann@x.test", "bob@x.test", content=b"Subject: x\r\n\r\n" + b"y" * 70 * 10_000 + b"\r\n")
        await desk.take(replace(large, reverse_path=reverse_path, options=options))
        await desk.later()
        assert desk.host.taken[0][0] == "ann@x.test"
        assert len(desk.host.taken) == (2 if reverse_path else 1)
        assert await mails_in(spool) == []
