"""One client's connection: aiosmtpd's protocol, with its own way of reading, keeping time and going.

aiosmtpd reads data by line (90 % of its time), ends lines at a bare LF, answers without enhanced codes and cancels a
transaction when its client leaves; what stands here replaces those. One session is one task; it ends when its client
has gone and what it had in hand is done. TLS is the same stream with another reader and writer, whether it comes with
the first byte or by STARTTLS.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar, cast

import structlog
from aiosmtpd.smtp import SMTP

from relay.reception.incoming import Incoming
from relay.reception.sasl import LONGEST_ANSWER

if TYPE_CHECKING:
    from relay.reception.smtpd import SmtpServer

log = structlog.get_logger()
logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd would log addresses and, in DEBUG, bodies

SHUTTING_DOWN = "421 4.3.2 Shutting down; please come back"
LONGEST_LINE = LONGEST_ANSWER + len("AUTH PLAIN ")
"""Octets of a line of the dialogue; only AUTH may be so long."""
_LINGER_SECONDS = 5.0
_HANDSHAKE_SECONDS = 30.0

T = TypeVar("T")


class Goodbye(Exception):
    """The session ends after this last reply, or without one."""

    def __init__(self, reply: str | None = None) -> None:
        super().__init__(reply)
        self.reply = reply


class _Secured(asyncio.StreamReaderProtocol):
    """The stream within TLS. It keeps its session, and with it the writer in clear: once that is collected, newer
    Pythons close what it wrote to, while TLS is still saying goodbye there."""

    def __init__(self, reader: asyncio.StreamReader, session: Connection) -> None:
        super().__init__(reader, loop=session.loop)
        self._session = session

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone."""
        self._session.gone.set()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """The client will send no more; TLS then ends in both directions."""
        self._session.gone.set()
        return super().eof_received()


class Connection(SMTP):
    """Reads commands and has ``_turn`` answer each. Its reading and writing raise nothing but Goodbye, so that any
    other error in a turn is ours and not the client's."""

    line_length_limit = 1 << 17  # what the stream reader holds before it pauses the client, half of it

    def __init__(self, server: SmtpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(object(), hostname=server.hostname, enable_SMTPUTF8=True, loop=loop)
        self.server: SmtpServer = server
        self.peer = ""
        self.task: asyncio.Task[None] | None = None
        self.tls = False
        self._implicit: ssl.SSLContext | None = None
        self._beneath: asyncio.StreamWriter | None = None
        self.gone = asyncio.Event()
        self._waiting = False
        self._shaking_hands = False
        self._deadline: float | None = None

    @property
    def between_mails(self) -> bool:
        """No mail is under way."""
        raise NotImplementedError

    async def _turn(self, line: bytes | None) -> None:
        """Answer one command line, None for one that was too long."""
        raise NotImplementedError

    def _begin(self) -> None:
        """The client is taken; it is greeted next."""
        raise NotImplementedError

    async def _end(self) -> None:
        """The session is over, or never began."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client."""
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        self.server.sessions.add(self)
        self.server.seat.enter(self.peer)
        super().connection_made(transport)
        self._incoming = Incoming(self._reader, LONGEST_LINE)
        self.task = self._handler_coroutine
        self._implicit = self.server.implicit_tls
        if self._implicit is not None:
            cast(asyncio.Transport, transport).pause_reading()  # the first byte is for the handshake

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone; a mail that it had handed over goes on all the same."""
        self.gone.set()
        asyncio.StreamReaderProtocol.connection_lost(self, error)

    def eof_received(self) -> bool | None:
        """The client will send no more; it still gets its answers."""
        self.gone.set()
        return asyncio.StreamReaderProtocol.eof_received(self)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Time is kept where something is waited for."""

    async def _handle_client(self) -> None:
        try:
            if self._implicit is not None:
                await self._secure(self._implicit)
            refusal = self.server.refusal(self.peer)
            if refusal is not None:
                raise Goodbye(refusal)
            self._begin()
            await self._say(f"220 {self.server.hostname} ESMTP Tracepost")
            while True:
                if self.server.stopping and self.between_mails:
                    raise Goodbye(SHUTTING_DOWN)
                await self._turn(await self._wait(self._incoming.line()))
        except Goodbye as goodbye:
            if goodbye.reply:
                await self._say_last(goodbye.reply)
        except Exception:
            log.exception("a session failed", peer=self.peer)
        finally:
            self._hang_up()
            await self._end()
            self.server.sessions.discard(self)
            self.server.seat.leave(self.peer)

    async def _secure(self, context: ssl.SSLContext) -> None:
        """Go over to TLS. What came in clear and was not read yet is thrown away with its reader."""
        reader = asyncio.StreamReader(self.line_length_limit, self.loop)
        protocol = _Secured(reader, self)
        seconds = min(_HANDSHAKE_SECONDS, self.server.config.limits.idle)
        self._waiting = self._shaking_hands = True
        try:
            transport = await self.loop.start_tls(
                self._writer.transport,
                protocol,
                context,
                server_side=True,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_LINGER_SECONDS,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are
            log.info("no TLS came about", peer=self.peer, cause=getattr(error, "reason", None) or str(error))
            raise Goodbye from None
        finally:
            self._waiting = self._shaking_hands = False
        if transport is None:
            raise Goodbye
        protocol.connection_made(transport)
        self._beneath = self._writer  # since Python 3.13 a writer that is collected closes its connection
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, self.loop)
        self._incoming = Incoming(reader, LONGEST_LINE)
        self.tls = True

    async def _pause(self, seconds: float) -> bool:
        """Let time go by; False, at once, where the client sends no more."""
        self._waiting = True
        try:
            async with asyncio.timeout(seconds):
                await self.gone.wait()
            return False
        except TimeoutError:
            return True
        finally:
            self._waiting = False

    async def _wait(self, reading: Awaitable[T]) -> T:
        """What the client sends next, within the limits of time."""
        limits, now = self.server.config.limits, self.loop.time()
        left = limits.idle if self._deadline is None else max(0.0, self._deadline - now)
        self._waiting = True
        try:
            async with asyncio.timeout(min(limits.idle, left)):
                return await reading
        except TimeoutError:
            what = "You were silent for too long" if left >= limits.idle else "This mail took too long"
            raise Goodbye(f"421 4.4.2 {what}; please come back") from None
        except (OSError, EOFError):
            raise Goodbye from None
        finally:
            self._waiting = False

    async def _say(self, reply: str) -> None:
        """Send a reply. A client that reads nothing has as long as one that says nothing."""
        try:
            self._writer.write(reply.encode("ascii", "replace") + b"\r\n")
            if not self._writer.transport.get_write_buffer_size():
                return
            async with asyncio.timeout(self.server.config.limits.idle):
                await self._writer.drain()
        except OSError:  # TimeoutError is one
            raise Goodbye from None

    async def _say_last(self, reply: str) -> None:
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._say(reply)
        except (Goodbye, TimeoutError):
            pass

    def _hang_up(self) -> None:
        """Close; what the client does not fetch soon is thrown away."""
        transport = self._writer.transport
        pending = transport.get_write_buffer_size()
        if not transport.is_closing():  # closed twice, a transport of TLS can no more be aborted
            transport.close()
        if pending:
            self.loop.call_later(_LINGER_SECONDS, transport.abort)

    def dismiss(self) -> None:
        """Send the client away if it waits between two mails."""
        if self._waiting and self.between_mails and not self._writer.is_closing():
            if not self._shaking_hands:
                self._writer.write(SHUTTING_DOWN.encode() + b"\r\n")
            self._writer.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()
