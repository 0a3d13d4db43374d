"""Octets to a smarthost, and its replies: SMTP's lines (RFC 5321 section 4.2), whatever they say.

A reply is bounded in length and time. What is no reply, or comes unasked, is told apart from one.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import cast

LONGEST_LINE = 4096
"""Octets of a reply's line; RFC 5321 section 4.5.3.1.5 says 512, hosts say more."""

MOST_LINES = 128
"""Lines of one reply."""

LONGEST_REPLY = 64 * 1024
"""Octets of one reply; where as many wait to be read, the host has to wait as well."""

SLICE = 256 * 1024
"""Octets that are handed to the transport at a time: what is in memory twice."""

# what looks for one octet takes half as long as what looks for three
_DOTTED = re.compile(rb"\r(?=\n\.)")
_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])([^\r\n]*))?\r\n")


class ChannelError(Exception):
    """No reply came: an ``enhanced`` status code (RFC 3463), a public ``sentence`` and, as its cause, what happened."""

    enhanced = "4.4.2"
    sentence = ""

    def __init__(self) -> None:
        super().__init__(self.sentence)


class Closed(ChannelError):
    """The host is gone."""

    sentence = "The smarthost closed the connection"


class Silent(ChannelError):
    """The host said nothing, or not all of it, or took nothing, in the time that it had."""

    sentence = "The smarthost did not answer in time"


class Nonsense(ChannelError):
    """What the host said is no reply, or none that may stand there."""

    enhanced = "4.5.0"
    sentence = "The smarthost gave an answer that makes no sense"


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply as it came: its code and the octets behind it, line by line."""

    code: int
    lines: tuple[bytes, ...]


class Channel(asyncio.Protocol):
    """A connection on which one task at a time speaks. It takes a transport over from the protocol that opened it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._lost: ChannelError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = self._held = False
        self._uploading = self._last = self._interrupted = False
        transport.set_write_buffer_limits(high=1, low=0)  # so that writing is paused until all has left
        transport.set_protocol(self)

    @property
    def spoke(self) -> bool:
        """Octets wait that no one has read."""
        return bool(self._buffer)

    @property
    def open(self) -> bool:
        """The host has not closed, as far as is known."""
        return self._lost is None and not self._transport.is_closing()

    @property
    def awaited(self) -> bool:
        """A task waits for the host."""
        return self._waiter is not None

    def write(self, octets: bytes) -> None:
        """Send what is short, without waiting."""
        if self.open:
            self._transport.write(octets)

    async def answer(self, seconds: float) -> Answer:
        """The next reply, whole within ``seconds``. Raises ChannelError."""
        found = self._take()
        if found is not None:
            return found
        try:
            async with asyncio.timeout(seconds):
                while found is None:
                    await self._change()
                    found = self._take()
        except TimeoutError as error:
            raise Silent from error
        return found

    async def upload(self, octets: bytes, seconds: float) -> bool:
        """Send what is long; False, and the rest stays unsent, where the host speaks before all has left. Raises
        Silent where nothing leaves for ``seconds``, Closed where the host closes."""
        self._interrupted, self._uploading, self._last = False, True, False
        try:
            view = memoryview(octets)
            for start in range(0, len(view), SLICE):
                if not self.open:
                    raise self._lost or Closed()
                self._last = start + SLICE >= len(view)
                self._transport.write(view[start : start + SLICE] if len(view) > SLICE else octets)
                if self._paused:
                    await self._drained(seconds)
                if self._interrupted:
                    return False
                if self._paused:
                    raise self._lost or Closed()
            return True
        finally:
            self._uploading = False

    def close(self, farewell: bytes) -> None:
        """Say a last word and close."""
        self.write(farewell)
        self._transport.close()

    def abort(self) -> None:
        """Let go at once; what is unsent stays unsent."""
        self._transport.abort()

    async def _drained(self, seconds: float) -> None:
        """Wait until the transport has nothing left, the host speaks, or is gone."""
        tick, still, before = seconds / 4, 0, self._transport.get_write_buffer_size()
        while self._paused and self.open and not self._interrupted:
            try:
                async with asyncio.timeout(tick):
                    await self._change()
            except TimeoutError as error:
                now = self._transport.get_write_buffer_size()
                still, before = (still + 1 if now >= before else 0), now
                if still == 4:
                    raise Silent from error

    async def _change(self) -> None:
        """Wait until something happens; raises what the channel was lost by, if it was."""
        if self._lost is not None:
            raise self._lost
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> Answer | None:
        """Cut the first whole reply off the buffer. Raises Nonsense."""
        lines: list[bytes] = []
        at, code = 0, b""
        while (end := self._buffer.find(b"\n", at) + 1) > 0:
            found = _LINE.fullmatch(self._buffer, at, end) if end - at <= LONGEST_LINE else None
            if found is None or (code and found[1] != code):
                raise Nonsense
            at, code = end, bytes(found[1])
            lines.append(bytes(found[3] or b""))
            if found[2] != b"-":
                self._cut(at)
                return Answer(int(code), tuple(lines))
            if len(lines) == MOST_LINES:
                raise Nonsense
        if len(self._buffer) - at > LONGEST_LINE or len(self._buffer) > LONGEST_REPLY:
            raise Nonsense
        return None

    def _cut(self, octets: int) -> None:
        del self._buffer[:octets]
        if self._held and len(self._buffer) <= LONGEST_REPLY and self.open:
            self._held = False
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """The transport's: octets came."""
        self._buffer += data
        if self._uploading:
            self._interrupted = True
        if len(self._buffer) > LONGEST_REPLY and not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        """The transport's: not all has left yet."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport's: all has left."""
        self._paused = False
        if self._last:
            self._uploading = False  # from here on the host may answer
        self._wake()

    def eof_received(self) -> None:
        """The transport's: the host will say no more, which is taken for leaving."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport's: it is over."""
        if self._lost is None:
            self._lost = Closed()
            self._lost.__cause__ = exc
        self._wake()


def take_over(transport: asyncio.BaseTransport) -> Channel:
    """A channel on a transport that another protocol has opened."""
    return Channel(cast(asyncio.Transport, transport))


def stuffed(content: bytes) -> bytes:
    """The content as DATA wants it (RFC 5321 section 4.5.2): dots at line starts doubled, the final dot behind it."""
    if _DOTTED.search(content):
        content = content.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content + (b".\r\n" if not content or content.endswith(b"\r\n") else b"\r\n.\r\n")
