"""The SMTP server and its side of the dialogue, from the greeting to the reply to a mail (RFC 5321)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from relay.reception import dialogue
from relay.reception.connection import SHUTTING_DOWN, Connection, Goodbye
from relay.reception.data import DataReader, normalize_newlines, normalized_size
from relay.reception.replies import SmtpError, bad_syntax, local_trouble, one_line
from relay.reception.submission import Accept, Submission

if TYPE_CHECKING:
    from relay.config import RelayConfig

log = structlog.get_logger()

__all__ = ["Session", "SmtpServer", "Submission"]

_DRAIN_SECONDS = 30.0


class SmtpServer:
    """Listens on every address of ``config.listen`` and hands each mail to ``accept``."""

    def __init__(self, config: RelayConfig, hostname: str, accept: Accept) -> None:
        self.config = config
        self.hostname = hostname
        self.accept = accept
        self.sessions: set[Connection] = set()
        self.memory = 0
        self.stopping = False
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen. Raises OSError where an address cannot be had."""
        loop = asyncio.get_running_loop()
        for host, port in self.config.listen:
            server = await loop.create_server(lambda: Session(self, loop), host, port, backlog=1024)
            self._servers.append(server)

    @property
    def listening(self) -> bool:
        """Whether new clients are taken."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, ports resolved."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    async def stop(self) -> None:
        """Take no more clients, send idle ones away, let what is in flight finish for 30 seconds."""
        self.stopping = True
        for server in self._servers:
            server.close()
        for session in list(self.sessions):
            session.dismiss()
        tasks = [session.task for session in self.sessions if session.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_SECONDS)
        for session in list(self.sessions):
            session.abort()
        self._servers.clear()

    def refusal(self, peer: str) -> str | None:
        """Why a client from this address is not taken now, None if it is."""
        limits = self.config.limits
        if self.stopping:
            return SHUTTING_DOWN
        if len(self.sessions) > limits.connections:
            return "421 4.7.0 Too many connections; please come back later"
        if sum(session.peer == peer for session in self.sessions) > limits.connections_per_address:
            return "421 4.7.0 Too many connections from your address; please come back later"
        return None


class Session(Connection):
    """One client's dialogue."""

    def __init__(self, server: SmtpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop)
        self.server: SmtpServer = server
        self._progress = False
        self._idle_commands = 0
        self._helo: str | None = None
        self._esmtp = False
        self._reset()

    @property
    def trusted(self) -> bool:
        """Whether this client may relay, and its bare newlines are made good."""
        return _within(self.peer, self.server.config.allow_networks)

    @property
    def between_mails(self) -> bool:
        """No mail is under way."""
        return self._mail_from is None

    async def _turn(self, line: bytes | None) -> None:
        """Answer one command."""
        try:
            reply = await self._answer(line)
        except SmtpError as error:
            if error.cause is not None:
                log.warning("refused", peer=self.peer, reply=error.reply, cause=repr(error.cause))
            reply = error.reply
        except Goodbye:
            raise
        except Exception as error:
            reply = await self.handle_exception(error)
        self._count()
        await self._say(reply)

    async def handle_exception(self, error: Exception) -> str:
        """Whatever we did not foresee is our trouble, and passes."""
        log.error("a command failed", peer=self.peer, exc_info=error)
        return local_trouble(error).reply

    async def _answer(self, line: bytes | None) -> str:
        if line is None:
            raise SmtpError(500, "5.5.2", "This line is too long")
        verb, argument = _split(line)
        handler = self._VERBS.get(verb)
        if handler is None:
            raise SmtpError(500, "5.5.1", "This command is not known here")
        return await handler(self, argument)

    def _count(self) -> None:
        """Count a command that brought no mail nearer: all but MAIL, RCPT and DATA that were taken."""
        taken, self._progress = self._progress, False
        if not taken:
            self._idle_commands += 1
        if self._idle_commands > self.server.config.limits.commands:
            raise Goodbye("421 4.7.0 Too many commands without a mail; please come back later")

    def _reset(self) -> None:
        self._mail_from: str | None = None
        self._mail_options: dict[str, str | None] = {}
        self._rcpt_tos: list[str] = []
        self._rcpt_options: list[dict[str, str | None]] = []
        self._deadline = None

    # -- the verbs ---------------------------------------------------------------------------------------------------

    async def _helo_verb(self, argument: str | None) -> str:
        self._greet(argument, esmtp=False)
        return f"250 {self.server.hostname}"

    async def _ehlo_verb(self, argument: str | None) -> str:
        self._greet(argument, esmtp=True)
        offers = [
            self.server.hostname,
            f"SIZE {self.server.config.max_message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "DSN",
        ]
        return "".join(f"250-{offer}\r\n" for offer in offers[:-1]) + f"250 {offers[-1]}"

    def _greet(self, argument: str | None, esmtp: bool) -> None:
        if not argument or not argument.strip():
            raise bad_syntax(f"Syntax: {'EHLO' if esmtp else 'HELO'} hostname")
        self._helo = one_line(argument)[:255].split()[0] if one_line(argument) else "unknown"
        self._esmtp = esmtp
        self._reset()

    async def _mail_verb(self, argument: str | None) -> str:
        if self._helo is None:
            raise SmtpError(503, "5.5.1", "Say EHLO first")
        if self._mail_from is not None:
            raise SmtpError(503, "5.5.1", "There is a mail under way already")
        path = dialogue.reverse_path(argument)
        if int(path.parameters.get("SIZE") or 0) > self.server.config.max_message_size:
            raise too_large(self.server.config.max_message_size)
        if not path.address.isascii() and "SMTPUTF8" not in path.parameters:
            raise SmtpError(550, "5.6.7", "This address needs SMTPUTF8")
        self._mail_from, self._mail_options = path.address, dict(path.parameters)
        self._deadline = self.loop.time() + self.server.config.limits.transaction
        self._progress = True
        return "250 2.1.0 Ok"

    async def _rcpt_verb(self, argument: str | None) -> str:
        if self._mail_from is None:
            raise SmtpError(503, "5.5.1", "Say MAIL first")
        path = dialogue.forward_path(argument)
        if not self.trusted:
            raise SmtpError(530, "5.7.0", "Authentication is required to send mail here")
        if not path.address.isascii() and "SMTPUTF8" not in self._mail_options:
            raise SmtpError(553, "5.6.7", "This address needs SMTPUTF8")
        if len(self._rcpt_tos) >= self.server.config.max_recipients:
            raise SmtpError(452, "4.5.3", "Too many recipients; send the others in another mail")
        self._rcpt_tos.append(path.address)
        self._rcpt_options.append(dict(path.parameters))
        self._progress = True
        return "250 2.1.5 Ok"

    async def _data_verb(self, argument: str | None) -> str:
        if argument:
            raise bad_syntax("Syntax: DATA")
        if not self._rcpt_tos:
            raise SmtpError(503, "5.5.1", "Say RCPT first" if self._mail_from is not None else "Say MAIL first")
        await self._say("354 End data with <CR><LF>.<CR><LF>")
        held = 0
        try:
            content, held = await self._read_data()
            submission = self._submission(content)
            del content
            queued = await self.server.accept(submission)
        finally:
            self.server.memory -= held
            self._reset()
        self._idle_commands, self._progress = 0, True
        return f"250 2.0.0 Ok: queued as {queued}"

    async def _read_data(self) -> tuple[bytes, int]:
        """The mail, and the octets that it holds of the memory of all sessions."""
        reader = DataReader(self.server.config.max_message_size)
        self.server.memory += reader.held
        try:
            crowded = await self._feed(reader)
            if crowded:
                raise SmtpError(452, "4.3.1", "Too much mail is under way here; please try again later")
            if reader.too_large:
                raise too_large(self.server.config.max_message_size)
            return self._clean(reader.content()), reader.held
        except BaseException:
            self.server.memory -= reader.held
            raise

    async def _feed(self, reader: DataReader) -> bool:
        """Read on to the end of the data; True where the memory of all sessions did not suffice to keep it."""
        crowded, done = False, False
        while not done:
            chunk = await self._wait(self._incoming.chunk())
            before = reader.held
            try:
                done = reader.feed(chunk)
            except Exception as error:
                # The client is in the midst of its data: nothing that it sends may be read as commands.
                log.error("data cannot be read", peer=self.peer, exc_info=error)
                raise Goodbye("421 4.3.0 Something failed here; please try again later") from error
            finally:
                self.server.memory += reader.held - before
            if self.server.memory > self.server.config.limits.memory and not reader.too_large:
                crowded, before = True, reader.held
                reader.discard()
                self.server.memory += reader.held - before
        self._incoming.give_back(reader.rest)
        return crowded

    def _clean(self, content: bytes) -> bytes:
        size = normalized_size(content)
        if size is None:
            return content
        if self.server.config.bare_newlines == "reject" or not self.trusted:
            raise SmtpError(550, "5.6.11", "This mail holds a bare CR or LF; lines must end in CR LF")
        if size > self.server.config.max_message_size:
            raise too_large(self.server.config.max_message_size)
        return normalize_newlines(content)

    def _submission(self, content: bytes) -> Submission:
        return Submission(
            peer=self.peer,
            helo=self._helo or "",
            esmtp=self._esmtp,
            tls=False,
            user=None,
            trusted=self.trusted,
            mail_from=self._mail_from or "",
            rcpt_tos=tuple(self._rcpt_tos),
            mail_options=self._mail_options,
            rcpt_options=tuple(self._rcpt_options),
            content=content,
        )

    async def _rset_verb(self, argument: str | None) -> str:
        self._reset()
        return "250 2.0.0 Ok"

    async def _noop_verb(self, argument: str | None) -> str:
        return "250 2.0.0 Ok"

    async def _vrfy_verb(self, argument: str | None) -> str:
        return "252 2.5.0 Send the mail and see"

    async def _help_verb(self, argument: str | None) -> str:
        return "214 2.0.0 See RFC 5321"

    async def _expn_verb(self, argument: str | None) -> str:
        raise SmtpError(502, "5.5.1", "There are no lists here")

    async def _quit_verb(self, argument: str | None) -> str:
        raise Goodbye("221 2.0.0 Bye")

    _VERBS: dict[str, Callable[[Any, str | None], Awaitable[str]]] = {  # noqa: RUF012
        "HELO": _helo_verb,
        "EHLO": _ehlo_verb,
        "MAIL": _mail_verb,
        "RCPT": _rcpt_verb,
        "DATA": _data_verb,
        "RSET": _rset_verb,
        "NOOP": _noop_verb,
        "VRFY": _vrfy_verb,
        "HELP": _help_verb,
        "EXPN": _expn_verb,
        "QUIT": _quit_verb,
    }


def too_large(limit: int) -> SmtpError:
    """The mail is over the limit."""
    return SmtpError(552, "5.3.4", f"This mail is too large; the limit is {limit} octets")


def _split(line: bytes) -> tuple[str, str | None]:
    """Verb and argument of a command line. Raises SmtpError for one that cannot be read."""
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise SmtpError(500, "5.5.2", "A bare CR, LF or NUL has no place in a command")
    verb, _, argument = line.partition(b" ")
    try:
        return verb.decode("ascii").upper(), argument.decode("utf-8").strip(" \t") or None
    except UnicodeDecodeError:
        raise SmtpError(500, "5.5.2", "This line is neither ASCII nor UTF-8") from None


def _within(address: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return any(mapped in network for network in networks)
