"""Hard or soft, and whether it is the address itself that is to be given up: by what was said of a copy. Pure.

Hard is what was refused for good; soft is what will pass, or what a smaller mail would not meet. Enhanced status codes
are those of RFC 3463 and its registry (RFC 5248), and the longer ones of Exchange Online
(https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tracker.model import BounceKind

SOFT_CODES = frozenset(
    {
        "5.2.2",  # mailbox full
        "5.2.3",  # longer than this mailbox takes
        "5.3.1",  # mail system full
        "5.3.2",  # not accepting mail now
        "5.3.4",  # larger than this system takes
        "5.4.3",  # a directory failed
        "5.4.5",  # congestion
        "5.4.6",  # a loop
        "5.4.7",  # expired
        "5.4.300",  # expired, as Exchange Online has it
        "5.4.312",  # DNS failed for too long
        "5.4.316",  # the connection was refused for too long
    }
)
"""Codes that are soft though they are permanent."""
ADDRESS_SUBJECTS = frozenset({"0", "1", "2", "4"})
"""Subjects of codes that speak of the address, its mailbox or the way there, or of nothing in particular; the others
(mail system, protocol, content, policy) speak of this mail or its sender, and another one may come through."""
SENDER_CODES = frozenset({"5.1.7", "5.1.8"})
"""Codes of that subject that speak of the sender's address all the same."""

LONGEST = 2000
"""Characters of a text that are looked at."""

_CODE = r"[245]\.\d{1,3}\.\d{1,3}"
_STATUS = re.compile(rf"\s*({_CODE})(?![\d.])")
_SAID = (
    re.compile(rf"(?<![\d.])[45]\d\d[ -]{{1,3}}#?({_CODE})(?![\d.]*\d)"),
    re.compile(rf"#({_CODE})(?![\d.]*\d)"),
    re.compile(rf"(?:^|(?<=[\s:;(<,]))({_CODE})(?=$|[\s:;)>,])"),
)
"""A code within words, the surest form first: it must be part of no address and no version."""
_REPLY = re.compile(r"(?<![\d.#@:])([45])\d\d(?=[ -])(?![ -]\d)")
_WORDS: dict[str, tuple[str, ...]] = {
    "5.2.2": (
        r"quota",
        r"mailbox.{0,20} full|full mailbox|disk full",
        r"insufficient.{0,20}(?:space|storage)|out of space",
    ),
    "5.3.4": (
        r"too (?:large|big)",
        r"size (?:limit|exceed)|(?:exceed|maximum).{0,30}size",
    ),
    "5.1.8": (r"sender verif|sender address rejected|invalid sender",),
    "5.4.6": (r"too many hops|routing loop|mail loop|looping",),
    "5.1.1": (
        r"(?:user(?:name)?|addressee|recipient|host) (?:is )?unknown",
        r"(?:unknown|unrouteable|invalid|illegal|bad).{0,30}(?:user|recipient|alias|address|mailbox|account)",
        r"bad destination",
        r"no such (?:user|mailbox|recipient|address|person|account|domain|host)",
        r"(?:does|do) ?(?:n't|not) (?:exist|have)|not exist",
        r"no mailbox|mailbox unavailable|requested action not taken",
        r"(?:user|mailbox|recipient|address|account|name|host|domain).{0,40}not (?:found|valid|known|listed)",
        r"name is not recognized",
        r"not a (?:valid|known)|no longer (?:valid|active|in use)",
        r"account.{0,40}(?:disabled|discontinued|inactive|closed|expired|suspended)",
        r"recipient (?:address )?rejected",
        r"domain name not found|no mx",
    ),
    "5.7.1": (
        r"spam|unsolicited|virus|infected",
        r"black ?list|block(?:ed|ing| ?list)|rbl|reputation",
        r"policy|content|denied|prohibited|dmarc|\bspf\b",
        r"not accepting mail from|relay(?:ing)? ",
    ),
    "4.4.7": (
        r"time(?:d)? ?out|expired|too long|temporar|retry|attempts|days|hours",
        r"not reachable|unreachable|not responding|connection refused|unavailable or busy",
        r"unable to (?:connect|establish)|wasn't able to establish",
    ),
}
"""What words mean where no code says more, the most telling first."""
_PATTERNS = tuple((re.compile("|".join(words), re.IGNORECASE), code) for code, words in _WORDS.items())


def status_of(status: str, text: str) -> str:
    """The enhanced status code: as it was given where that says something, else the one within the words, else a
    general one. Where the one given blames the address and a reply that is quoted does not, the reply holds: it is
    nearer to who refused."""
    given, quoted = _STATUS.match(status), _SAID[0].search(text[:LONGEST])
    if given is not None and given[1].startswith("5.1.") and quoted and not quoted[1].startswith(("2", "5.0.", "5.1.")):
        return quoted[1]
    said = next((match[1] for pattern in _SAID if (match := pattern.search(text[:LONGEST]))), None)
    if given is not None and (said is None or not given[1].endswith(".0.0")):
        return given[1]
    if said is not None and said[0] != "2":
        return said
    reply = _REPLY.search(text[:LONGEST])
    return f"{reply[1]}.0.0" if reply is not None else "5.0.0"


class Judgement(NamedTuple):
    """What a failure is: its kind, and whether it is the address that is to be given up."""

    kind: BounceKind
    of_address: bool


def judge(status: str, text: str) -> Judgement:
    """What a failure with this enhanced status code (as ``status_of`` gives it) and these words is."""
    telling = status
    if status.startswith("5.") and status.endswith(".0"):  # some other trouble of that kind: the words tell
        telling = next((code for pattern, code in _PATTERNS if pattern.search(text[:LONGEST])), status)
    if telling.startswith("4") or telling in SOFT_CODES:
        return Judgement(BounceKind.SOFT, False)
    return Judgement(BounceKind.HARD, telling.split(".")[1] in ADDRESS_SUBJECTS and telling not in SENDER_CODES)
