"""What the worker processes know of each other, so that a limit holds for all of them together.

One anonymous shared map, made before the fork. Each process has a seat, the only one that it writes; totals are sums
over all seats, so there is no lock that a dying process could keep. Sums may lag behind by one event: limits hold to
within a connection or a chunk.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from struct import Struct
from typing import NamedTuple

FAILURES_ALLOWED = 20
"""Failed logins of one address within a window, from which on it is blocked for the rest of it."""
WINDOW = 600.0
"""Seconds of a window; it begins with the first failure."""

# A seat is an array of 64-bit words: figures, then rows of connection counters, then a table of failed logins.
_CONNECTIONS, _MEMORY, _SPOOL, _LISTENING, _DROPPED, _FIGURES = 0, 1, 2, 3, 4, 8
# Addresses share a counter by chance; that one shares all its four with others that matter does not happen.
_ROWS, _COLUMNS = 4, 4096
# A set holds what hashes to it; where it is full, the one with the fewest failures is forgotten.
_SETS, _WAYS, _ENTRY = 512, 8, 4
_TABLE = _FIGURES + _ROWS * _COLUMNS
_SEAT = _TABLE + _SETS * _WAYS * _ENTRY
_MARK = Struct("<qq4HH")


class _Mark(NamedTuple):
    """An address as the board knows it: a fingerprint to compare, and the places where it is counted."""

    fingerprint: tuple[int, int]
    counters: tuple[int, ...]
    table: int


class Scoreboard:
    """Seats for so many worker processes, all in memory that they share. Make it before the fork."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.words = memoryview(mmap.mmap(-1, workers * _SEAT * 8)).cast("q")
        # Nobody outside can choose addresses that share counters.
        self._salt = os.urandom(16)

    def seat(self, number: int) -> Seat:
        """The seat of one worker, counted from 0; it alone may use it to write."""
        if not 0 <= number < self.workers:
            raise IndexError(f"there are {self.workers} seats, none is number {number}")
        return Seat(self, number)

    def clear(self, number: int) -> None:
        """Forget what a worker held that has died. The failed logins that it saw stay, and so does what it counted."""
        start = number * _SEAT
        dropped = self.words[start + _DROPPED]
        self.words[start : start + _TABLE] = memoryview(bytes(_TABLE * 8)).cast("q")
        self.words[start + _DROPPED] = dropped

    @property
    def connections(self) -> int:
        """Open connections of all workers."""
        return self._total(_CONNECTIONS)

    @property
    def memory(self) -> int:
        """Octets of mail that all workers are receiving."""
        return self._total(_MEMORY)

    @property
    def spool(self) -> int:
        """Octets of mail that waits on disk."""
        return self._total(_SPOOL)

    @property
    def dropped(self) -> int:
        """Notifications that came to an end undelivered, since the service was started."""
        return self._total(_DROPPED)

    @property
    def listening(self) -> bool:
        """Whether any worker takes clients."""
        return self._total(_LISTENING) > 0

    def connections_from(self, address: str) -> int:
        """Open connections from one address; very rarely too many, never too few."""
        return min(self._total(counter) for counter in self.mark(address).counters)

    def failures(self, address: str, now: float) -> int:
        """Failed logins from one address in the window that is open at ``now``."""
        mark, moment = self.mark(address), _milliseconds(now)
        entries = (self.entry(seat, mark, moment) for seat in range(self.workers))
        return sum(self.words[entry + 3] for entry in entries if entry is not None)

    def mark(self, address: str) -> _Mark:
        """Where an address is counted."""
        digest = hashlib.blake2b(address.encode("utf-8", "replace"), digest_size=_MARK.size, key=self._salt).digest()
        first, second, *columns, chosen = _MARK.unpack(digest)
        counters = tuple(_FIGURES + row * _COLUMNS + column % _COLUMNS for row, column in enumerate(columns))
        return _Mark((first, second), counters, _TABLE + chosen % _SETS * _WAYS * _ENTRY)

    def entry(self, seat: int, mark: _Mark, moment: int) -> int | None:
        """Where a seat counts the failed logins of an address, if it does so in a window that is open."""
        words, start = self.words, seat * _SEAT + mark.table
        for entry in range(start, start + _WAYS * _ENTRY, _ENTRY):
            # The fingerprint first and the count last: a seat that is writing does it the other way round.
            if (words[entry], words[entry + 1]) == mark.fingerprint and _open(words[entry + 2], moment):
                return entry
        return None

    def _total(self, word: int) -> int:
        return sum(self.words[word::_SEAT])


