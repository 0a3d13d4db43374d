"""One mail on one connection: MAIL, RCPT and DATA (RFC 5321 section 3.3), in one go or step by step.

Addresses go exactly as given. Nothing is raised for what a smarthost does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from relay.dispatch.connection import GO_ON, Command, Connection, printable
from relay.dispatch.envelope import Copy, Reply, Sign, Target, Verdict
from relay.dispatch.loading import Converter, Load, headers, load
from relay.dispatch.opening import Unusable

GROUP = 100
"""Commands that go in one write where PIPELINING is offered (RFC 2920): few enough that neither side has to read
before the other can go on."""

NO_UTF8 = "The smarthost does not take internationalised mail"

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_DATA = Command("data", b"DATA\r\n")


class Source(Protocol):
    """Where connections come from and go back to."""

    async def take(self, patience: float | None) -> Connection:
        """A connection that is ready; waits ``patience`` seconds for a free one, None for ever. Raises Unusable."""

    def give(self, connection: Connection) -> None:
        """Take a connection back, whatever became of it."""


async def deliver(source: Source, copy: Copy, to_seven_bit: Converter) -> list[Verdict]:
    """Hand over one copy in one transaction; a verdict for each recipient, in their order. A connection that its host
    has left since its last mail is replaced, which is safe: the host has not seen this mail."""
    while True:
        try:
            connection = await source.take(None)
        except Unusable as trouble:
            return _verdicts(copy.targets, trouble.reply)
        try:
            verdicts = await _send(connection, copy, to_seven_bit)
        finally:
            source.give(connection)
        if not connection.stale:
            return verdicts


async def begin(
    source: Source,
    patience: float | None,
    mail_from: str,
    options: Mapping[str, str | None],
    size: int | None,
    to_seven_bit: Converter,
) -> Transaction:
    """Say MAIL for a mail of which only the envelope is known yet; a refusal is the transaction's ``mail``."""
    while True:
        try:
            connection = await source.take(patience)
        except Unusable as trouble:
            return Transaction(source, None, trouble.reply, options, to_seven_bit)
        offers = connection.offers
        asked = "SMTPUTF8" in options or not mail_from.isascii()
        command = _mail(mail_from, options, offers, size, eight_bit=True, utf8=asked)
        try:
            mail = _unsayable(command, asked and "smtputf8" in offers) or (await connection.ask([command]))[0]
        except BaseException:
            source.give(connection)
            raise
        transaction = Transaction(source, connection, mail, options, to_seven_bit, asked and "smtputf8" in offers)
        if not mail.good:
            await transaction.abandon()
        if not connection.stale:
            return transaction


