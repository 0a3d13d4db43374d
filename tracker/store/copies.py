"""Recipients' copies as hits move them: counters, firsts and lasts, and what was last counted on each token."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from tracker.model import HitClass, Verdict
from tracker.store.contributions import Counts, Firsts
from tracker.store.tables import select

Key = tuple[str, int | None]
"""A message and a recipient of it."""

NOTHING: Counts = {}

_COUNTERS = ("opens", "clicks", "machine_opens", "machine_clicks")
_TIMES = ("first_open_at", "last_open_at", "first_click_at", "last_click_at", "hit_at", "click_at")
_TOKEN = ("human", "human_at", "machine_at", "first_at")
_NAMES = ", ".join(_COUNTERS + _TIMES)
_TOUCHES = f"message, recipient, position, {', '.join(_TOKEN)}"


@dataclass(slots=True)
class Token:
    """What was counted on one token: how many people's hits, the first and the last of them, the last machine's."""

    human: int = 0
    human_at: float | None = None
    machine_at: float | None = None
    first_at: float | None = None


@dataclass(slots=True)
class Copy:
    """One recipient's copy of a message. ``hit_at`` and ``click_at``: the latest of all its hits, of all its clicks."""

    message: str
    recipient: int
    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0
    machine_clicks: int = 0
    first_open_at: float | None = None
    last_open_at: float | None = None
    first_click_at: float | None = None
    last_click_at: float | None = None
    hit_at: float | None = None
    click_at: float | None = None
    nameless: int = 0
    tokens: dict[int, Token] = field(default_factory=dict)

    def token(self, position: int) -> Token:
        """The token at a position; that of the pixel at 0."""
        found = self.tokens.get(position)
        if found is None:
            found = self.tokens[position] = Token()
        return found

    def know_tokens(self, db: sqlite3.Connection) -> None:
        """Know all its tokens, not only those that were asked for."""
        sql = f"SELECT {_TOUCHES} FROM touches WHERE message = ? AND recipient = ?"  # noqa: S608
        for _, _, position, *token in db.execute(sql, [self.message, self.recipient]).fetchall():
            self.tokens.setdefault(position, Token(*token))

    def saw(self, event: str, at: float) -> None:
        """There was a hit, whatever it counts."""
        self.hit_at = at if self.hit_at is None or at > self.hit_at else self.hit_at
        if event == "click":
            self.click_at = at if self.click_at is None or at > self.click_at else self.click_at

    def count(self, type: str, human: bool, position: int, at: float) -> Firsts:
        """Count a hit that comes after all others; what it is the first of."""
        token = self.token(position)
        if not human:
            token.machine_at = at
            if type == "open":
                self.machine_opens += 1
            else:
                self.machine_clicks += 1
            return _NO_FIRST
        token.human_at = at
        token.human += 1
        on_link = token.first_at is None
        if on_link:
            token.first_at = at
        if type not in ("open", "click"):
            return _FIRST_ON_LINK if on_link else _NO_FIRST
        unique = (self.opens if type == "open" else self.clicks) == 0
        if type == "open":
            self.opens += 1
            self.first_open_at = at if unique else self.first_open_at
            self.last_open_at = at
        else:
            self.clicks += 1
            self.first_click_at = at if unique else self.first_click_at
            self.last_click_at = at
        if not unique and not on_link:
            return _NO_FIRST
        return Firsts(unique, on_link, unique and bool(self.opens) and bool(self.clicks))


_NO_FIRST, _FIRST_ON_LINK = Firsts(), Firsts(on_link=True)


class Copies:
    """The copies that a batch of hits is about."""

    def __init__(self, db: sqlite3.Connection, tokens: Iterable[tuple[Key, int]]) -> None:
        # What hits name no recipient of is nobody's copy.
        touched = {(message, who, position) for (message, who), position in tokens if who is not None}
        self._copies: dict[Key, Copy] = {(message, who): Copy(message, who) for message, who, _ in touched}
        columns = f"message, ordinal, {_NAMES}, nameless"
        for row in select(db, "recipients", columns, ("message", "ordinal"), self._copies):
            self._copies[row[:2]] = Copy(*row)
        key = ("message", "recipient", "position")
        for message, recipient, position, *token in select(db, "touches", _TOUCHES, key, touched):
            self._copies[message, recipient].tokens[position] = Token(*token)

    def get(self, key: Key) -> Copy | None:
        """One copy; None where hits name no recipient."""
        return self._copies.get(key)

    def write(self, db: sqlite3.Connection) -> None:
        """Write them all."""
        write(db, self._copies.values())


def load(db: sqlite3.Connection, message: str, recipient: int) -> Copy:
    """One copy with all its tokens."""
    sql = f"SELECT {_NAMES}, nameless FROM recipients WHERE message = ? AND ordinal = ?"  # noqa: S608
    row = db.execute(sql, [message, recipient]).fetchone()
    copy = Copy(message, recipient, *row) if row else Copy(message, recipient)
    copy.know_tokens(db)
    return copy


def write(db: sqlite3.Connection, copies: Iterable[Copy]) -> None:
    """Write copies as they are now."""
    found = list(copies)
    names = _COUNTERS + _TIMES
    sets = ", ".join(f"{name} = excluded.{name}" for name in names)
    db.executemany(
        f"INSERT INTO recipients (message, ordinal, {_NAMES}) VALUES (?,?{',?' * len(names)})"  # noqa: S608
        f" ON CONFLICT (message, ordinal) DO UPDATE SET {sets}",
        [(each.message, each.recipient, *(getattr(each, name) for name in names)) for each in found],
    )
    sets = ", ".join(f"{name} = excluded.{name}" for name in _TOKEN)
    db.executemany(
        f"INSERT INTO touches (message, recipient, position, {', '.join(_TOKEN)}) VALUES (?,?,?,?,?,?,?)"  # noqa: S608
        f" ON CONFLICT (message, recipient, position) DO UPDATE SET {sets}",
        [
            (each.message, each.recipient, position, token.human, token.human_at, token.machine_at, token.first_at)
            for each in found
            for position, token in each.tokens.items()
        ],
    )


def kept_verdict(alone: Verdict | None, verdict: Verdict) -> str | None:
    """What a hit showed by itself as an event keeps it: nothing where its neighbours changed nothing."""
    if alone is None or alone == verdict:
        return None
    return json.dumps([alone.cls.value, alone.kind, alone.reason, alone.rules, alone.rule])


def verdict_kept(text: str) -> Verdict:
    """What ``kept_verdict`` wrote."""
    cls, *rest = json.loads(text)
    return Verdict(HitClass(cls), *rest)
