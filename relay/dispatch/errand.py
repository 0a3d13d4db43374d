"""One mail in hand: prepare, send each recipient's copy, settle, tell its sender, lay it back or forget it.

A recipient ends delivered, bounced or given up; until then the mail goes back into the spool for its next try.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import structlog

from relay.dispatch.dsn import wants
from relay.dispatch.envelope import Copy, Target, Verdict
from relay.dispatch.lane import Carrier, Closed, Lane
from relay.dispatch.mail import Mail, Rcpt, Said, State
from relay.dispatch.mailboxes import denied
from relay.dispatch.notices import notice_for
from relay.dispatch.rows import Settled
from relay.dispatch.spool import Spool
from tracker.errors import SpoolError
from tracker.model import Accepted, Clock, Fact, MirrorPage, Outcome, Status

log = structlog.get_logger()

LARGE = 128 * 1024
"""Octets from which on a mail is worked on beside the event loop."""
DELAY_AFTER = 4 * 3600.0
"""Seconds after which a sender who asked for it (NOTIFY=DELAY) is told that a mail waits."""

_SPOOL_PAUSE = 1.0
_EXPIRED = "queue"
"""The stage at which a recipient's time is over."""


class Prepared(Protocol):
    """A mail, scanned: ready for rendering. ``accepted`` is what the store is told of it, None for a mail of our
    own; ``page`` is its HTML, where that is to be kept and the store was not told yet."""

    page: MirrorPage | None

    @property
    def accepted(self) -> Accepted | None:
        """What the store is told."""

    def suppressed(self, targets: Sequence[Target]) -> Mapping[int, str]:
        """Those who are not to be written to, by ordinal, and why."""

    def batches(self, targets: Sequence[Target]) -> Sequence[tuple[Target, ...]]:
        """The recipients by copy: those together that get the same octets."""

    def copy(self, targets: tuple[Target, ...]) -> Copy:
        """The copy of one batch."""


Prepare = Callable[[Mail], Prepared]
"""Scans a mail; the same mail always gives the same copies."""
UnderWay = Mapping[int, "asyncio.Task[Sequence[Verdict]]"]
"""Tries that were begun before the mail was spooled, by ordinal."""
Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@dataclass(frozen=True, slots=True)
class Retry:
    """When a recipient is tried again, in seconds."""

    first: float
    longest: float
    give_up_after: float

    def pause(self, attempts: int) -> float:
        """The wait after so many failures; spread, so that what failed together does not come back together."""
        exponential: float = self.first * 2.0 ** min(attempts - 1, 40)
        return min(self.longest, exponential) * random.uniform(0.8, 1.2)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Office:
    """What all errands share. ``stirred`` is called when there is something new for the store, ``noted`` with a lane
    whose host has fallen ill or is well again, ``dropped`` with a number of recipients whom a mail that nobody is told
    of has not reached: notifications of ours, and what came back to a sender who cannot be reached."""

    hostname: str
    retry: Retry
    prepare: Prepare
    clock: Clock
    spawn: Spawn
    stirred: Callable[[], None]
    noted: Callable[[Lane], None]
    dropped: Callable[[int], None] = lambda count: None


