"""The process dies after, or amid, any single write of an errand, and again, and again: nobody is lost, nobody gets a
second copy but of a try that was in flight, each sender is told once."""

from __future__ import annotations

import asyncio
import email
import email.policy
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.dispatch.dsn import wants
from relay.dispatch.envelope import Copy, Verdict
from relay.dispatch.errand import Errand, Office, Retry
from relay.dispatch.mail import Rcpt
from relay.dispatch.spool import Spool, claim
from tests.dispatch.queued import LATER, NEVER, OK, Clock, Host, Letter, lane, mail
from tracker import facts
from tracker.model import Accepted, Outcome, Status

RETRY = Retry(10.0, 100.0, 1000.0)
NOTIFY = [None, "NEVER", "FAILURE", "SUCCESS", "SUCCESS,FAILURE,DELAY"]


class Life:
    """One life of the process: it ends at the write numbered ``dies_at``, before or ``after`` that is on disk."""

    def __init__(self, dies_at: int | None, after: bool) -> None:
        self.dies_at, self.after = dies_at, after
        self.writes = 0
        self.dead = asyncio.Event()

    async def goes_on(self) -> None:
        """Does not return to whoever has died."""
        if self.dead.is_set():
            await asyncio.Event().wait()


class MortalSpool(Spool):
    """A spool file whose process may die at any write."""

    life: Life

    async def _ask(self, work):
        await self.life.goes_on()
        self.life.writes += 1
        last = self.life.writes == self.life.dies_at
        found = await super()._ask(work) if not last or self.life.after else None
        if last:
            self.life.dead.set()
        await self.life.goes_on()
        return found


class MortalHost(Host):
    """The smarthost, which lives on; what it answers to the dead is not heard."""

    life: Life

    async def deliver(self, copy: Copy) -> list[Verdict]:
        await self.life.goes_on()
        found = await super().deliver(copy)
        await self.life.goes_on()
        return found


@dataclass
class Person:
    """A recipient that was promised something."""

    notify: str | None
    told: bool
    taken: int = 0
    allowed: int = 1
    reports: Counter[str] = field(default_factory=Counter)


