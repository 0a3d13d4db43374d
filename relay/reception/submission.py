"""One mail as the door hands it on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Submission:
    """One mail as it was handed to us. ``mail_from`` is empty for the null reverse-path; options are the ESMTP
    parameters of MAIL and of each RCPT; ``trusted``: from a network that may relay, or authenticated."""

    peer: str
    helo: str
    esmtp: bool
    tls: bool
    user: str | None
    trusted: bool
    mail_from: str
    rcpt_tos: tuple[str, ...]
    mail_options: dict[str, str | None]
    rcpt_options: tuple[dict[str, str | None], ...]
    content: bytes

    @property
    def smtputf8(self) -> bool:
        """Whether the client asked for internationalised mail (RFC 6531)."""
        return "SMTPUTF8" in self.mail_options


Accept = Callable[[Submission], Awaitable[str]]
"""Takes a mail and answers with its id; raises SmtpError to refuse it."""
