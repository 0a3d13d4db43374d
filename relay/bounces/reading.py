"""What a mail to a bounce address says: a bounce, a delay, a complaint, or nothing that is counted. Pure.

Whoever wrote it is not to be trusted: nothing here raises or takes long, whatever the octets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from relay.bounces import notifications, prose
from relay.bounces.parts import Holding, holding
from relay.reception.headers import readable
from relay.rewriting import message
from tracker.bounces import judge, status_of

LONGEST_TEXT = 500
"""Characters of the host's words that are kept."""

COMPLAINTS = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list"})
"""Feedback types (RFC 5965 section 7.3 and its registry) by which a reader complains; ``not-spam``, ``auth-failure``
and others are none."""

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_RECEIPT_TYPES = ("message/disposition-notification", "message/global-disposition-notification")
_FEEDBACK = re.compile(r"^feedback-type[ \t]*:[ \t]*([\w-]+)", re.IGNORECASE | re.MULTILINE)
_REPORTER = re.compile(r"^user-agent[ \t]*:[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE)
_BY_ITSELF = re.compile(r"^disposition[ \t]*:[ \t]*automatic-action", re.IGNORECASE | re.MULTILINE)
_AUTOMATIC_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder")
_OUTLOOK = re.compile(r"complaint about message from", re.IGNORECASE)
_AUTOMATIC_SUBJECT = re.compile(
    r"auto(?:matic|mated)?[- ]?(?:reply|response|antwort)|out of (?:the )?office|abwesen|absence|vacation|"
    r"fuera de la oficina|réponse automatique|verif(?:y|ication)|confirm your",
    re.IGNORECASE,
)
_NOT_TEXT = re.compile(r"[^\S ]+|[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


class Kind(StrEnum):
    """What a mail to a bounce address is; the first four move counts."""

    HARD = "hard"
    SOFT = "soft"
    DELAYED = "delayed"
    COMPLAINT = "complaint"
    DELIVERED = "delivered"
    AUTOMATIC = "automatic"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a mail says. ``status`` is an enhanced status code (RFC 3463), for a complaint the feedback type; ``text``
    is one line of the host's words. Both are empty where nothing is counted. ``of_address``: it is the address itself
    that is to be given up; ``elsewhere``: the address that failed is another one, behind an alias, say."""

    kind: Kind
    status: str = ""
    text: str = ""
    of_address: bool = False
    elsewhere: bool = False

    @property
    def reply(self) -> str:
        """Status and words on one line, the status once."""
        return self.text if self.status in self.text else f"{self.status} {self.text}".strip()


def read(content: bytes, address: str = "") -> Reading:
    """What a mail says of the copy to ``address``. Never raises."""
    found, head = holding(content), _Head.of(content)
    return (
        _complaint(head, found)
        or _notification(found, address)
        or _rejection(head, found)
        or _prose(head, found)
        or Reading(Kind.AUTOMATIC if head.automatic else Kind.UNKNOWN)
    )


@dataclass(frozen=True, slots=True)
class _Head:
    """What the header says: From, Subject, whether a program wrote it, whether that answers mail for a person, whether
    the failed recipients are named (as Exim and Gmail do), whether it calls itself a report on delivery."""

    sender: str
    subject: str
    automatic: bool
    responds: bool
    names_failed: bool
    reports: bool

    @classmethod
    def of(cls, content: bytes) -> _Head:
        def value(name: str) -> str:
            return readable((message.get(content, name) or "")[:1000])

        kind, parameters = message.content_type((message.get(content, "Content-Type") or "").encode()[:8192])
        subject, precedence = value("Subject"), value("Precedence").lower()
        automatic = value("Auto-Submitted").lower() not in ("", "no") or precedence in ("bulk", "junk")
        responds = precedence == "auto_reply" or bool(_AUTOMATIC_SUBJECT.match(subject))
        responds = responds or any(message.get(content, name) is not None for name in _AUTOMATIC_HEADERS)
        return cls(
            value("From"),
            subject,
            automatic or responds or bool(_AUTOMATIC_SUBJECT.search(subject)),
            responds,
            message.get(content, "X-Failed-Recipients") is not None,
            kind == "multipart/report" and parameters.get("report-type", b"").lower() == b"delivery-status",
        )


def _complaint(head: _Head, found: Holding) -> Reading | None:
    """Abuse reporting format (RFC 5965), and Outlook.com's mail, which is none."""
    for leaf in found.leaves:
        said = _FEEDBACK.search(leaf.text) if leaf.type == "message/feedback-report" else None
        if said is not None:
            kind = said[1].lower()
            by = _REPORTER.search(leaf.text)
            words = one_line(by[1]) if by is not None else ""
            return Reading(Kind.COMPLAINT, kind, words) if kind in COMPLAINTS else Reading(Kind.AUTOMATIC)
    if "staff@hotmail.com" in head.sender.lower() and _OUTLOOK.match(head.subject):
        return Reading(Kind.COMPLAINT, "abuse", "Outlook.com")
    return None


def _notification(found: Holding, address: str) -> Reading | None:
    """A delivery status notification (RFC 3464)."""
    told = [
        report for leaf in found.leaves if leaf.type in _STATUS_TYPES for report in notifications.reports(leaf.text)
    ]
    report = notifications.worst(told, address)
    if report is None or not report.action:
        return None
    if report.action not in ("failed", "delayed"):
        return Reading(Kind.DELIVERED)
    words = report.diagnostic.partition(";")[2] if ";" in report.diagnostic[:40] else report.diagnostic
    context = f"{report.status} {words or prose.own_words(found.leaves)}"
    status = status_of(report.status, context)
    if report.action == "delayed":
        return Reading(Kind.DELAYED, status, one_line(words))
    elsewhere = bool(report.addresses) and not report.names(address)
    return replace(_failure(status, context, one_line(words)), elsewhere=elsewhere)


def _rejection(head: _Head, found: Holding) -> Reading | None:
    """A message disposition notification (RFC 8098): a receipt, unless a filter of the reader's has refused the mail
    by it (RFC 5429 section 2.1)."""
    receipt = next((leaf.text for leaf in found.leaves if leaf.type in _RECEIPT_TYPES), None)
    if receipt is None:
        return None
    if not (_BY_ITSELF.search(receipt) and prose.called_a_bounce(head.subject)):
        return Reading(Kind.DELIVERED)
    return Reading(Kind.SOFT, "5.0.0", one_line(prose.own_words(found.leaves)))


def _prose(head: _Head, found: Holding) -> Reading | None:
    """A bounce in plain words."""
    words = prose.own_words(found.leaves)
    served = prose.from_a_server(head.sender) or head.reports
    called = prose.called_a_bounce(head.subject)
    if head.responds or not (served or called or head.names_failed):
        return None
    status = status_of("", words)
    if prose.says_delayed(head.subject, words) and not head.names_failed:
        return Reading(Kind.DELAYED, status if status.startswith("4") else "4.0.0", _telling(words))
    failed = head.names_failed or prose.says_failed(words) or (served and (called or found.returns))
    if not failed:
        return None
    return _failure(status, words, _telling(words))


def _failure(status: str, context: str, text: str) -> Reading:
    found = judge(status, context)
    return Reading(Kind(found.kind.value), status, text, found.of_address)


def _telling(words: str) -> str:
    """The line of a text that tells most: the first with a reply code, else what stands first."""
    lines = [line for line in map(one_line, words.split("\n")) if line]
    return next((line for line in lines if re.search(r"\b[45]\d\d\b|#?[45]\.\d+\.\d+", line)), one_line(words))


def one_line(text: str) -> str:
    """Words of others on one line, bounded, with nothing in them that a terminal or a page would take amiss."""
    return " ".join(_NOT_TEXT.sub(" ", text[: 4 * LONGEST_TEXT]).split())[:LONGEST_TEXT]
