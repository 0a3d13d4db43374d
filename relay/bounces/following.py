"""What follows from a mail that came back: facts for the store, and the mail by which its sender hears of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from relay.bounces.address import Returning
from relay.bounces.reading import Kind, Reading
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.mailboxes import reported
from tracker.model import BounceKind, Complained, Fact, NoMailbox, Returned, Unwanted

COMPLAINT = "reported as spam"
HARD_BOUNCE = "mail came back"
"""Reasons on the suppression list; the latter is followed by the status code."""

_RETURNED = {
    Kind.HARD: BounceKind.HARD,
    Kind.SOFT: BounceKind.SOFT,
    Kind.DELAYED: BounceKind.DELAYED,
    Kind.UNKNOWN: BounceKind.UNKNOWN,
}


def facts_of(copy: Returning, origin: Mapping[str, Any], said: Reading, at: float) -> list[Fact]:
    """What the store is told: that the copy came back, and, where the address itself was refused for good or its reader
    complained, that it gets no more mail: of any kind where it does not exist, else no marketing mail of this
    sender."""
    about = (copy.message, copy.recipient)
    sender, address = origin["sender"], origin["address"]
    facts: list[Fact] = []
    if said.kind in _RETURNED:
        facts.append(Returned(*about, at, _RETURNED[said.kind], said.status, said.reply))
    elif said.kind is Kind.COMPLAINT:
        facts.append(Complained(*about, at, said.status, said.reply))
    if not address:  # it was forgotten
        return facts
    if said.kind is Kind.HARD and reported("failed", said.status) and not said.elsewhere:
        facts.append(NoMailbox(*about, address, at))
    elif said.of_address and sender:
        facts.append(Unwanted(*about, sender, address, at, f"{HARD_BOUNCE} ({said.status})"))
    elif said.kind is Kind.COMPLAINT and sender:
        facts.append(Unwanted(*about, sender, address, at, COMPLAINT))
    return facts


def passed_on(id: UUID, content: bytes, trace: bytes, to: str, route: str, smtputf8: bool, at: float) -> Mail:
    """The mail that came back as it goes on to the one who sent: every octet as it came behind one Received header,
    from the null reverse-path, so that nobody is told where it cannot be delivered (RFC 5321 section 6.1)."""
    options = {"SMTPUTF8": None} if smtputf8 or not to.isascii() else {}
    sender = Rcpt(1, to, {"NOTIFY": "NEVER"}, next_at=at)
    return Mail(id, route, "", options, (sender,), "", trace, content, at, recorded=True)