class Transaction:
    """A mail that is handed over step by step, a Reply to each. ``mail`` is the one to MAIL, ``offers`` are the
    extensions that the smarthost offers, in lower case. Whoever began it ends it, by ``data`` or ``abandon``."""

    def __init__(
        self,
        source: Source,
        connection: Connection | None,
        mail: Reply,
        options: Mapping[str, str | None],
        to_seven_bit: Converter,
        utf8: bool = False,
    ) -> None:
        self.mail = mail
        self.offers = frozenset(connection.offers if connection is not None else ())
        self._source = source
        self._connection = connection
        self._options = options
        self._to_seven_bit = to_seven_bit
        self._utf8 = utf8
        self._taken = 0

    async def recipient(self, target: Target) -> Reply:
        """Say RCPT."""
        connection = self._connection
        if connection is None:
            return self._over("rcpt")
        command = _rcpt(target, connection.offers)
        reply = _unsayable(command, self._utf8) or (await connection.ask([command]))[0]
        self._taken += reply.good
        return reply

    async def data(self, content: bytes, original: bytes | None = None, sign: Sign | None = None) -> Reply:
        """Say DATA and send the content, or ``original`` where that is over the smarthost's SIZE and the original is
        not, signed where ``sign`` can: one Reply for all recipients that were taken. The transaction ends with it."""
        try:
            return await self._data(content, original, sign)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """End the transaction where it stands, and give its connection back. Safe at any time, also again, and while
        another task waits in one of the steps, which then hears that the connection is closed."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if connection.busy:
                connection.abort()
            else:
                await connection.reset()
        finally:
            self._source.give(connection)

    async def _data(self, content: bytes, original: bytes | None, sign: Sign | None) -> Reply:
        connection = self._connection
        if connection is None:
            return self._over("data")
        if not self._taken:
            return Reply(554, "5.5.1", "No recipient was taken", "data")
        if not self._utf8 and "SMTPUTF8" in self._options and not headers(content).isascii():
            return Reply(554, "5.6.7", NO_UTF8, "data")
        found = await load(content, original, connection.offers, self._to_seven_bit, sign)
        if isinstance(found, Reply):
            return found
        if self._connection is not connection:
            return self._over("data")  # abandoned meanwhile
        (data,) = await connection.ask([_DATA])
        reply = await _hand_over(connection, data, found)
        return connection.garbled or reply

    def _over(self, stage: str) -> Reply:
        return self.mail if not self.mail.good else Reply(503, "5.5.1", "No mail is under way", stage)


async def _send(connection: Connection, copy: Copy, to_seven_bit: Converter) -> list[Verdict]:
    """Deliver a copy on a connection; who cannot be named to the host is refused here, the rest go on."""
    offers = connection.offers
    found = await load(copy.content, copy.original, offers, to_seven_bit, copy.sign)
    if isinstance(found, Reply):
        return _verdicts(copy.targets, found)
    takes_utf8 = "smtputf8" in offers
    rcpts = [_rcpt(target, offers) for target in copy.targets]
    headers_need_utf8 = "SMTPUTF8" in copy.options and not headers(found.octets).isascii()
    utf8 = headers_need_utf8 or not copy.mail_from.isascii() or any(not rcpt.line.isascii() for rcpt in rcpts)
    eight_bit = not found.octets.isascii()
    mail = _mail(copy.mail_from, copy.options, offers, len(found.octets), eight_bit=eight_bit, utf8=utf8)
    if headers_need_utf8 and not takes_utf8:
        return _verdicts(copy.targets, Reply(554, "5.6.7", NO_UTF8, "mail"))
    if (refused := _unsayable(mail, takes_utf8, 554)) is not None:
        return _verdicts(copy.targets, refused)
    fates = [_unsayable(rcpt, takes_utf8, 554) for rcpt in rcpts]
    said = [rcpt for rcpt, fate in zip(rcpts, fates, strict=True) if fate is None]
    heard = iter(await _transact(connection, mail, said, found) if said else ())
    dsn = "dsn" in offers
    return [_verdict(target, fate or next(heard), dsn) for target, fate in zip(copy.targets, fates, strict=True)]


async def _transact(connection: Connection, mail: Command, rcpts: Sequence[Command], found: Load) -> list[Reply]:
    """The whole transaction, pipelined where the host offers it; a Reply for each recipient."""
    heard: list[Reply] = []
    for group in _groups([mail, *rcpts, _DATA], GROUP if "pipelining" in connection.offers else 1):
        if heard and not (heard[0].good and (group[0] is not _DATA or any(reply.good for reply in heard[1:]))):
            break
        heard += await connection.ask(group)
    taken = heard[0].good and any(reply.good for reply in heard[1 : len(rcpts) + 1])
    data = heard[-1]
    if taken:
        final = await _hand_over(connection, data, found)
        fates = [final if reply.good else reply for reply in heard[1:-1]]
    else:
        if data.code == GO_ON:
            connection.abort()  # it waits for the content, which is meant for nobody
        await connection.reset()
        fates = [heard[0]] * len(rcpts) if not heard[0].good else heard[1 : len(rcpts) + 1]
    return [connection.garbled] * len(rcpts) if connection.garbled is not None else fates


async def _hand_over(connection: Connection, data: Reply, found: Load) -> Reply:
    """The last word on a mail of which recipients were taken: the host's to DATA, or to the content."""
    if data.code == GO_ON:
        return found.noted(await connection.upload(found.octets))
    await connection.reset()
    return data


def _groups(commands: Sequence[Command], size: int) -> Iterator[Sequence[Command]]:
    return (commands[start : start + size] for start in range(0, len(commands), size))


def _mail(
    mail_from: str,
    options: Mapping[str, str | None],
    offers: Mapping[str, str],
    size: int | None,
    *,
    eight_bit: bool,
    utf8: bool,
) -> Command:
    """MAIL with the parameters that the host offers to understand."""
    words = [b"MAIL FROM:<%s>" % _octets(mail_from)]
    if size is not None and "size" in offers:
        words.append(b"SIZE=%d" % size)
    if eight_bit and "8bitmime" in offers:
        words.append(b"BODY=8BITMIME")
    if utf8 and "smtputf8" in offers:
        words.append(b"SMTPUTF8")
    if "dsn" in offers:
        words += _words(options, ("RET", "ENVID"))
    return Command("mail", b" ".join(words) + b"\r\n")


def _rcpt(target: Target, offers: Mapping[str, str]) -> Command:
    words = [b"RCPT TO:<%s>" % _octets(target.address)]
    if "dsn" in offers:
        words += _words(target.options, ("NOTIFY", "ORCPT"))
    return Command("rcpt", b" ".join(words) + b"\r\n")


def _words(options: Mapping[str, str | None], names: Sequence[str]) -> list[bytes]:
    return [b"%s=%s" % (name.encode(), _octets(value)) for name in names if (value := options.get(name))]


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _unsayable(command: Command, utf8: bool, code: int = 553) -> Reply | None:
    """Why a command cannot be said, if so: it would be two, or it is not ASCII and the host does not take that (RFC
    6531 section 3.5)."""
    if _CONTROL.search(command.line, 0, len(command.line) - 2):
        return Reply(code, "5.1.3", "An address with control characters cannot be handed on", command.stage)
    if not utf8 and not command.line.isascii():
        return Reply(code, "5.6.7", NO_UTF8, command.stage)
    return None


def _verdict(target: Target, reply: Reply, dsn: bool) -> Verdict:
    text = printable(reply.line)
    return Verdict(target.ordinal, target.address, reply.code, reply.enhanced, text, reply.stage, reply.host_wide, dsn)


def _verdicts(targets: Sequence[Target], reply: Reply) -> list[Verdict]:
    return [_verdict(target, reply, False) for target in targets]
