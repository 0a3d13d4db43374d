"""The main path of a mail: from the end of its data to the reply that its sender gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from relay.config import Config
from relay.dispatch.delivery import Delivery
from relay.dispatch.envelope import Copy, Target, Verdict
from relay.instrumenting import Plan, plan
from relay.reception.replies import SmtpError
from relay.reception.senders import profile_for
from relay.reception.smtpd import Submission
from relay.rewriting import message
from tracker.hits.recorder import Recorder
from tracker.model import Accepted, Clock, Outcome, Recipient, Status, new_id
from tracker.tokens import Keyring

log = structlog.get_logger()

T = TypeVar("T")

MOST_HOPS = 50
"""``Received`` headers at which a mail is taken to go in circles (RFC 5321 section 6.3)."""

LARGE = 128 * 1024
"""Octets from which on a mail is worked on beside the event loop."""


class Acceptance:
    """Takes each mail from the door to the smarthost. Everything it needs is given; nothing is global."""

    def __init__(
        self, config: Config, hostname: str, keyring: Keyring, delivery: Delivery, recorder: Recorder, clock: Clock
    ) -> None:
        self._config = config
        self._hostname = hostname
        self._keyring = keyring
        self._delivery = delivery
        self._recorder = recorder
        self._clock = clock

    async def accept(self, submission: Submission) -> str:
        """Relay one mail; answers with its id. Raises SmtpError where the client must keep it or is told no."""
        at = self._clock()
        id = new_id(at)
        refuse_loops(submission.content)
        decided = await _beside(len(submission.content), self._plan, submission)
        trace = trace_headers(submission, decided.mail, self._hostname, id, at)
        copies = await _beside(len(submission.content), self._copies, submission, decided, trace, id)
        # The spool belongs here: once a mail is on stable storage, 250 can be said and the rest can wait.
        verdicts = await self._delivery.send(copies)
        if not all(verdict.temporary for verdict in verdicts):
            self._recorder.record(
                accepted(submission, decided, self._hostname, id, at), *outcomes(id, verdicts, self._clock())
            )
        log.info("relayed", id=str(id), instrumented=decided.instrumented, reason=decided.reason, **tally(verdicts))
        refuse_unless_sent(verdicts)
        return str(id)

    def _plan(self, submission: Submission) -> Plan:
        header = partial(message.get, submission.content)
        config, key = self._config, self._keyring.ids[0]
        public_url = config.tracker.public_url
        profile = profile_for(config.senders, submission.mail_from, submission.user, header, public_url, key)
        return plan(submission.content, profile, self._keyring)

    def _copies(self, submission: Submission, decided: Plan, trace: bytes, id: UUID) -> list[Copy]:
        """What goes to the smarthost: one copy a recipient where they differ, else one for all."""
        addressed = zip(submission.rcpt_tos, submission.rcpt_options, strict=True)
        targets = tuple(Target(ordinal, *each) for ordinal, each in enumerate(addressed, 1))

        def copy(targets: tuple[Target, ...], content: bytes) -> Copy:
            return Copy(submission.mail_from, targets, trace + content, submission.mail_options)

        if not decided.instrumented:
            return [copy(targets, decided.mail)]
        return [copy((target,), decided.copy_for(target.ordinal, id, self._keyring)) for target in targets]


async def _beside(size: int, work: Callable[..., T], *args: object) -> T:
    """Run CPU work; that of a large mail in a thread, so that other sessions go on."""
    return await asyncio.to_thread(work, *args) if size > LARGE else work(*args)


def refuse_loops(content: bytes) -> None:
    """Raise SmtpError for a mail that has gone through too many hosts."""
    hops = sum(header.name.lower() == "received" for header in message.headers(content))
    if hops > MOST_HOPS:
        raise SmtpError(554, "5.4.6", "Too many hops: this mail seems to go in circles")


def trace_headers(submission: Submission, mail: bytes, hostname: str, id: UUID, at: float) -> bytes:
    """The lines that go on top: Received (RFC 5321 section 4.4), and Message-ID and Date where the mail has none."""
    protocol = "UTF8SMTP" if submission.smtputf8 else "ESMTP" if submission.esmtp else "SMTP"
    protocol += ("S" if submission.tls else "") + ("A" if submission.user else "")
    address = submission.peer if ":" not in submission.peer else f"IPv6:{submission.peer}"
    lines = [
        f"Received: from {submission.helo} ([{address}])",
        f"\tby {hostname} (Tracepost) with {protocol} id {id};",
        f"\t{formatdate(at)}",
    ]
    if message.get(mail, "Message-ID") is None:
        lines.append(f"Message-ID: {message_id(mail, hostname, id)}")
    if message.get(mail, "Date") is None:
        lines.append(f"Date: {formatdate(at)}")
    return "".join(line + "\r\n" for line in lines).encode("ascii", "replace")


def message_id(mail: bytes, hostname: str, id: UUID) -> str:
    """The mail's Message-ID, or the one that it gets."""
    return message.get(mail, "Message-ID") or f"<{id}@{hostname}>"


def accepted(submission: Submission, decided: Plan, hostname: str, id: UUID, at: float) -> Accepted:
    """The record of a mail."""
    profile = decided.profile
    people = tuple(Recipient(ordinal, address) for ordinal, address in enumerate(submission.rcpt_tos, 1))
    return Accepted(
        id=id,
        message_id=message_id(decided.mail, hostname, id),
        sender=profile.sender,
        subject=profile.subject,
        tag=profile.tag,
        mailing=profile.mailing,
        metadata=profile.metadata,
        accepted_at=at,
        instrumented=decided.instrumented,
        reason=decided.reason,
        pixel=decided.scan is not None and decided.scan.pixels,
        recipients=people,
        links=decided.links,
    )


def outcomes(id: UUID, verdicts: Sequence[Verdict], at: float) -> list[Outcome]:
    """What became of each recipient's copy. A temporary failure is the end of it here: nothing is kept to be tried
    again."""
    return [
        Outcome(
            message=id,
            recipient=verdict.ordinal,
            status=Status.SENT if verdict.sent else Status.ERROR if verdict.temporary else Status.BOUNCED,
            at=at,
            reply=verdict.reply,
        )
        for verdict in verdicts
    ]


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many copies went which way."""
    sent, deferred = sum(verdict.sent for verdict in verdicts), sum(verdict.temporary for verdict in verdicts)
    return {"sent": sent, "deferred": deferred, "refused": len(verdicts) - sent - deferred}


def refuse_unless_sent(verdicts: Sequence[Verdict]) -> None:
    """Raise SmtpError unless every copy was taken: 451 where one may go later, else 554 naming who was refused."""
    for verdict in verdicts:
        if verdict.temporary:
            raise SmtpError(451, verdict.enhanced, verdict.text or "The smarthost does not take it now")
    refused = [verdict for verdict in verdicts if not verdict.sent]
    if refused:
        names = ", ".join(verdict.address for verdict in refused)
        raise SmtpError(554, refused[0].enhanced, f"Refused for {names}: {refused[0].text}")