class Seat:
    """One worker's own part of the board, and its view of the whole."""

    def __init__(self, board: Scoreboard, number: int) -> None:
        self.board = board
        self.number = number
        self._start = number * _SEAT

    def enter(self, address: str) -> None:
        """A client has come."""
        self._count(address, 1)

    def leave(self, address: str) -> None:
        """A client that came has gone."""
        self._count(address, -1)

    @property
    def connections(self) -> int:
        """Open connections of all workers."""
        return self.board.connections

    def connections_from(self, address: str) -> int:
        """Open connections from one address, to all workers."""
        return self.board.connections_from(address)

    def add_memory(self, octets: int) -> None:
        """So many more octets of mail are being received here; fewer if negative."""
        self.board.words[self._start + _MEMORY] += octets

    @property
    def memory(self) -> int:
        """Octets of mail that all workers are receiving."""
        return self.board.memory

    def add_spool(self, octets: int) -> None:
        """So many more octets wait on disk in this worker's spool; fewer if negative."""
        self.board.words[self._start + _SPOOL] += octets

    def set_spool(self, octets: int) -> None:
        """So many octets wait on disk in this worker's spool."""
        self.board.words[self._start + _SPOOL] = octets

    def add_dropped(self, count: int) -> None:
        """So many more notifications came to an end undelivered."""
        self.board.words[self._start + _DROPPED] += count

    @property
    def spool(self) -> int:
        """Octets of mail that wait on disk, in all spools."""
        return self.board.spool

    @property
    def listening(self) -> bool:
        """Whether this worker takes clients."""
        return bool(self.board.words[self._start + _LISTENING])

    @listening.setter
    def listening(self, value: bool) -> None:
        self.board.words[self._start + _LISTENING] = int(value)

    def failed(self, address: str, now: float) -> None:
        """A login from this address has failed; ``now`` is in seconds, of a clock that all workers share."""
        words, board, moment = self.board.words, self.board, _milliseconds(now)
        mark = board.mark(address)
        entry = board.entry(self.number, mark, moment)
        if entry is not None:
            words[entry + 3] += 1
            return
        others = (board.entry(seat, mark, moment) for seat in range(board.workers))
        began = min((words[other + 2] for other in others if other is not None), default=moment)
        entry = self._free(mark, moment)
        words[entry + 3] = 0  # whoever reads amid this finds no failures rather than another's
        words[entry + 2] = began
        words[entry], words[entry + 1] = mark.fingerprint
        words[entry + 3] = 1

    def blocked(self, address: str, now: float) -> bool:
        """Whether too many logins from exactly this address have failed in the window that is open at ``now``."""
        return self.board.failures(address, now) >= FAILURES_ALLOWED

    def _count(self, address: str, step: int) -> None:
        words, start = self.board.words, self._start
        words[start + _CONNECTIONS] += step
        for counter in self.board.mark(address).counters:
            words[start + counter] += step

    def _free(self, mark: _Mark, moment: int) -> int:
        words, start = self.board.words, self._start + mark.table

        def worth(entry: int) -> int:
            return words[entry + 3] if _open(words[entry + 2], moment) else 0

        return min(range(start, start + _WAYS * _ENTRY, _ENTRY), key=worth)


def _milliseconds(now: float) -> int:
    return int(now * 1000)


def _open(began: int, moment: int) -> bool:
    return moment - began < WINDOW * 1000
