"""One mail as the door hands it on, and what stands behind the door to take it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from relay.reception.dialogue import Path
from relay.reception.replies import SmtpError


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the door: address, authenticated name, whether by TLS, the name in its EHLO, and whether it may send
    to anyone."""

    peer: str
    user: str | None
    tls: bool
    helo: str
    trusted: bool = True


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


class Counterpart(Protocol):
    """What stands behind one session: the queue, or the smarthost itself. It is asked after the door's own checks.

    Each answer is a whole reply such as ``250 2.1.0 Ok``, of one line or several; each refuses by raising SmtpError,
    and what it refuses is not added to the mail. A 421 ends the session.
    """

    async def login(self, user: str, password: str) -> str:
        """AUTH; asked only with ``auth.passthrough``. A 5xx is a failed login, a 4xx is not."""
        ...

    async def mail(self, client: Client, path: Path) -> str:
        """MAIL."""
        ...

    async def recipient(self, path: Path) -> str:
        """RCPT."""
        ...

    async def accept(self, submission: Submission) -> str:
        """The end of the data."""
        ...

    async def reset(self) -> None:
        """The mail under way is forgotten: RSET, EHLO, its end, an error, the end of the session."""
        ...

    async def leave(self) -> None:
        """The client has gone or is sent away; called once for each session that was greeted."""
        ...


class Queueing:
    """The counterpart that says yes to every address and has ``accept`` take each mail, which answers with its id."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept

    async def login(self, user: str, password: str) -> str:
        """There is nobody to ask."""
        raise SmtpError(454, "4.7.0", "Logins cannot be checked here")

    async def mail(self, client: Client, path: Path) -> str:
        """Any reverse-path will do."""
        return "250 2.1.0 Ok"

    async def recipient(self, path: Path) -> str:
        """Any forward-path will do."""
        return "250 2.1.5 Ok"

    async def accept(self, submission: Submission) -> str:
        """Take the mail."""
        return f"250 2.0.0 Ok: queued as {await self._accept(submission)}"

    async def reset(self) -> None:
        """Nothing is kept before the end of the data."""

    async def leave(self) -> None:
        """Nothing is kept for a session."""
