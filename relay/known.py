"""What the store tells the relay: who wants no mail or no tracking from whom, and the link types that were saved.

Changes are followed in a thread. While the store is away the relay goes by what it last knew.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tracker.errors import StoreError
from tracker.model import DOES_NOT_EXIST, SuppressionKind
from tracker.store.base import LinkTypeChange, Lists, SuppressionChange
from tracker.store.link_types import SavedTypes, of_sender
from tracker.store.suppressions import mark_of

log = structlog.get_logger()

OPTED_OUT = "on the suppression list"
FOLLOW_SECONDS = 0.1
"""Between two looks at the store: whoever opts out expects the very next mail to stay away. A look that finds nothing
costs 0.03 ms."""

_BATCH = 5000
_MERGE_AT = 1024


class Knowledge(Protocol):
    """What is asked before a copy goes out."""

    def refusal(self, sender: str, address: str, marketing: bool) -> str | None:
        """Why an address gets no mail from a sender, None where it does."""

    def untracked(self, sender: str, address: str) -> bool:
        """Whether an address wants no tracking from a sender."""

    def saved_types(self, sender: str) -> SavedTypes:
        """The types saved for a sender's links: URL or glob, and type."""


class Marks:
    """A set of 64-bit numbers, eight octets each but for those that came or went lately."""

    def __init__(self) -> None:
        self._sorted = array("Q")
        self._lately: dict[int, bool] = {}

    def __contains__(self, mark: int) -> bool:
        lately = self._lately.get(mark)
        if lately is not None:
            return lately
        at = bisect_left(self._sorted, mark)
        return at < len(self._sorted) and self._sorted[at] == mark

    def put(self, mark: int, present: bool) -> None:
        """Take a number in or out. One thread puts; others may look meanwhile."""
        self._lately[mark] = present
        if len(self._lately) > _MERGE_AT + len(self._sorted) // 8:
            kept = (each for each in self._sorted if each not in self._lately)
            came = (each for each, there in self._lately.items() if there)
            self._sorted = array("Q", sorted((*kept, *came)))
            self._lately = {}


@dataclass(slots=True)
class _Picture:
    """All that is known of one store, by the key of its marks, up to two stamps."""

    key: bytes
    suppressed_at: int = 0
    typed_at: int = 0
    mail: dict[str | None, Marks] = field(default_factory=dict)
    always: dict[str | None, Marks] = field(default_factory=dict)
    tracking: dict[str | None, Marks] = field(default_factory=dict)
    types: dict[tuple[str | None, str], LinkTypeChange] = field(default_factory=dict)

    def suppress(self, rows: Iterable[SuppressionChange]) -> None:
        """Take changes of the suppression list in."""
        for row in rows:
            mark = int.from_bytes(row.mark[:8])
            if row.kind is SuppressionKind.TRACKING:
                _put(self.tracking, row.sender, mark, row.standing)
            else:
                _put(self.mail, row.sender, mark, row.standing)
                _put(self.always, row.sender, mark, row.standing and row.always)

    def save(self, rows: Iterable[LinkTypeChange]) -> None:
        """Take changes of saved types in. The table is made anew, since others read it meanwhile."""
        types = dict(self.types)
        for row in rows:
            if row.type is None:
                types.pop((row.sender, row.url), None)
            else:
                types[row.sender, row.url] = row
        self.types = types


class Known:
    """What is known of the lists in one store. Nothing is known before the first ``refresh`` that succeeds."""

    def __init__(self, store: Lists) -> None:
        self._store = store
        self._picture = _Picture(b"")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def refusal(self, sender: str, address: str, marketing: bool) -> str | None:
        """Why an address gets no mail from a sender, None where it does; who does not exist gets none of any kind."""
        picture = self._picture
        if not picture.mail:
            return None
        mark = _mark(picture, address)
        if _has(picture.always, sender, mark):
            return DOES_NOT_EXIST
        return OPTED_OUT if marketing and _has(picture.mail, sender, mark) else None

    def untracked(self, sender: str, address: str) -> bool:
        """Whether an address wants no tracking from a sender."""
        picture = self._picture
        return bool(picture.tracking) and _has(picture.tracking, sender, _mark(picture, address))

    def saved_types(self, sender: str) -> SavedTypes:
        """The types saved for a sender's links, its own before everybody's."""
        return of_sender(self._picture.types.values(), sender)

    def refresh(self) -> None:
        """Hear of all that changed. Raises StoreError; what was known still holds then."""
        picture = self._picture
        while not self._read(picture):
            # another store, or an older state of it: begin anew, and go by the old picture until the new one is whole
            picture = _Picture(self._store.suppression_changes(0, 0).key)
        self._picture = picture

    def start(self) -> None:
        """Follow the store."""
        self._thread = threading.Thread(target=self._follow, name="known", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow it no more; blocks while the last look ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _read(self, picture: _Picture) -> bool:
        """Take in what changed; False where that is not told of the store that the picture is of."""
        while True:
            suppressed = self._store.suppression_changes(picture.suppressed_at, _BATCH)
            typed = self._store.link_type_changes(picture.typed_at, _BATCH)
            older = suppressed.newest < picture.suppressed_at or typed.newest < picture.typed_at
            if older or {suppressed.key, typed.key} != {picture.key}:
                return False
            if not suppressed.rows and not typed.rows:
                return True
            picture.suppress(suppressed.rows)
            picture.save(typed.rows)
            picture.suppressed_at, picture.typed_at = suppressed.last, typed.last

    def _follow(self) -> None:
        away = False
        while not self._stop.wait(FOLLOW_SECONDS):
            try:
                self.refresh()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("the store is away; the lists stay as last known", cause=repr(error.__cause__))
                away = True
            except Exception:
                log.exception("the lists cannot be read; they stay as last known")


def _mark(picture: _Picture, address: str) -> int:
    return int.from_bytes(mark_of(picture.key, address)[:8])


def _has(marks: Mapping[str | None, Marks], sender: str, mark: int) -> bool:
    return any(mark in marks[name] for name in (sender.lower(), None) if name in marks)


def _put(marks: dict[str | None, Marks], sender: str | None, mark: int, present: bool) -> None:
    if present or sender in marks:
        marks.setdefault(sender, Marks()).put(mark, present)
