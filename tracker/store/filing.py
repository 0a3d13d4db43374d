"""Where a contribution is filed: under whose mail, by what time, in which mailing, by what is counted.

What is filed is read from the rows of message, recipient and link as they stand, so whatever changes these must move
what was filed by them (``rolling.Refiling``).
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from tracker.hits.agents import client_of
from tracker.redaction import without_addresses
from tracker.store.base import COLUMNS
from tracker.store.contributions import LINK_COLUMNS, Counts
from tracker.store.ledger import Entry
from tracker.store.periods import slot_of
from tracker.store.tables import Deltas, select

TOTALS = ""
"""The dimension of what is not broken down."""

MAILING = "mailing"
"""The dimension by which the course of a mailing is kept, under its sender alone."""

BY_EVENT, BY_ACCEPTANCE = 0, 1
"""Cohorts: by the time of the event, by the time its mail was accepted."""

_OF_LINK = tuple((f"link_{name}", name) for name in LINK_COLUMNS)
_COLUMNS = frozenset(COLUMNS)

TAG, DOMAIN, REASON, LINK, CLIENT = "tag", "domain", "reason", "link", "client"
"""Dimensions as counts are kept by them. A link is its URL and its label, a client its device, system and program, with
a tab between them; what is asked for one of these is summed up then."""


class Place(NamedTuple):
    """Under what counts are filed; empty where a message has no sender or tag. ``slot``: the start of a quarter."""

    sender: str
    tag: str
    cohort: int
    dimension: str
    slot: int
    value: str


class _Message(NamedTuple):
    id: str
    known: int
    sender: str
    tag: str
    mailing_key: str | None
    mailing: str | None
    accepted_at: float
    instrumented: int
    attributed: int


@dataclass(slots=True)
class Mailing:
    """What a batch adds to a mailing's row, and what the row must know."""

    mailing: str | None
    tag: str | None
    first: float
    last: float
    instrumented: int = 0
    attributed: int = 0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class Filed:
    """Contributions by where they are filed."""

    def __init__(self) -> None:
        self.places: dict[Place, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.mailings: dict[tuple[str, str], Mailing] = {}
        self.links: Deltas = defaultdict(lambda: defaultdict(int))

    def subtract(self, other: Filed) -> None:
        """Take out what is in another."""
        for place, counts in other.places.items():
            _add(self.places[place], counts, -1)
        for link, counts in other.links.items():
            _add(self.links[link], counts, -1)
        for key, mailing in other.mailings.items():
            mine = self.mailings.get(key)
            if mine is None:
                mine = self.mailings[key] = Mailing(mailing.mailing, mailing.tag, mailing.first, mailing.last)
            _add(mine.counts, mailing.counts, -1)
            mine.instrumented -= mailing.instrumented
            mine.attributed -= mailing.attributed


def filed(db: sqlite3.Connection, moves: Collection[tuple[Entry, Counts]]) -> Filed:
    """File contributions by the rows as they stand."""
    found, rows = Filed(), _Rows(db, [entry for entry, _ in moves])
    for entry, counts in moves:
        message = rows.messages.get(entry.message)
        if message is not None:
            _file(found, entry, counts, message, rows)
    return found


@lru_cache(maxsize=4096)
def client_text(agent: str | None) -> str | None:
    """Device, system and program of who asked, as events keep them: they stay when the agent is forgotten."""
    return "\t".join(client_of(agent)) if agent else None


@lru_cache(maxsize=4096)
def link_text(url: str, label: str | None) -> str:
    """URL and label of a link as counts are filed by them: the same before and after retention takes addresses out."""
    return f"{_impersonal(url)}\t{_impersonal(label or '')}"


def _impersonal(text: str) -> str:
    while (shorter := without_addresses(text)) != text:
        text = shorter
    return text.replace("\t", " ")


def domain_of(address: str | None) -> str | None:
    """What mail is counted under by where it went."""
    return (address or "").rpartition("@")[2].lower() or None


class _Rows:
    """The rows that some contributions are filed by."""

    def __init__(self, db: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        messages, people, links, accepted = set(), set(), set(), set()
        for message, recipient, position, type, _, _ in entries:
            messages.add((message,))
            if recipient is not None:
                people.add((message, recipient))
            if position and type == "click":
                links.add((message, position))
            if type == "accepted":
                accepted.add((message,))
        columns = "id, known, coalesce(sender, ''), coalesce(tag, ''), mailing_key, mailing, accepted_at"
        found = select(db, "messages", f"{columns}, instrumented, attributed", ("id",), messages)
        self.messages = {row[0]: _Message(*row) for row in found}
        found = select(db, "recipients", "message, ordinal, domain", ("message", "ordinal"), people)
        self.domains = {row[:2]: row[2] for row in found if row[2]}
        found = select(db, "links", "message, position, url, label", ("message", "position"), links)
        self.links = {row[:2]: row[2:] for row in found}
        self.targets: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for message, domain in select(db, "recipients", "message, domain", ("message",), accepted):
            if domain:
                self.targets[message][domain] += 1


def _file(found: Filed, entry: Entry, counts: Counts, message: _Message, rows: _Rows) -> None:
    own = {name: by for name, by in counts.items() if name in _COLUMNS}
    link = {name: by for kept, name in _OF_LINK if (by := counts.get(kept))}
    places, of = found.places, (message.sender, message.tag)
    if own:
        _add(places[Place(*of, BY_EVENT, TOTALS, entry.slot, "")], own)
        if message.known:
            _add(places[Place(*of, BY_ACCEPTANCE, TOTALS, slot_of(message.accepted_at), "")], own)
        for dimension, value, part in _parts(entry, own, message, rows):
            _add(places[Place(*of, BY_EVENT, dimension, entry.slot, value)], part)
    if link and entry.type == "click" and message.known:
        url, label = rows.links.get((entry.message, entry.position), (None, None))
        if url:
            _add(places[Place(*of, BY_EVENT, LINK, entry.slot, link_text(url, label))], link)
    if message.known and message.mailing_key:
        _file_mailing(found, entry, own, link, message)


def _parts(entry: Entry, own: Counts, message: _Message, rows: _Rows) -> Iterable[tuple[str, str, Counts]]:
    """Dimensions and values that what a message counts is broken down by."""
    if message.tag:
        yield TAG, message.tag, own
    if entry.type == "accepted":
        sign = own.get("messages", 0)
        for domain, people in rows.targets[entry.message].items():
            yield DOMAIN, domain, {"messages": sign, "targeted": sign * people}
    elif (where := rows.domains.get((entry.message, entry.recipient))) is not None:
        yield DOMAIN, where, own
    if entry.type == "bounced" and entry.what:
        yield REASON, entry.what, {name: by for name, by in own.items() if name.startswith("bounced")}
    elif entry.what:
        yield CLIENT, entry.what, own


def _file_mailing(found: Filed, entry: Entry, own: Counts, link: Counts, message: _Message) -> None:
    key = (message.sender, message.mailing_key or "")
    mailing = found.mailings.get(key)
    if mailing is None:
        at = message.accepted_at
        mailing = found.mailings[key] = Mailing(message.mailing, message.tag or None, at, at)
    mailing.first = min(mailing.first, message.accepted_at)
    mailing.last = max(mailing.last, message.accepted_at)
    _add(mailing.counts, own)
    if own:
        _add(found.places[Place(message.sender, "", BY_EVENT, MAILING, entry.slot, key[1])], own)
    if entry.type == "accepted":
        mailing.instrumented += own.get("messages", 0) * message.instrumented
        mailing.attributed += own.get("messages", 0) * message.attributed
    if link and entry.position:
        _add(found.links[(*key, entry.position)], link)


def _add(counts: dict[str, int], more: Mapping[str, int], sign: int = 1) -> None:
    for name, by in more.items():
        counts[name] = counts.get(name, 0) + sign * by


def expanded(places: Mapping[Place, Counts]) -> dict[tuple[Any, ...], dict[str, int]]:
    """Contributions by sender and tag, by each of the two, and by neither."""
    found: dict[tuple[Any, ...], dict[str, int]] = {}
    for place, counts in places.items():
        sender, tag, *rest = place
        # A mailing is of one sender, and of the mail with one tag there is nothing to break down by tag.
        for one in {sender} if place.dimension == MAILING else {sender, ""}:
            for other in {""} if place.dimension == TAG else {tag, ""}:
                _add(found.setdefault((one, other, *rest), {}), counts)
    return found
