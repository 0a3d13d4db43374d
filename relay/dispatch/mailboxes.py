"""Which replies say that a mailbox does not exist, and so hold for every later mail to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from relay.dispatch.envelope import Reply, Verdict
from tracker.model import NoMailbox

NO_MAILBOX = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""Enhanced status codes (RFC 3463, RFC 7505) that speak of the address itself: no such mailbox or domain, no address,
moved, takes no mail, disabled. Policy, content and what is full or broken now are another matter, and a reply without
such a code may mean any of them."""


def denies(reply: Reply | Verdict) -> bool:
    """Whether a smarthost said at RCPT that there is no such mailbox."""
    return reply.stage == "rcpt" and 500 <= reply.code < 600 and reply.enhanced in NO_MAILBOX


def reported(action: str, status: str) -> bool:
    """Whether the fields of a delivery status notification (RFC 3464) say so."""
    return action.strip().lower() == "failed" and status.strip() in NO_MAILBOX


def denied(mail: UUID, verdicts: Iterable[Verdict], at: float) -> list[NoMailbox]:
    """What the store is told of those who do not exist."""
    return [NoMailbox(mail, each.ordinal, each.address, at) for each in verdicts if denies(each)]
