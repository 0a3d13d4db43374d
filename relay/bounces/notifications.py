"""Delivery status notifications, read (RFC 3464, RFC 6533): what is said of each recipient. Pure.

Read as mail servers write them, not only as the grammar has it: without the blank line before a recipient, with several
of them, with fields of other headers in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MOST_REPORTS = 1000
"""Recipients of one notification that are read."""

_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_FIELD = re.compile(r"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FOLD = re.compile(r"\n[ \t]+")
_TELLING = ("final-recipient", "original-recipient", "action", "status")
_FAILED = ("failed", "failure", "fail", "error")
_DELAYED = ("delayed", "delay", "deferred")
_GOOD = ("delivered", "relayed", "expanded", "delivered-delayed")


@dataclass(slots=True)
class Report:
    """What is said of one recipient: ``action`` is failed, delayed, delivered, relayed, expanded or empty; ``status``
    as it stands; ``diagnostic`` the host's words; ``addresses`` the final and the original one."""

    action: str = ""
    status: str = ""
    diagnostic: str = ""
    addresses: list[str] = field(default_factory=list)

    def names(self, address: str) -> bool:
        """Whether it is about this address, case aside."""
        return bool(address) and address.lower() in map(str.lower, self.addresses)


def reports(text: str) -> list[Report]:
    """The recipients of a ``message/delivery-status``, as many as it tells of."""
    found: list[Report] = []
    for block in _BLANK_LINES.split(text):
        for fields in _records(_fields(block)):
            if len(found) < MOST_REPORTS and any(name in fields for name in _TELLING):
                found.append(_report(fields))
    return found


def worst(found: Iterable[Report], address: str) -> Report | None:
    """The report that decides: the one about this address, where there is one, else the worst."""
    ranked = sorted(found, key=lambda report: _RANKS.get(report.action, len(_RANKS)))
    own = (report for report in ranked if report.names(address))
    return next(own, ranked[0] if ranked else None)


_RANKS = {action: rank for rank, action in enumerate(("failed", "delayed", "", *_GOOD))}


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for line in _FOLD.sub(" ", block).split("\n"):
        match = _FIELD.fullmatch(line.strip())
        if match is not None:
            yield match[1].lower(), match[2].strip()


def _records(fields: Iterable[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """The fields of each recipient of a block: a recipient that is named when one has been told of begins another."""
    record: dict[str, str] = {}
    for name, value in fields:
        again = name in record or (name == "original-recipient" and "final-recipient" in record and "action" in record)
        if again and name in ("final-recipient", "original-recipient"):
            yield record
            record = {}
        record.setdefault(name, value)
    yield record


def _report(fields: dict[str, str]) -> Report:
    status = fields.get("status", "")
    addresses = [_address(fields[name]) for name in ("final-recipient", "original-recipient") if name in fields]
    diagnostic = fields.get("diagnostic-code") or fields.get("x-supplementary-info") or ""
    return Report(_action(fields.get("action", ""), status), status, diagnostic, list(filter(None, addresses)))


def _action(said: str, status: str) -> str:
    word = re.match(r"[a-z-]*", said.strip().lower())
    name = word[0] if word is not None else ""
    if name in _FAILED:
        return "failed"
    if name in _DELAYED:
        return "delayed"
    if name in _GOOD:
        return name
    return {"5": "failed", "4": "delayed", "2": "delivered"}.get(status[:1], "")


def _address(value: str) -> str:
    """The address behind its type: ``rfc822; ann@example.net``."""
    _, semicolon, address = value.partition(";")
    return (address if semicolon else value).strip().strip("<>")