class Errand:
    """One mail that the spool holds as being in hand, and the lane that it goes by."""

    def __init__(self, office: Office, spool: Spool, mail: Mail, lane: Lane, under_way: UnderWay) -> None:
        self.mail = mail
        self._office = office
        self._spool = spool
        self._lane = lane
        self._under_way = under_way
        self._people = {each.ordinal: each for each in mail.recipients}
        self._tell = [each for each in mail.recipients if each.state is not State.WAITING]
        self._tried: set[int] = set()
        self._recording: asyncio.Task[None] | None = None
        self._released = False
        self._over_at = mail.accepted_at + office.retry.give_up_after

    async def run(self) -> None:
        """Take the mail as far as it goes now. Never raises."""
        try:
            await self._go()
        except Exception:
            log.exception("an errand failed", id=str(self.mail.id))
            await surely(lambda: self._spool.put_off(self.mail.id, self._office.clock() + _put_off_seconds()))
        self._office.stirred()

    async def _go(self) -> None:
        """Try those who are due, tell the sender, lay the mail back. When its time is over, all are tried once more."""
        now = self._office.clock()
        over = now >= self._over_at
        waiting = [each for each in self.mail.recipients if each.state is State.WAITING]
        try:
            prepared = await self._prepared()
            self._record_acceptance(prepared)
            await self._send(prepared, [each for each in waiting if over or each.next_at <= now])
        except Exception:
            if not over:
                raise
            log.exception("the last try failed", id=str(self.mail.id))
        if over:
            await self._give_up([each for each in waiting if each.ordinal not in self._tried])
        if not self._released:
            await self._conclude()

    async def _prepared(self) -> Prepared:
        prepare = self._office.prepare
        return await asyncio.to_thread(prepare, self.mail) if self._large else prepare(self.mail)

    @property
    def _large(self) -> bool:
        return len(self.mail.content) > LARGE

    def _record_acceptance(self, prepared: Prepared) -> None:
        """Have the store told of the mail, if it was not yet: before any outcome, but nobody waits for it."""
        if not self.mail.recorded:
            facts: list[Fact] = [fact for fact in (prepared.accepted, prepared.page) if fact is not None]
            record = surely(lambda: self._spool.record(facts, self.mail.id))
            self._recording = self._office.spawn(record)

    # -- sending -----------------------------------------------------------------------------------------------------

    async def _send(self, prepared: Prepared, due: Sequence[Rcpt]) -> None:
        """Send each batch of recipients its copy. Ends early where the host is left alone."""
        begun = [each for each in due if each.ordinal in self._under_way]
        rest = [Target(each.ordinal, each.address, each.options) for each in due if each not in begun]
        rest = await self._suppress(prepared, rest)
        batches = prepared.batches(rest) if rest else []
        trying = {self._office.spawn(self._await_begun(each)) for each in begun}
        alone = len(batches) == 1 and len(rest) == len(self.mail.recipients)
        with contextlib.suppress(Closed):
            for batch in batches:
                await self._lane.turn()
                attempt = self._try(prepared, batch, alone)
                if alone:
                    await attempt
                else:
                    trying.add(self._office.spawn(attempt))
        # All of them end before anyone else may have the mail.
        for trouble in await asyncio.gather(*trying, return_exceptions=True):
            if trouble is not None:
                raise trouble

    async def _suppress(self, prepared: Prepared, targets: list[Target]) -> list[Target]:
        """Be done with those who are not to be written to, which nobody is told; the others."""
        suppressed, now = prepared.suppressed(targets), self._office.clock()
        if suppressed:
            log.info("suppressed", id=str(self.mail.id), recipients=len(suppressed))
            done = [Settled(ordinal, None, Said(250, "2.0.0", why, None, now)) for ordinal, why in suppressed.items()]
            self._tried |= suppressed.keys()
            await self._note(done, suppressions(self.mail.id, suppressed, now), False)
        return [target for target in targets if target.ordinal not in suppressed]

    async def _try(self, prepared: Prepared, batch: tuple[Target, ...], alone: bool) -> None:
        """Send one copy and note what became of it; has a place of the lane and gives it back."""
        try:
            copy = await asyncio.to_thread(prepared.copy, batch) if self._large else prepared.copy(batch)
            verdicts = await deliver(self._lane.carrier, copy)
            if self._lane.heed(verdicts):
                self._office.noted(self._lane)
            # The place is kept until the outcome is on the disk: only so many copies can arrive twice.
            await self._settle(verdicts, alone)
        finally:
            self._lane.done()

    async def _await_begun(self, rcpt: Rcpt) -> None:
        verdicts = await self._under_way[rcpt.ordinal]
        await self._settle([each for each in verdicts if each.ordinal == rcpt.ordinal], False)

    async def _give_up(self, untried: Sequence[Rcpt]) -> None:
        """The time is over, and the host is left alone or the mail cannot be sent: whoever still waits has failed."""
        verdicts = []
        for each in untried:
            last = each.said.reply if each.said else self._lane.reason or "it was never tried"
            verdicts.append(expired(each.ordinal, each.address, last))
        await self._settle(verdicts, False)

    # -- what became of it -------------------------------------------------------------------------------------------

    async def _settle(self, verdicts: Sequence[Verdict], alone: bool) -> None:
        """Note the outcome of a try. Where the mail is so done with, it is forgotten in the same transaction."""
        if not verdicts:
            return
        now = self._office.clock()
        log.info("tried", id=str(self.mail.id), host=self._lane.host, **tally(verdicts))
        if now >= self._over_at:
            verdicts = [each if final(each) else expired(each.ordinal, each.address, each.reply) for each in verdicts]
        self._tried |= {verdict.ordinal for verdict in verdicts}
        settled = [self._outcome(verdict, now) for verdict in verdicts]
        facts: list[Fact] = [
            Outcome(self.mail.id, verdict.ordinal, status_of(verdict, outcome.state), now, verdict.reply)
            for verdict, outcome in zip(verdicts, settled, strict=True)
        ]
        facts += denied(self.mail.id, verdicts, now)
        if not self.mail.profile:
            self._drop([each for each in verdicts if final(each) and not each.sent])
        await self._note(settled, facts if self.mail.profile else [], alone and not self._tell)

    def _drop(self, verdicts: Sequence[Verdict]) -> None:
        """Say that a notification ends here: of those nobody is notified (RFC 5321 section 6.1)."""
        if verdicts:
            codes = sorted({f"{each.code} {each.enhanced}" for each in verdicts})
            log.warning("a notification cannot be delivered and is dropped", id=str(self.mail.id), codes=codes)
            self._office.dropped(len(verdicts))

    async def _note(self, settled: Sequence[Settled], facts: Sequence[Fact], release: bool) -> None:
        """Write down where recipients stand, once the store has surely heard of the mail itself."""
        if self._recording is not None:
            await self._recording
        await surely(lambda: self._spool.settle(self.mail.id, settled, facts, release))
        self._released = release
        self._office.stirred()

    def _outcome(self, verdict: Verdict, now: float) -> Settled:
        """Where a recipient stands after a try; those of whom the sender is to hear are noted in ``_tell``."""
        rcpt = self._people[verdict.ordinal]
        said = Said(verdict.code, verdict.enhanced, verdict.text, self._remote(verdict), now)
        attempts = rcpt.attempts + (not verdict.host_wide)
        next_at = rcpt.next_at if verdict.host_wide else now
        notify = rcpt.options.get("NOTIFY")
        state: State | None
        if verdict.sent:
            tell = not verdict.dsn and wants(notify, "relayed")
            state = State.RELAYED if tell else None
        elif not final(verdict):
            tell = not rcpt.warned and now >= self.mail.accepted_at + DELAY_AFTER and wants(notify, "delayed")
            state = State.WAITING
            if not verdict.host_wide:
                next_at = min(now + self._office.retry.pause(attempts), self._over_at)
        else:
            tell = wants(notify, "failed")
            state = State.FAILED if tell else None
        if not self.mail.reverse_path:
            tell, state = False, state if state is State.WAITING else None
        if tell and state is not None:
            self._tell.append(replace(rcpt, state=state, said=said, attempts=attempts, next_at=next_at))
        return Settled(verdict.ordinal, state, said, attempts, next_at)

    def _remote(self, verdict: Verdict) -> str | None:
        return None if verdict.stage in ("local", _EXPIRED) else self._lane.host

    async def _conclude(self) -> None:
        """Tell the sender what is to be told, and lay the mail back or forget it, in one transaction."""
        if self._recording is not None:
            await self._recording
        done = [each.ordinal for each in self._tell if each.state is not State.WAITING]
        warned = [each.ordinal for each in self._tell if each.state is State.WAITING]
        notice = None
        if self._tell:
            notice = await self._notice()
            log.info("the sender is told", id=str(self.mail.id), notice=str(notice.id), recipients=len(self._tell))
        await surely(lambda: self._spool.release(self.mail.id, done, warned, notice))

    async def _notice(self) -> Mail:
        about = (self.mail, self._tell, self._office.hostname, self._office.clock(), self._over_at)
        return await asyncio.to_thread(notice_for, *about) if self._large else notice_for(*about)


