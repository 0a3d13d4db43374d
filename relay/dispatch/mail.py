"""A mail as the spool keeps it: what came in, once, and where each of its recipients stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

Parameters = Mapping[str, str | None]
"""ESMTP parameters by name in upper case; None for one without a value."""


class State(StrEnum):
    """Where a recipient of a spooled mail stands; whoever is done with is no longer in the spool."""

    WAITING = "waiting"
    FAILED = "failed"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class Said:
    """What was last said of a recipient: reply code, enhanced status code, one line of text, who said it (None: we
    ourselves), when."""

    code: int
    enhanced: str
    text: str
    remote: str | None
    at: float

    @property
    def reply(self) -> str:
        """The reply as one line."""
        return f"{self.code} {self.enhanced} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Rcpt:
    """One recipient: ordinal (from 1), address exactly as given, parameters of RCPT. ``next_at`` is when it is due,
    seconds since the epoch; ``warned``: its sender was told of the delay. In the states FAILED and RELAYED its sender
    is yet to be told."""

    ordinal: int
    address: str
    options: Parameters = field(default_factory=dict)
    state: State = State.WAITING
    attempts: int = 0
    next_at: float = 0.0
    said: Said | None = None
    warned: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail and those of its recipients that are not done with. ``route`` names the smarthost, empty for
    the usual one; ``profile`` is the frozen profile, empty for a mail of our own that goes as it is; ``trace`` are the
    header lines that go on top; ``recorded``: the store has been, or will surely be, told of the acceptance."""

    id: UUID
    route: str
    reverse_path: str
    options: Parameters
    recipients: tuple[Rcpt, ...]
    profile: str
    trace: bytes
    content: bytes
    accepted_at: float
    recorded: bool = False
