"""One line of a message's timeline: its id, its place in the order of recording, its row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from uuid import UUID

Stamp = Callable[[float], int]
"""The place of a new event in the order of recording, in microseconds; never before its own time."""


INSERT = (
    "INSERT OR IGNORE INTO events (message, id, recorded, at, type, recipient, position, url, class, kind, reason,"
    " rules, address, agent, signals, reply, counts, client, alone) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)


def made_at(message: UUID) -> float:
    """When a UUIDv7 was made, seconds since the epoch."""
    return int.from_bytes(message.bytes[:6], "big") / 1000


def event_id(*parts: object) -> str:
    """An id that the same fact always gets: a UUIDv8 (RFC 9562 section 5.8)."""
    digest = bytearray(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:16])
    digest[6], digest[8] = 0x80 | digest[6] & 0x0F, 0x80 | digest[8] & 0x3F
    return str(UUID(bytes=bytes(digest)))