async def surely(write: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Write until the disk takes it: what has happened must not be forgotten."""
    while True:
        try:
            await write()
            return
        except SpoolError as error:
            log.error("the spool cannot be written; trying again", cause=repr(error.__cause__))
            await asyncio.sleep(_SPOOL_PAUSE)


async def deliver(carrier: Carrier, copy: Copy) -> Sequence[Verdict]:
    """A verdict for each recipient of a copy, whatever happens."""
    try:
        return await carrier.deliver(copy)
    except Exception:
        log.exception("a delivery failed")
        text = "delivery failed here"
        return [Verdict(target.ordinal, target.address, 451, "4.3.0", text, "local") for target in copy.targets]


def suppressions(mail: UUID, suppressed: Mapping[int, str], at: float) -> list[Outcome]:
    """What the store is told of those who were not written to."""
    return [Outcome(mail, ordinal, Status.SUPPRESSED, at, why) for ordinal, why in suppressed.items()]


def expired(ordinal: int, address: str, last: str) -> Verdict:
    """The verdict on a recipient whose time is over; ``last`` is the last reply."""
    return Verdict(ordinal, address, 451, "4.4.7", f"Given up after waiting too long: {last}", _EXPIRED)


def final(verdict: Verdict) -> bool:
    """There is no next try."""
    return not verdict.temporary or verdict.stage == _EXPIRED


def status_of(verdict: Verdict, state: State | None) -> Status:
    """What the store is told of a try."""
    if verdict.sent:
        return Status.SENT
    if not verdict.temporary:
        return Status.BOUNCED
    return Status.PENDING if state is State.WAITING else Status.ERROR


def tally(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many copies went which way, and the codes of those that did not go."""
    sent, deferred = sum(verdict.sent for verdict in verdicts), sum(verdict.temporary for verdict in verdicts)
    codes = sorted({f"{verdict.code} {verdict.enhanced}" for verdict in verdicts if not verdict.sent})
    return {"sent": sent, "deferred": deferred, "refused": len(verdicts) - sent - deferred, "codes": codes}


def _put_off_seconds() -> float:
    return random.uniform(240.0, 360.0)  # noqa: S311
