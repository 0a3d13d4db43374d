"""What is handed to a smarthost, and what it says to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Sign = Callable[[bytes], bytes | None]
"""A mail with a signature (DKIM) on top, None where it cannot be signed. Never raises; takes its time: run it beside
the event loop."""


@dataclass(frozen=True, slots=True)
class Target:
    """One recipient of a copy: its ordinal in the message, its address exactly as given, its RCPT parameters."""

    ordinal: int
    address: str
    options: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copy:
    """One transaction: the same octets for one or more recipients. ``mail_from`` is empty for the null reverse-path;
    ``options`` are the parameters of MAIL; ``content`` ends in CRLF, dots not doubled. ``original`` is what goes
    instead where the content is over the smarthost's SIZE, or has no 7-bit form that it wants, and the original is not
    and has: the mail without tracking, a notification without the body that it returns. ``sign``: what goes, whichever
    it is, is to be signed as the last thing, None where it is not."""

    mail_from: str
    targets: tuple[Target, ...]
    content: bytes
    options: Mapping[str, str | None] = field(default_factory=dict)
    original: bytes | None = None
    sign: Sign | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a smarthost said at a ``stage``, or what is said in its place: a reply ``code`` (RFC 5321) and an
    ``enhanced`` status code (RFC 3463) of one class, and the ``text``: printable ASCII, its lines parted by LF and
    without the codes. ``host_wide``: the trouble is the host's and not the mail's; always temporary."""

    code: int
    enhanced: str
    text: str
    stage: str
    host_wide: bool = False

    @property
    def good(self) -> bool:
        """The smarthost consents."""
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        """It may consent later."""
        return 400 <= self.code < 500

    @property
    def line(self) -> str:
        """The text on one line."""
        return " ".join(self.text.split())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one recipient's copy: a reply ``code`` (RFC 5321), an ``enhanced`` status code (RFC 3463) of the
    same class, one line of ``text``, and the ``stage`` at which it was said. ``host_wide``: the trouble is the host's
    and not the mail's; always temporary. ``dsn``: the host offers DSN, so that the recipient's NOTIFY is in its hands
    (RFC 3461)."""

    ordinal: int
    address: str
    code: int
    enhanced: str
    text: str
    stage: str
    host_wide: bool = False
    dsn: bool = False

    @property
    def sent(self) -> bool:
        """The smarthost has taken it."""
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        """It may go later."""
        return 400 <= self.code < 500

    @property
    def reply(self) -> str:
        """The reply as one line."""
        return f"{self.code} {self.enhanced} {self.text}".strip()
