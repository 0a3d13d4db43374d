"""What stands before the queue, or the smarthost, of a session: it keeps bounces apart from the mail that goes on.

Each recipient is judged by itself. A mail to bounce addresses alone never comes behind this door, so nothing that a
smarthost may think of its reverse-path is asked there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from relay.bounces.address import Returning
from relay.reception.dialogue import Path
from relay.reception.replies import read_reply
from relay.reception.submission import Client, Counterpart, Submission


@dataclass(frozen=True, slots=True)
class Claimed:
    """A bounce address that was given: the copy that it stands for, and the form that it is of."""

    copy: Returning
    form: str


Find = Callable[[str], Claimed | None]
"""Whether an address is a bounce address; raises SmtpError for one that is forged."""
Take = Callable[[Submission, Sequence[Claimed]], Awaitable[str]]
"""Takes a mail that came back, and answers with its id; raises SmtpError to refuse it."""


class BounceDoor:
    """The counterpart of one session, with ``inner`` behind it."""

    def __init__(self, inner: Counterpart, find: Find, take: Take) -> None:
        self._inner = inner
        self._find = find
        self._take = take
        self._claimed: dict[str, Claimed] = {}
        self._withheld: tuple[Client, Path] | None = None

    async def login(self, user: str, password: str) -> str:
        """AUTH is not ours."""
        return await self._inner.login(user, password)

    async def mail(self, client: Client, path: Path) -> str:
        """Hand MAIL on, but where a bounce is to be expected: then only once a recipient of another kind is named."""
        self._claimed = {}
        if client.trusted and path.address:
            return await self._inner.mail(client, path)
        self._withheld = (client, path)
        return "250 2.1.0 Ok"

    async def recipient(self, path: Path) -> str:
        """Keep a bounce address; hand any other on."""
        found = self._find(path.address)
        if found is not None:
            self._claimed[path.address] = found
            return "250 2.1.5 Ok"
        if self._withheld is not None:
            reply = await self._inner.mail(*self._withheld)
            if read_reply(reply).code >= 400:
                return reply
            self._withheld = None
        return await self._inner.recipient(path)

    async def accept(self, submission: Submission) -> str:
        """Take the bounce, then have the mail taken. Were the mail refused after all, a bounce that comes again counts
        once; a mail that comes again would arrive twice."""
        claimed = {address: self._claimed[address] for address in submission.rcpt_tos if address in self._claimed}
        if not claimed:
            return await self._inner.accept(submission)
        once = {each.copy: each for each in claimed.values()}  # an address in another letter case is the same
        id = await self._take(submission, list(once.values()))
        people = zip(submission.rcpt_tos, submission.rcpt_options, strict=True)
        others = [each for each in people if each[0] not in claimed]
        if not others:
            return f"250 2.0.0 Ok: queued as {id}"
        addresses, options = zip(*others, strict=True)
        return await self._inner.accept(replace(submission, rcpt_tos=addresses, rcpt_options=options))

    async def reset(self) -> None:
        """Forget the mail under way."""
        self._claimed, self._withheld = {}, None
        await self._inner.reset()

    async def leave(self) -> None:
        """The client has gone."""
        await self._inner.leave()
