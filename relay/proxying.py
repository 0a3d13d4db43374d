"""``delivery: proxy``: behind each session stands the smarthost itself, whose verdicts are the client's (contract,
section 4).

MAIL and RCPT are asked of the smarthost as they come. At the end of the data one copy goes on in that transaction;
where recipients get copies of their own, each goes in one of its own, and what then ends differently from what the
client can be told is spooled, or told to its sender by a DSN.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import structlog

from relay.acceptance import mail_of, refusal_by, refuse_loops
from relay.config import route_at_mail
from relay.dispatch.delivery import Delivery
from relay.dispatch.dsn import wants
from relay.dispatch.envelope import Reply, Sign, Target, Verdict
from relay.dispatch.errand import LARGE, Prepared, UnderWay, deliver, suppressions, tally
from relay.dispatch.lane import Carrier
from relay.dispatch.mail import Mail, Parameters, Rcpt, Said, State
from relay.dispatch.mailboxes import denied, denies
from relay.dispatch.spool import Spool
from relay.known import Knowledge
from relay.preparing import prepare
from relay.reception.dialogue import Path
from relay.reception.replies import SmtpError, local_trouble
from relay.reception.submission import Client, Submission
from relay.settings import Settings
from tracker.errors import SpoolError
from tracker.model import Clock, Fact, NoMailbox, Outcome, Recipient, Status

log = structlog.get_logger()

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after the data that a client is kept waiting; what is unfinished then is spooled."""


class Transaction(Protocol):
    """A mail that is handed over step by step."""

    mail: Reply
    offers: frozenset[str]

    async def recipient(self, target: Target) -> Reply:
        """Say RCPT."""

    async def data(self, content: bytes, original: bytes | None = None, sign: Sign | None = None) -> Reply:
        """Hand over the content; ends the transaction."""

    async def abandon(self) -> None:
        """End the transaction where it stands."""


class Host(Carrier, Protocol):
    """A smarthost that can be talked to step by step."""

    async def begin(self, mail_from: str, options: Mapping[str, str | None], size: int | None = None) -> Transaction:
        """Say MAIL."""

    async def login(self, username: str, password: str) -> Any:
        """Authenticate as a client of ours; a PrivateHost, or the Reply that refuses."""


