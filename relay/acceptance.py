"""The main path of a mail: from the end of its data to the reply that its sender gets."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate
from uuid import UUID

import structlog

from relay.config import route_to
from relay.dispatch.delivery import Delivery
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.spool import Spool
from relay.known import Knowledge
from relay.reception.headers import Headers
from relay.reception.replies import SmtpError, local_trouble
from relay.reception.scoreboard import Seat
from relay.reception.senders import SPEAKING_HEADERS, Profile, freeze, profile_for
from relay.reception.submission import Submission
from relay.reception.vendors import vendor_of
from relay.rewriting import message
from relay.settings import Settings
from tracker.errors import SpoolError, SpoolFull
from tracker.model import Clock, new_id

log = structlog.get_logger()

MOST_HOPS = 50
"""``Received`` headers at which a mail is taken to go in circles (RFC 5321 section 6.3)."""


class Acceptance:
    """Takes each mail from the door into the spool. Everything it needs is given; nothing is global."""

    def __init__(
        self, settings: Settings, spool: Spool, delivery: Delivery, seat: Seat, known: Knowledge, clock: Clock
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._delivery = delivery
        self._seat = seat
        self._known = known
        self._clock = clock

    async def accept(self, submission: Submission) -> str:
        """Take one mail; answers with its id once it is on stable storage. Raises SmtpError where the client must keep
        it or is told no."""
        refuse_loops(submission.content)
        mail = mail_of(submission, self._settings, self._known, self._clock())
        refuse_over_limit(self._settings, self._seat, len(mail.content))
        in_hand = self._delivery.has_room(len(mail.content), mail.route)
        try:
            await self._spool.accept(mail, in_hand)
        except SpoolError as error:
            raise refusal_by(error) from error
        if in_hand:
            self._delivery.take(self._spool, mail)
        return str(mail.id)


def refuse_over_limit(settings: Settings, seat: Seat, size: int) -> None:
    """Raise SmtpError where a mail of this size has no place in the queue."""
    if seat.spool + size > settings.config.relay.limits.spool:
        raise SmtpError(452, "4.3.1", "The queue is full; please try again later")


def refusal_by(error: SpoolError) -> SmtpError:
    """What the client is told where the spool does not take its mail."""
    if isinstance(error, SpoolFull):
        return SmtpError(452, "4.3.1", "The disk is full here; please try again later", "the disk is full")
    return local_trouble(error.__cause__)


def mail_of(
    submission: Submission,
    settings: Settings,
    known: Knowledge,
    at: float,
    shared: bool = False,
    route: str | None = None,
) -> Mail:
    """The mail as it will be kept, with all that decides its copies frozen; ``route`` is the smarthost's name where it
    was chosen before."""
    id = new_id(at)
    profile = chosen_profile(submission, settings)
    route = route_of(profile, settings) if route is None else route
    vendor = vendor_of(route_to(settings.config, route or None).host)
    keeps = vendor.name if vendor is not None else None
    profile = replace(profile, shared=shared, keeps=keeps, saved=known.saved_types(profile.sender))
    people = zip(submission.rcpt_tos, submission.rcpt_options, strict=True)
    return Mail(
        id=id,
        route=route,
        reverse_path=submission.mail_from,
        options=submission.mail_options,
        recipients=tuple(Rcpt(number, *each, next_at=at) for number, each in enumerate(people, 1)),
        profile=freeze(profile),
        trace=trace_headers(submission, settings.hostname, id, at),
        content=submission.content,
        accepted_at=at,
    )


def chosen_profile(submission: Submission, settings: Settings) -> Profile:
    """What holds for this mail, by its sender and its headers."""
    headers = Headers(message.select(submission.content, SPEAKING_HEADERS))
    config = settings.config
    url, key = config.tracker.public_url, settings.keyring.ids[0]
    sender, user = submission.mail_from, submission.user
    return profile_for(config.senders, sender, user, headers, url, key, submission.rcpt_tos)


def route_of(profile: Profile, settings: Settings) -> str:
    """The spool's name for the smarthost: the sender's own, else the usual one, which has none."""
    entries = settings.config.senders
    own = any(each.route == profile.route and each.smarthost is not None for each in entries)
    return profile.route if own and profile.route is not None else ""


def refuse_loops(content: bytes) -> None:
    """Raise SmtpError for a mail that has gone through too many hosts."""
    if len(message.select(content, ("Received",))) > MOST_HOPS:
        raise SmtpError(554, "5.4.6", "Too many hops: this mail seems to go in circles")


def trace_headers(submission: Submission, hostname: str, id: UUID, at: float) -> bytes:
    """The lines that go on top: Received, and Message-ID and Date where the mail has none."""
    lines = []
    if message.get(submission.content, "Message-ID") is None:
        lines.append(f"Message-ID: <{id}@{hostname}>\r\n")
    if message.get(submission.content, "Date") is None:
        lines.append(f"Date: {formatdate(at)}\r\n")
    return received(submission, hostname, id, at) + "".join(lines).encode("ascii", "replace")


def received(submission: Submission, hostname: str, id: UUID, at: float) -> bytes:
    """The header by which a mail tells that it went through here (RFC 5321 section 4.4)."""
    protocol = "UTF8SMTP" if submission.smtputf8 else "ESMTP" if submission.esmtp else "SMTP"
    if protocol != "SMTP":  # RFC 3848 has no words for a HELO by TLS
        protocol += ("S" if submission.tls else "") + ("A" if submission.user else "")
    address = submission.peer if ":" not in submission.peer else f"IPv6:{submission.peer}"
    lines = [
        f"Received: from {submission.helo} ([{address}])",
        f"\tby {hostname} (Tracepost) with {protocol} id {id};",
        f"\t{formatdate(at)}",
    ]
    return "".join(line + "\r\n" for line in lines).encode("ascii", "replace")
