"""One event as an endpoint is told of it, whatever the format. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tracker.webhooks.names import HITS, TYPES


@dataclass(frozen=True, slots=True)
class Notice:
    """``id`` stays the same at every try; ``name`` is one of ``names.NAMES`` and ``word`` what this endpoint calls it;
    ``at`` in seconds since the epoch; ``recipients`` is the one that the event is about, or all of a mail that was
    accepted, and empty where nobody is named; ``bounce`` is ``hard`` or ``soft``; ``first`` tells the first open or
    click of this recipient."""

    id: str
    name: str
    word: str
    at: float
    message: str
    message_id: str
    sender: str
    subject: str
    tag: str | None
    mailing: str | None
    metadata: Mapping[str, Any]
    recipients: tuple[str, ...]
    cls: str | None = None
    kind: str | None = None
    reason: str | None = None
    bounce: str | None = None
    reply: str = ""
    url: str = ""
    label: str = ""
    position: int = 0
    address: str | None = None
    agent: str | None = None
    first: bool = False

    @property
    def recipient(self) -> str | None:
        """The address that the event is about, None where it is about several or nobody is named."""
        return self.recipients[0] if len(self.recipients) == 1 else None

    @property
    def status(self) -> str:
        """The enhanced code of what was said (RFC 3463), empty where none was."""
        return codes_of(self.reply)[1] or codes_of(self.reason or "")[1] or ""

    @property
    def machine(self) -> bool:
        """Whether a machine made it."""
        return self.cls == "machine"


def name_of(row: Mapping[str, Any]) -> str | None:
    """The name of a stored event, None for what is not told: a repeat, which is not counted either; what leads to a
    page of ours and not to a link's target; who wants no tracking and yet the mail."""
    if row["kind"] == "repeat" or (row["type"] in ("opt_out", "opt_in") and row["kind"] != "mail"):
        return None
    return TYPES.get(row["type"])


def wanted(row: Mapping[str, Any], names: Container[str], machine: bool) -> bool:
    """Whether an endpoint that asked for these events, and for those of machines or not, wants this one."""
    return name_of(row) in names and (machine or row["class"] != "machine")


def notice_of(row: Mapping[str, Any], endpoint: str, words: Mapping[str, str]) -> Notice:
    """The notice for an endpoint, by its key and its ``words`` for events, of a stored event that has a name."""
    name = TYPES[row["type"]]
    hit = name in HITS
    counts = json.loads(row["counts"] or "{}")
    return Notice(
        id=notice_id(endpoint, row["message"], row["id"]),
        name=name,
        word=words.get(name, name),
        at=row["at"],
        message=row["message"],
        message_id=row["message_id"] or "",
        sender=row["sender"] or "",
        subject=row["subject"] or "",
        tag=row["tag"],
        mailing=row["mailing"],
        metadata=json.loads(row["metadata"] or "{}"),
        recipients=tuple(row["addresses"]),
        cls=row["class"],
        kind=row["kind"] if hit else None,
        reason=_reason(row, name),
        bounce=("soft" if row["kind"] == "soft" else "hard") if name == "bounced" else None,
        reply=row["reply"] or "",
        url=(row["url"] or "") if hit else "",
        label=row["label"] or "",
        position=row["position"] or 0,
        address=row["address"],
        agent=row["agent"],
        first="unique_opens" in counts or "unique_clicks" in counts,
    )


def notice_id(endpoint: str, message: str, event: str) -> str:
    """An id that the same event always has for the same endpoint: a UUIDv8 (RFC 9562 section 5.8)."""
    digest = bytearray(hashlib.sha256(f"{endpoint}\0{message}\0{event}".encode()).digest()[:16])
    digest[6], digest[8] = 0x80 | digest[6] & 0x0F, 0x80 | digest[8] & 0x3F
    return str(UUID(bytes=bytes(digest)))


def instant(seconds: float) -> str:
    """A time as RFC 3339 has it, in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def octets_of(value: Any) -> bytes:
    """JSON in ASCII alone, so that no text can be too odd for it."""
    return json.dumps(value, separators=(",", ":")).encode()


def codes_of(reply: str) -> tuple[int | None, str | None]:
    """The code and the enhanced code (RFC 3463) at the beginning of an SMTP reply, None where they are not there."""
    words: Sequence[str] = reply.replace("-", " ", 1).split(maxsplit=2)[:2]
    code = int(words[0]) if words and words[0].isdecimal() and words[0].isascii() and len(words[0]) == 3 else None
    rest = words[1:] if code is not None else words[:1]
    parts = rest[0].split(".") if rest else []
    known = len(parts) == 3 and all(part.isdecimal() and len(part) <= 3 for part in parts) and parts[0] in "245"
    return code, rest[0] if known else None


def _reason(row: Mapping[str, Any], name: str) -> str | None:
    if name in ("rejected", "failed"):
        return row["reply"] or None
    return row["reason"] or None