class Crashes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.host, self.clock = MortalHost(), Clock()
        self.people: dict[str, Person] = {}
        self.seen = 0
        self.count = 0
        self.unheard = False
        self.life = Life(None, False)
        self.runner.run(self.live(self.life, self.nothing))

    def teardown(self) -> None:
        try:
            self.everybody_ends_well()
        finally:
            self.runner.close()
            self.folder.cleanup()

    # -- a life ------------------------------------------------------------------------------------------------------

    async def live(self, life: Life, act) -> bool:
        """Open the file, act, die or end; whether it went well to the end."""
        self.life = self.host.life = life
        spool = claim(Path(self.folder.name), (), fresh=True)
        assert spool is not None
        spool.__class__ = MortalSpool
        spool.life = Life(None, False)  # opening is not what this is about
        await spool.open()
        spool.life = life
        way = lane(self.host, clock=self.clock)
        tasks: set[asyncio.Task] = set()

        def spawn(work) -> asyncio.Task:
            task = asyncio.create_task(work)
            tasks.add(task)
            return task

        office = Office("relay.test", RETRY, Letter, self.clock, spawn, lambda: None, lambda lane: None)
        acting, dying = spawn(act(spool, office, way)), asyncio.create_task(life.dead.wait())
        await asyncio.wait([acting, dying], return_when=asyncio.FIRST_COMPLETED)
        well = not life.dead.is_set()
        for task in [dying, *tasks]:
            task.cancel()
        await asyncio.gather(dying, *tasks, return_exceptions=True)
        await spool._commits.close()
        spool._file.lock.close()
        if well:
            await acting
        return well

    async def nothing(self, spool: Spool, office: Office, way: Any) -> None:
        """Open and close."""

    async def deliver_all(self, spool: Spool, office: Office, way: Any) -> None:
        """Run all that is due, notifications too."""
        for _ in range(50):
            mails = await spool.lease(way.routes, self.clock(), 100)
            if not mails:
                return
            await asyncio.gather(*(Errand(office, spool, each, way, {}).run() for each in mails))
            if self.host.trouble:
                return
        raise AssertionError("it does not end")

    # -- rules -------------------------------------------------------------------------------------------------------

    @rule(
        notify=st.lists(st.sampled_from(NOTIFY), min_size=1, max_size=4),
        known=st.booleans(),
        dies_at=st.none() | st.integers(1, 12),
        after=st.booleans(),
    )
    def a_mail_comes(self, notify, known, dies_at, after):
        self.count += 1
        at = self.clock()
        people = [
            Rcpt(number, f"{self.count}-{number}@x.test", {"NOTIFY": each} if each else {}, next_at=at)
            for number, each in enumerate(notify, 1)
        ]
        sent = mail(*people, at=at, reverse_path="news@example.com" if known else "")

        async def act(spool: Spool, office: Office, way: Any) -> None:
            await spool.accept(sent, in_hand=True)
            self.people |= {each.address: Person(each.options.get("NOTIFY"), known) for each in people}
            await Errand(office, spool, sent, way, {}).run()

        self.run(act, dies_at, after)

    @rule(dies_at=st.none() | st.integers(1, 20), after=st.booleans())
    @precondition(lambda self: self.people)
    def what_is_due_is_tried(self, dies_at, after):
        if self.host.trouble and self.runner.run(self.old_notices()):
            self.unheard = True
        self.run(self.deliver_all, dies_at, after)

    @rule(seconds=st.sampled_from([1.0, 15.0, 200.0, 1500.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(
        said=st.lists(st.sampled_from([OK, OK, LATER, NEVER]), min_size=4, max_size=4),
        dsn=st.booleans(),
        trouble=st.sampled_from([None, None, None, "going down"]),
    )
    def the_host_changes_its_mind(self, said, dsn, trouble):
        def say(address: str):
            return OK if "-" not in address else said[int(address.split("-")[1][0]) - 1]

        self.host.say, self.host.dsn, self.host.trouble = say, dsn, trouble

    def run(self, act, dies_at: int | None, after: bool) -> None:
        well = self.runner.run(self.live(Life(dies_at, after), act))
        self.look()
        if not well:
            # Whoever is still there though the host took the copy may get one more.
            waiting = self.runner.run(self.left())
            for address, person in self.people.items():
                if address in waiting and person.taken >= person.allowed:
                    person.allowed += 1

    async def old_notices(self) -> int:
        """How many notifications have had their time: while the host is away they are given up as any mail is."""
        found: list[int] = []

        async def act(spool: Spool, office: Office, way: Any) -> None:
            sql = "SELECT count(*) FROM messages WHERE profile = '' AND accepted_at <= ?"
            before = self.clock() - RETRY.give_up_after
            found.append(await spool._ask(lambda db: db.execute(sql, [before]).fetchone()[0]))

        await self.live(Life(None, False), act)
        return found[0]

    async def left(self) -> set[str]:
        """Who waits in the file, as it lies on the disk."""
        found: set[str] = set()

        async def act(spool: Spool, office: Office, way: Any) -> None:
            sql = "SELECT address FROM recipients WHERE state = 'waiting'"
            found.update(address for (address,) in await spool._ask(lambda db: db.execute(sql).fetchall()))

        await self.live(Life(None, False), act)
        return found

    def look(self) -> None:
        """Note what the smarthost has taken since."""
        for address, copy in self.host.taken[self.seen :]:
            if copy.content.startswith(b"Received: from test"):
                if address in self.people:
                    self.people[address].taken += 1
                continue
            report = email.message_from_bytes(copy.content, policy=email.policy.default)
            for block in report.get_payload(1).get_payload()[1:]:
                about = block["Final-Recipient"].split("; ")[1]
                if about in self.people:
                    # The same notification may arrive twice, as any mail may; it is one by its id.
                    self.people[about].reports[f"{block['Action']} {report['Message-ID']}"] = 1
        self.seen = len(self.host.taken)

    # -- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def nobody_gets_a_copy_too_many(self):
        for address, person in self.people.items():
            assert person.taken <= person.allowed, (address, person)

    @invariant()
    def nobody_hears_twice(self):
        for address, person in self.people.items():
            ends = [report for report in person.reports if not report.startswith("delayed")]
            assert len(ends) <= 1, (address, person)
            assert len(person.reports) - len(ends) <= 1, (address, person)

    def everybody_ends_well(self) -> None:
        """With a host that answers and time enough, each ends in exactly one way, and the store hears of it."""
        self.host.trouble = None
        for _ in range(40):
            self.clock.now += 150.0
            self.run(self.deliver_all, None, False)
        told: list[Any] = []

        async def act(spool: Spool, office: Office, way: Any) -> None:
            assert await spool._ask(lambda db: db.execute("SELECT count(*) FROM messages").fetchone()) == (0,)
            told.extend(facts.decode(octets) for _, octets in await spool.facts(100_000))

        assert self.runner.run(self.live(Life(None, False), act))
        addresses = {
            (each.id, who.ordinal): who.address
            for each in told
            if isinstance(each, Accepted)
            for who in each.recipients
        }
        last = {addresses[each.message, each.recipient]: each.status for each in told if isinstance(each, Outcome)}
        for address, person in self.people.items():
            delivered = last[address] is Status.SENT
            assert delivered or last[address] in (Status.BOUNCED, Status.ERROR)
            assert (person.taken > 0) == delivered or person.allowed > 1, (address, person, last[address])
            failed = [report for report in person.reports if report.startswith("failed")]
            due = not delivered and person.told and wants(person.notify, "failed")
            assert len(failed) == due or (self.unheard and not failed), (address, person)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(
    max_examples=60, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)