class Proxy:
    """What stands behind one session. With ``passthrough`` the client's own login holds for it, and nothing is ever
    spooled."""

    def __init__(self, settings: Settings, spool: Spool, delivery: Delivery, known: Knowledge, clock: Clock) -> None:
        self._settings = settings
        self._spool = spool
        self._delivery = delivery
        self._known = known
        self._clock = clock
        self._private: Any = None
        self._transaction: Transaction | None = None
        self._route = ""
        self._taken = 0
        self._refused: list[tuple[Path, Reply]] = []
        self._suppressed: Mapping[int, str] = {}

    @property
    def _passthrough(self) -> bool:
        return self._settings.config.relay.auth.passthrough

    async def login(self, user: str, password: str) -> str:
        """Ask the usual smarthost, and keep what it grants for this session alone."""
        found = await self._hosts("").login(user, password)
        if isinstance(found, Reply):
            return as_text(found)
        if self._private is not None:
            await self._private.close()
        self._private = found
        return "235 2.7.0 Authentication successful"

    async def mail(self, client: Client, path: Path) -> str:
        """Choose the smarthost and say MAIL to it."""
        await self.reset()
        self._route = route_for(self._settings, path.address, client.user) if self._private is None else ""
        options = dict(path.parameters)
        size = options.pop("SIZE", None)
        return as_text(await self._begin(path.address, options, int(size) if size else None))

    async def _begin(self, reverse_path: str, options: Parameters, size: int | None) -> Reply:
        host = self._hosts(self._route) if self._private is None else self._private
        transaction: Transaction = await host.begin(reverse_path, options, size)
        if transaction.mail.good:
            self._transaction = transaction
        return transaction.mail

    async def recipient(self, path: Path) -> str:
        """Say RCPT. Those refused for good are kept for the record."""
        if self._transaction is None:
            raise SmtpError(503, "5.5.1", "Say MAIL first")
        target = Target(self._taken + 1, path.address, path.parameters)
        reply = await self._transaction.recipient(target)
        if reply.good:
            self._taken += 1
        elif not reply.temporary:
            self._refused.append((path, reply))
        return as_text(reply)

    async def accept(self, submission: Submission) -> str:
        """Hand over the mail: one copy in the transaction that is under way, several each in its own."""
        refuse_loops(submission.content)
        shared = self._passthrough and len(submission.rcpt_tos) > 1
        mail = mail_of(submission, self._settings, self._known, self._clock(), shared, self._route)
        prepared = await beside(len(mail.content), prepare, mail, self._settings, self._known)
        everyone = tuple(Target(each.ordinal, each.address, each.options) for each in mail.recipients)
        self._suppressed = prepared.suppressed(everyone)
        targets = tuple(each for each in everyone if each.ordinal not in self._suppressed)
        if not targets:
            await self._abandon()
            await self._finish(mail, prepared, [], {})
            return as_queued(mail)
        if not self._passthrough and not prepared.alike(targets):
            return await self._send_apart(mail, prepared, prepared.batches(targets))
        if self._suppressed and (refusal := await self._begin_anew(mail, targets)) is not None:
            return as_text(refusal)
        return await self._send_together(mail, prepared, targets)

    async def reset(self) -> None:
        """Forget the mail under way, at the smarthost too."""
        self._taken, self._refused, self._suppressed = 0, [], {}
        await self._abandon()

    async def leave(self) -> None:
        """Let go of everything, the client's credentials first of all."""
        private, self._private = self._private, None
        await self.reset()
        if private is not None:
            await private.close()

    async def _begin_anew(self, mail: Mail, targets: Sequence[Target]) -> Reply | None:
        """Begin the transaction again without those who are suppressed; a refusal, None where all are taken."""
        await self._abandon()
        reply = await self._begin(mail.reverse_path, mail.options, len(mail.content))
        for target in targets:
            if self._transaction is None or not reply.good:
                break
            reply = await self._transaction.recipient(target)
        if reply.good:
            return None
        await self._abandon()
        return reply

    # -- the end of the data -----------------------------------------------------------------------------------------

    async def _send_together(self, mail: Mail, prepared: Prepared, targets: tuple[Target, ...]) -> str:
        """One copy for all who were taken; the smarthost's reply is the client's."""
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            raise local_trouble("no transaction")
        copy = await beside(len(mail.content), prepared.copy, targets)
        handing = asyncio.create_task(transaction.data(copy.content, copy.original, copy.sign))
        await asyncio.wait([handing], timeout=None if self._passthrough else PATIENCE)
        dsn = "dsn" in transaction.offers
        if not handing.done():
            under_way = asyncio.create_task(verdicts_of(handing, targets, dsn))
            await self._finish(mail, prepared, [], {target.ordinal: under_way for target in targets})
            return as_queued(mail)
        reply = handing.result()
        if not reply.temporary:
            await self._finish(mail, prepared, await verdicts_of(handing, targets, dsn), {}, told=not reply.good)
        return as_text(reply)

    async def _send_apart(self, mail: Mail, prepared: Prepared, batches: Sequence[tuple[Target, ...]]) -> str:
        """A copy a batch. Where some went, or may yet go, those that failed are spooled or their sender is told."""
        await self._abandon()
        tries = [asyncio.create_task(self._try(mail, prepared, batch)) for batch in batches]
        await asyncio.wait(tries, timeout=PATIENCE)
        verdicts = [verdict for each in tries if each.done() for verdict in each.result()]
        pairs = zip(batches, tries, strict=True)
        under_way = {each.ordinal: task for batch, task in pairs if not task.done() for each in batch}
        if under_way or any(verdict.sent for verdict in verdicts):
            await self._finish(mail, prepared, verdicts, under_way)
            return as_queued(mail)
        worst = next((each for each in verdicts if each.temporary), verdicts[0])
        if not worst.temporary:
            await self._finish(mail, prepared, verdicts, {}, told=True)
        return f"{worst.code} {worst.enhanced} {worst.text}"

    async def _abandon(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await transaction.abandon()

    async def _try(self, mail: Mail, prepared: Prepared, batch: tuple[Target, ...]) -> Sequence[Verdict]:
        copy = await beside(len(mail.content), prepared.copy, batch)
        return await deliver(self._hosts(self._route), copy)

    async def _finish(
        self, mail: Mail, prepared: Prepared, verdicts: Sequence[Verdict], under_way: UnderWay, told: bool = False
    ) -> None:
        """Have the store told; spool who is not done with, and those of whom the sender is still to hear, unless the
        client is ``told`` by the reply. Raises SmtpError where the spool does not take what must not be lost."""
        now = self._clock()
        log.info("proxied", id=str(mail.id), unfinished=len(under_way), **tally(verdicts))
        facts = [*self._acceptance(mail, prepared, now), *outcomes(mail, verdicts, now)]
        facts += suppressions(mail.id, self._suppressed, now)
        left = [] if told or self._passthrough else self._left(mail, verdicts, under_way, now)
        if not left:
            self._delivery.record(self._spool, facts)
            return
        mail = replace(mail, recipients=tuple(left), recorded=True)
        try:
            await self._spool.accept(mail, True, facts)
        except SpoolError as error:
            if any(each.state is not State.RELAYED for each in left):
                raise refusal_by(error) from error
            # All has gone, and only the notice of that is lost: a 451 would have the mail sent again.
            log.error("a notice of success cannot be spooled", id=str(mail.id), cause=repr(error.__cause__))
            return
        self._delivery.take(self._spool, mail, under_way)

    def _left(self, mail: Mail, verdicts: Sequence[Verdict], under_way: UnderWay, now: float) -> list[Rcpt]:
        """The recipients whose fate the session cannot tell its client."""
        people = {each.ordinal: each for each in mail.recipients}
        left = [people[ordinal] for ordinal in under_way]
        for verdict in verdicts:
            rcpt = people[verdict.ordinal]
            notify = rcpt.options.get("NOTIFY")
            said = Said(verdict.code, verdict.enhanced, verdict.text, self._delivery.lane(self._route).host, now)
            if verdict.temporary:
                pause = self._settings.config.relay.retry.first
                left.append(replace(rcpt, attempts=1, next_at=now + pause, said=said))
            elif mail.reverse_path and verdict.sent and not verdict.dsn and wants(notify, "relayed"):
                left.append(replace(rcpt, state=State.RELAYED, attempts=1, said=said))
            elif mail.reverse_path and not verdict.sent and wants(notify, "failed"):
                left.append(replace(rcpt, state=State.FAILED, attempts=1, said=said))
        return sorted(left, key=lambda each: each.ordinal)

    def _acceptance(self, mail: Mail, prepared: Prepared, now: float) -> list[Fact]:
        """What the store is told of the mail, and of those whom the smarthost refused at RCPT."""
        known = prepared.accepted
        if known is None:
            return []
        count = len(mail.recipients)
        more = tuple(Recipient(count + number, path.address) for number, (path, _) in enumerate(self._refused, 1))
        facts: list[Fact] = [replace(known, recipients=known.recipients + more)]
        if prepared.page is not None:
            facts.append(prepared.page)
        for recipient, (_, reply) in zip(more, self._refused, strict=True):
            text = f"{reply.code} {reply.enhanced} {reply.line}"
            facts.append(Outcome(mail.id, recipient.ordinal, Status.BOUNCED, now, text))
            if denies(reply):
                facts.append(NoMailbox(mail.id, recipient.ordinal, recipient.address, now))
        return facts

    def _hosts(self, route: str) -> Host:
        return cast(Host, self._delivery.lane(route).carrier)


async def beside(size: int, work: Callable[..., T], *args: Any) -> T:
    """Run CPU work; that of a large mail in a thread, so that other sessions go on."""
    return await asyncio.to_thread(work, *args) if size > LARGE else work(*args)


async def verdicts_of(handing: asyncio.Task[Reply], targets: Sequence[Target], dsn: bool) -> list[Verdict]:
    """A smarthost's one reply to the data as the verdict of each recipient that it took."""
    reply = await handing
    return [
        Verdict(each.ordinal, each.address, reply.code, reply.enhanced, reply.line, reply.stage, reply.host_wide, dsn)
        for each in targets
    ]


def outcomes(mail: Mail, verdicts: Sequence[Verdict], now: float) -> list[Fact]:
    """What the store is told of tries; whoever may go later is pending."""

    def status(verdict: Verdict) -> Status:
        return Status.SENT if verdict.sent else Status.PENDING if verdict.temporary else Status.BOUNCED

    facts = [Outcome(mail.id, each.ordinal, status(each), now, each.reply) for each in verdicts]
    return [*facts, *denied(mail.id, verdicts, now)]


def route_for(settings: Settings, reverse_path: str, user: str | None) -> str:
    """The spool's name for the smarthost that is chosen at MAIL."""
    config = settings.config
    route = route_at_mail(config, reverse_path, user)
    own = any(entry.route == route and entry.smarthost is not None for entry in config.senders)
    return route if own and route is not None else ""


def as_text(reply: Reply) -> str:
    """A smarthost's reply as the client hears it."""
    return f"{reply.code} {reply.enhanced} {reply.text}"


def as_queued(mail: Mail) -> str:
    """The reply where the rest is ours to do."""
    return f"250 2.0.0 Ok: queued as {mail.id}"
