"""The part of a session that carries mail, from MAIL to the reply to its data (RFC 5321)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, ClassVar

import structlog

from relay.reception import dialogue
from relay.reception.auth import authors
from relay.reception.connection import Goodbye
from relay.reception.data import DataReader, normalize_newlines, normalized_size
from relay.reception.handshake import Handshake, Verb
from relay.reception.replies import SmtpError, bad_syntax, consent, local_trouble
from relay.reception.submission import Client, Submission

if TYPE_CHECKING:
    from relay.reception.smtpd import SmtpServer

log = structlog.get_logger()

LONGEST_COMMAND = 4096
"""Octets of a command line but AUTH; RFC 5321 asks for 512, extensions for up to some 1,500."""

MOST_RETURNING = 5
"""Bounce addresses of one mail: a bounce has one, and anyone may write to it."""


class Session(Handshake):
    """One client's dialogue."""

    def __init__(self, server: SmtpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop)
        self._begun = False
        self._progress = False
        self._idle_commands = 0
        self._forget()

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
            # Whatever a counterpart makes of a refusal, it is none where it would read as a consent.
            reply = error.reply if 400 <= error.code <= 599 else local_trouble(error).reply
        except Goodbye:
            raise
        except Exception as error:
            reply = await self.handle_exception(error)
        if reply.startswith("421"):
            raise Goodbye(reply)
        self._count()
        if reply:
            await self._say(reply)

    async def handle_exception(self, error: Exception) -> str:
        """Whatever we did not foresee is our trouble, and passes."""
        log.error("a command failed", peer=self.peer, exc_info=error)
        return local_trouble(error).reply

    async def _answer(self, line: bytes | None) -> str:
        if line is None:
            raise SmtpError(500, "5.5.2", "This line is too long")
        verb, argument = _split(line)
        if len(line) > LONGEST_COMMAND and verb != "AUTH":
            raise SmtpError(500, "5.5.2", "This line is too long")
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

    def _forget(self) -> None:
        self._mail_from: str | None = None
        self._mail_options: dict[str, str | None] = {}
        self._rcpt_tos: list[str] = []
        self._rcpt_options: list[dict[str, str | None]] = []
        self._returning = 0
        self._deadline = None

    async def _reset(self) -> None:
        """Forget the mail under way, here and behind the door."""
        under_way = self._mail_from is not None
        self._forget()
        if under_way:
            await self._quietly(self.counterpart.reset())

    def _begin(self) -> None:
        self.counterpart = self.server.counterpart()
        self._begun = True

    async def _end(self) -> None:
        if self._begun:
            await self._reset()
            await self._quietly(self.counterpart.leave())

    async def _quietly(self, farewell: Awaitable[None]) -> None:
        """What goes wrong where nothing is left to be decided is no client's trouble."""
        try:
            await farewell
        except Exception as error:
            log.error("a session was not cleared away", peer=self.peer, exc_info=error)

    # -- the verbs ---------------------------------------------------------------------------------------------------

    async def _mail_verb(self, argument: str | None) -> str:
        if self._helo is None:
            raise SmtpError(503, "5.5.1", "Say EHLO first")
        if self._mail_from is not None:
            raise SmtpError(503, "5.5.1", "There is a mail under way already")
        path = dialogue.reverse_path(argument)
        self._check_reverse_path(path)
        reply = consent(await self.counterpart.mail(self._client(), path))
        self._mail_from, self._mail_options = path.address, dict(path.parameters)
        self._deadline = self.loop.time() + self.server.config.limits.transaction
        self._progress = True
        return reply

    def _check_reverse_path(self, path: dialogue.Path) -> None:
        config, size = self.server.config, int(path.parameters.get("SIZE") or 0)
        if size > config.max_message_size:
            raise too_large(config.max_message_size)
        if not path.address.isascii() and "SMTPUTF8" not in path.parameters:
            raise SmtpError(550, "5.6.7", "This address needs SMTPUTF8")
        if path.address and self.account is not None and not self.account.may_use(path.address):
            raise SmtpError(553, "5.7.1", f"You may not send as {path.address}")
        if size + self.server.seat.spool > config.limits.spool:
            raise SmtpError(452, "4.3.1", "Too much mail is waiting here; please try again later")

    async def _rcpt_verb(self, argument: str | None) -> str:
        if self._mail_from is None:
            raise SmtpError(503, "5.5.1", "Say MAIL first")
        path = dialogue.forward_path(argument)
        returning = self.server.returns(path.address)
        if not (returning or self.trusted):
            raise SmtpError(530, "5.7.0", "Authentication is required to send mail here")
        if not path.address.isascii() and "SMTPUTF8" not in self._mail_options:
            raise SmtpError(553, "5.6.7", "This address needs SMTPUTF8")
        if len(self._rcpt_tos) >= self.server.config.max_recipients:
            raise SmtpError(452, "4.5.3", "Too many recipients; send the others in another mail")
        if returning and self._returning >= MOST_RETURNING:
            raise SmtpError(452, "4.5.3", "Too many bounce addresses; send to the others in another mail")
        reply = consent(await self.counterpart.recipient(path))
        self._rcpt_tos.append(path.address)
        self._rcpt_options.append(dict(path.parameters))
        self._returning += returning
        self._progress = True
        return reply

    async def _data_verb(self, argument: str | None) -> str:
        if argument:
            raise bad_syntax("Syntax: DATA")
        if not self._rcpt_tos:
            raise SmtpError(503, "5.5.1", "Say RCPT first" if self._mail_from is not None else "Say MAIL first")
        await self._say("354 End data with <CR><LF>.<CR><LF>")
        held = 0
        try:
            content, held = await self._read_data()
            self._check_authors(content)
            submission = self._submission(content)
            del content
            reply = consent(await self.counterpart.accept(submission))
        finally:
            self.server.seat.add_memory(-held)
            await self._reset()
        self._idle_commands, self._progress = 0, True
        return reply

    async def _read_data(self) -> tuple[bytes, int]:
        """The mail, and the octets that it holds of the memory of all sessions."""
        reader = DataReader(self.server.config.max_message_size)
        self.server.seat.add_memory(reader.held)
        try:
            crowded = await self._feed(reader)
            if crowded:
                raise SmtpError(452, "4.3.1", "Too much mail is under way here; please try again later")
            if reader.too_large:
                raise too_large(self.server.config.max_message_size)
            return self._clean(reader.content()), reader.held
        except BaseException:
            self.server.seat.add_memory(-reader.held)
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
                self.server.seat.add_memory(reader.held - before)
            if self.server.memory > self.server.config.limits.memory and not reader.too_large:
                crowded, before = True, reader.held
                reader.discard()
                self.server.seat.add_memory(reader.held - before)
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

    def _check_authors(self, content: bytes) -> None:
        if self.account is None or not self.account.senders or self._returning == len(self._rcpt_tos):
            return  # what comes back is written by whoever returns it
        for address in authors(content):
            if not self.account.may_use(address):
                raise SmtpError(550, "5.7.1", f"You may not send mail from {address or 'what its From says'}")

    def _client(self) -> Client:
        return Client(self.peer, self.account.name if self.account else None, self.tls, self._helo or "", self.trusted)

    def _submission(self, content: bytes) -> Submission:
        return Submission(
            peer=self.peer,
            helo=self._helo or "",
            esmtp=self._esmtp,
            tls=self.tls,
            user=self.account.name if self.account else None,
            trusted=self.trusted,
            mail_from=self._mail_from or "",
            rcpt_tos=tuple(self._rcpt_tos),
            mail_options=self._mail_options,
            rcpt_options=tuple(self._rcpt_options),
            content=content,
        )

    async def _rset_verb(self, argument: str | None) -> str:
        await self._reset()
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

    _VERBS: ClassVar[Mapping[str, Verb]] = {
        **Handshake.VERBS,
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
