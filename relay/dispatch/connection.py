"""A connection that is ready for mail: commands to the smarthost, and a Reply to each, whatever the host does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from relay.dispatch.channel import Answer, Channel, ChannelError, Closed, Nonsense, stuffed
from relay.dispatch.envelope import Reply

log = structlog.get_logger()

DATA_ANSWER_TIMEOUTS = 10
"""How many times ``timeout`` the answer to the data may take: 60 s make the 10 min of RFC 5321 section 4.5.3.2.6."""

GO_ON = 354
"""The one consent to DATA."""

_ENHANCED = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_NOT_TEXT = re.compile(r"[^ -~]+")
LONGEST_TEXT = 400
"""Characters of a reply's line that are kept: with its codes, less than the 512 octets of RFC 5321."""


class Command(NamedTuple):
    """A line for the host and the stage that it belongs to."""

    stage: str
    line: bytes


class Connection:
    """Greeted, secured and authenticated. Never raises for what the host does: once there is trouble, that is the Reply
    to everything that follows. A task that is cancelled amid a command costs the connection."""

    def __init__(self, channel: Channel, host: str, offers: Mapping[str, str], timeout: float) -> None:
        self.offers = offers
        self.used = False
        self.idle_since = 0.0
        self.stale = False
        self.garbled: Reply | None = None
        self._channel = channel
        self._host = host
        self._timeout = timeout
        self._trouble: Reply | None = None
        self._amid = False

    @property
    def ready(self) -> bool:
        """It may take the next mail."""
        return self._trouble is None and self._channel.open and not self._channel.spoke and not self._amid

    @property
    def busy(self) -> bool:
        """A task waits for the host."""
        return self._channel.awaited

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands in one write, and read the reply to each. ``stale`` is set where the host left a connection
        used before when it was told of a mail; ``garbled`` where replies do not match commands, so that none of them
        can be believed."""
        self._amid = True
        if self._trouble is None and self._channel.spoke:
            await self._unasked(commands[0].stage)
        if self._trouble is None:
            self._channel.write(b"".join(command.line for command in commands))
        return [await self._answer(command.stage, self._timeout) for command in commands]

    async def upload(self, content: bytes) -> Reply:
        """Send the content to a host that said GO_ON; its answer."""
        if self._channel.spoke:
            return await self._unasked("data")
        try:
            whole = await self._channel.upload(stuffed(content), self._timeout)
        except ChannelError as error:
            return self._fail("after", error)
        except BaseException:
            self.abort()
            raise
        return await (self._final() if whole else self._interruption())

    async def reset(self) -> None:
        """Leave the mail that is under way; a host that does not go along loses the connection, no more."""
        if not self._amid:
            return
        (reply,) = await self.ask([Command("rset", b"RSET\r\n")])
        if reply.good:
            self._amid = False
        else:
            self.abort()

    def quit(self) -> None:
        """Say goodbye; the answer to that changes nothing, so nobody waits for it."""
        self._channel.close(b"QUIT\r\n")

    def abort(self) -> None:
        """Let go at once."""
        self._channel.abort()

    async def _final(self) -> Reply:
        reply = await self._answer("after", self._timeout * DATA_ANSWER_TIMEOUTS)
        if self._trouble is None and self._channel.spoke:
            unasked = await self._unasked("after")  # which shows that this may be the answer to something else
            reply = reply if unasked.code == 421 else unasked
        elif self._trouble is None:
            self._amid = False
        if self._trouble is reply and reply.code != 421:
            # Whoever tries again may deliver a second time, so say it.
            log.warning("no answer after the data; the mail may arrive twice", host=self._host, said=reply.text)
        return reply

    async def _interruption(self) -> Reply:
        """What the host said amid the data, which may refuse it and never take it. Whatever it says to the rest would
        be taken for the answer to the next command."""
        reply = await self._answer("after", self._timeout)
        self.abort()
        return self._fail("after", Nonsense()) if reply.good else reply

    async def _unasked(self, stage: str) -> Reply:
        """What waits although nobody asked: a host may say 421 at any time, all else is nonsense."""
        reply = await self._answer(stage, self._timeout)
        return reply if reply.code == 421 else self._fail(stage, Nonsense())

    async def _answer(self, stage: str, seconds: float) -> Reply:
        if self._trouble is not None:
            return replace(self._trouble, stage=stage)
        try:
            reply = heard(stage, await self._channel.answer(seconds))
            consents = reply.code == GO_ON if stage == "data" else reply.good
            if not consents and reply.code // 100 not in (4, 5):
                raise Nonsense
        except ChannelError as error:
            return self._fail(stage, error)
        except BaseException:
            self.abort()
            raise
        if reply.code == 421:
            reply = replace(reply, host_wide=True)
            self._leave(stage, reply)
        return reply

    def _fail(self, stage: str, error: ChannelError) -> Reply:
        reply = Reply(451, error.enhanced, error.sentence, stage)
        if isinstance(error, Nonsense):
            self.garbled = reply
        return self._leave(stage, reply, isinstance(error, Closed))

    def _leave(self, stage: str, reply: Reply, left: bool = True) -> Reply:
        self.stale = self.used and left and stage == "mail"
        self._trouble = reply
        self.abort()
        return reply


def heard(stage: str, answer: Answer) -> Reply:
    """An answer as a Reply: whatever the host says, both codes are of one class, and the text cannot break framing."""
    said = [_ENHANCED.match(line) for line in answer.lines]
    detail = said[0][1].decode() if said[0] else "0.0.0"
    bare = [line[found.end() :] if found else line for line, found in zip(answer.lines, said, strict=True)]
    text = "\n".join([printable(line.decode("latin-1")) for line in bare])
    return Reply(answer.code, f"{answer.code // 100}{detail[1:]}", text, stage)


def printable(text: str) -> str:
    """Text on one line of printable ASCII, cut where it is too long for a reply."""
    if not (text.isascii() and text.isprintable()):
        text = _NOT_TEXT.sub(" ", text)
    return text.strip()[:LONGEST_TEXT]
