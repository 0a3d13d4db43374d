"""The smarthost client: pooled connections on aiosmtplib, octets exactly as given, a verdict for each recipient.

aiosmtplib connects, speaks TLS and authenticates; MAIL, RCPT and DATA are spoken here, because its own commands alter
odd addresses and line ends, and hide partial refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import aiosmtplib
import structlog
from aiosmtplib import SMTP, SMTPResponse

from relay.dispatch.envelope import Copy, Target, Verdict

if TYPE_CHECKING:
    from relay.config import SmarthostConfig as Settings

log = structlog.get_logger()

IDLE_SECONDS = 60.0
"""How long a connection is kept for the next mail."""

_NONSENSE = "The smarthost gave an answer that makes no sense"
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_NOT_TEXT = re.compile(r"[^ -~]+")
_TROUBLE = (aiosmtplib.SMTPException, OSError, EOFError, ValueError, TimeoutError)


@dataclass(slots=True)
class _Connection:
    client: SMTP
    idle_since: float
    used: bool = False


class _Refused(Exception):
    """The smarthost said no, or nothing: for every recipient of the copy."""

    def __init__(self, stage: str, code: int, text: str, enhanced: str | None = None) -> None:
        super().__init__(f"{stage}: {code} {text}")
        found = _ENHANCED.match(text)
        self.stage = stage
        self.code = code if code // 100 in (2, 4, 5) else 451
        self.text = text[found.end() :] if found else text
        detail = enhanced or (found[1] if found else "0.0.0")
        self.enhanced = f"{self.code // 100}{detail[1:]}"  # whatever the host says, both codes are of one class


class Smarthost:
    """One smarthost and the connections to it, at most ``settings.max_connections``. Safe for many tasks at once."""

    def __init__(self, settings: Settings, hostname: str) -> None:
        self._settings = settings
        self._hostname = hostname
        self._slots = asyncio.Semaphore(settings.max_connections)
        self._idle: list[_Connection] = []

    async def deliver(self, copy: Copy) -> Sequence[Verdict]:
        """Hand one copy over in one transaction; a verdict for each recipient. Never raises for what the host does."""
        async with self._slots:
            try:
                return await self._transaction(copy)
            except _Refused as refused:
                return _for_all(copy.targets, refused)

    async def probe(self) -> str | None:
        """Connect as for a mail and go again; what is wrong in a sentence, None where nothing is."""
        try:
            connection = await self._connect()
        except _Refused as refused:
            return refused.text
        self._idle.append(connection)
        await self.close()
        return None

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        idle, self._idle = self._idle, []
        for connection in idle:
            # The answer to QUIT changes nothing, so nobody waits for it.
            with contextlib.suppress(*_TROUBLE):
                if connection.client.protocol is not None:
                    connection.client.protocol.write(b"QUIT\r\n")
            connection.client.close()

    async def _transaction(self, copy: Copy) -> Sequence[Verdict]:
        connection, response = await self._mail(copy)
        try:
            verdicts = await self._recipients_and_data(connection.client, copy, response)
        except BaseException:
            connection.client.close()
            raise
        if connection.client.is_connected:
            connection.used, connection.idle_since = True, asyncio.get_running_loop().time()
            self._idle.append(connection)
        return verdicts

    async def _mail(self, copy: Copy) -> tuple[_Connection, SMTPResponse]:
        """A connection on which MAIL was answered. One that the host has meanwhile closed is replaced, which is safe:
        it has not seen this mail yet."""
        while True:
            connection = self._reuse() or await self._connect()
            try:
                return connection, await self._say(connection.client, "mail", *self._mail_command(connection, copy))
            except _Refused as refused:
                connection.client.close()
                if refused.code == 421 and connection.used:
                    continue
                raise
            except BaseException:
                connection.client.close()
                raise

    def _reuse(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.client.is_connected and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.client.close()
        return None

    async def _connect(self) -> _Connection:
        """A fresh connection. Opportunistic TLS that fails is done without, as Postfix's ``may`` does."""
        tls = self._settings.tls
        try:
            return await self._open(tls)
        except _Refused as refused:
            if tls != "opportunistic" or refused.stage != "starttls":
                raise
            return await self._open("none")

    async def _open(self, tls: str) -> _Connection:
        """A connection, greeted, secured and authenticated. A refusal at these stages is our trouble, not the
        mail's, so it is temporary whatever its code."""
        settings = self._settings
        client, stage = self._client(tls), "connect"
        try:
            await client.connect(tls_context=self._context if tls == "implicit" else None)
            stage = "ehlo"
            await client.ehlo()
            if tls == "starttls" or (tls == "opportunistic" and client.supports_extension("starttls")):
                stage = "starttls"
                await client.starttls(tls_context=self._context)
                await client.ehlo()
            if settings.username is not None and settings.password is not None:
                stage = "auth"
                await client.login(settings.username, settings.password.get_secret_value())
        except _TROUBLE as error:
            client.close()
            log.warning("the smarthost cannot be used now", host=settings.host, stage=stage, error=_sentence(error))
            text = f"The smarthost cannot be used now ({stage}): {_sentence(error)}"
            raise _Refused(stage, 451, text, "4.4.1" if stage == "connect" else "4.3.5") from error
        except BaseException:
            client.close()
            raise
        return _Connection(client, 0.0)

    def _client(self, tls: str) -> SMTP:
        settings = self._settings
        return SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=self._hostname,
            timeout=settings.timeout,
            use_tls=tls == "implicit",
            start_tls=False,
        )

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._settings.ca_file)
        if self._settings.tls == "opportunistic":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _mail_command(self, connection: _Connection, copy: Copy) -> list[bytes]:
        client, options = connection.client, copy.options
        words = [b"MAIL", b"FROM:<%s>" % copy.mail_from.encode()]
        if client.supports_extension("size"):
            words.append(b"SIZE=%d" % len(copy.content))
        if not copy.content.isascii():
            # Leaves of such a mail that may be re-encoded are to be so here (RFC 6152 section 3).
            if not client.supports_extension("8bitmime"):
                raise _Refused("mail", 554, "The smarthost takes no 8-bit mail, and this mail is one", "5.6.3")
            words.append(b"BODY=8BITMIME")
        if _needs_smtputf8(copy):
            if not client.supports_extension("smtputf8"):
                raise _Refused("mail", 554, "The smarthost does not take internationalised mail", "5.6.7")
            words.append(b"SMTPUTF8")
        if client.supports_extension("dsn"):
            words += _words(options, ("RET", "ENVID"))
        return words

    async def _recipients_and_data(self, client: SMTP, copy: Copy, mail: SMTPResponse) -> Sequence[Verdict]:
        if not _good(mail):
            await self._reset(client)
            return _for_all(copy.targets, _refusal("mail", mail))
        refused: list[Verdict] = []
        undecided: list[Target] = []
        try:
            for target in copy.targets:
                reply = await self._say(client, "rcpt", *_rcpt_command(client, target))
                if _good(reply):
                    undecided.append(target)
                else:
                    refused.append(_verdict(target, _refusal("rcpt", reply)))
            if undecided:
                final = await self._data(client, copy)
                return [*refused, *_for_all(undecided, final)]
        except _Refused as trouble:
            # What was said about a recipient stands; of the others nothing is known.
            client.close()
            decided = {verdict.ordinal for verdict in refused}
            return [*refused, *_for_all([each for each in copy.targets if each.ordinal not in decided], trouble)]
        await self._reset(client)
        return refused

    async def _data(self, client: SMTP, copy: Copy) -> _Refused:
        """The reply to the data, whatever it is."""
        response = await self._say(client, "data", b"DATA")
        if 400 <= response.code < 600:
            await self._reset(client)
            return _refusal("data", response)
        protocol = client.protocol
        if response.code != 354 or protocol is None or _spoke_unasked(client):
            raise _Refused("data", 451, _NONSENSE, "4.5.0")
        try:
            protocol.write(_stuffed(copy.content))
            response = await protocol.read_response(timeout=self._settings.timeout)
        except _TROUBLE as error:
            # It may have been taken: whoever tries again may deliver a second time, so say it.
            log.warning("no answer after the data; the mail may arrive twice", host=self._settings.host)
            raise _Refused("after", 451, f"The smarthost did not answer: {_sentence(error)}", "4.4.2") from error
        early = _unsent(client) > 0
        if early:
            client.close()  # whatever it says to the rest would be taken for the answer to the next command
        if response.code // 100 not in (2, 4, 5) or (early and _good(response)):
            client.close()
            return _Refused("after", 451, _NONSENSE, "4.5.0")
        return _refusal("after", response)

    async def _reset(self, client: SMTP) -> None:
        """Make ready for the next mail; a host that does not go along loses the connection, no more."""
        try:
            good = _good(await self._say(client, "rset", b"RSET"))
        except _Refused:
            good = False
        if not good:
            client.close()

    async def _say(self, client: SMTP, stage: str, *words: bytes) -> SMTPResponse:
        if _spoke_unasked(client):
            raise _Refused(stage, 421, _NONSENSE, "4.5.0")
        try:
            response = await client.execute_command(*words, timeout=self._settings.timeout)
        except _TROUBLE as error:
            code = 421 if isinstance(error, aiosmtplib.SMTPServerDisconnected | ConnectionError) else 451
            raise _Refused(stage, code, f"The smarthost did not answer: {_sentence(error)}", "4.4.2") from error
        if response.code == 421 or not 200 <= response.code < 600:
            text = response.message if response.code == 421 else _NONSENSE
            raise _Refused(stage, 421 if response.code == 421 else 451, " ".join(text.split()))
        return response


def _spoke_unasked(client: SMTP) -> bool:
    """Whether octets wait behind the last reply: aiosmtplib would take them for the next one, and a refusal of one
    recipient for the consent of another."""
    return client.protocol is not None and bool(client.protocol._buffer)


def _unsent(client: SMTP) -> int:
    """Octets that the host has not taken yet."""
    if client.protocol is None or client.protocol.transport is None:
        return 0
    return cast(asyncio.WriteTransport, client.protocol.transport).get_write_buffer_size()


def _rcpt_command(client: SMTP, target: Target) -> list[bytes]:
    words = [b"RCPT", b"TO:<%s>" % target.address.encode()]
    return words + _words(target.options, ("NOTIFY", "ORCPT")) if client.supports_extension("dsn") else words


def _needs_smtputf8(copy: Copy) -> bool:
    """Whether an address needs SMTPUTF8 (RFC 6531), or a header does and its sender said so."""
    if not copy.mail_from.isascii() or any(not target.address.isascii() for target in copy.targets):
        return True
    return "SMTPUTF8" in copy.options and not copy.content.partition(b"\r\n\r\n")[0].isascii()


def _words(options: Mapping[str, str | None], names: Sequence[str]) -> list[bytes]:
    return [f"{name}={options[name]}".encode() for name in names if options.get(name)]


def _stuffed(content: bytes) -> bytes:
    """The content as DATA wants it: dots at line starts doubled, the final dot behind it."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if not stuffed or stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def _good(response: SMTPResponse) -> bool:
    return 200 <= response.code < 300


def _refusal(stage: str, response: SMTPResponse) -> _Refused:
    return _Refused(stage, response.code, " ".join(response.message.split()))


def _verdict(target: Target, reply: _Refused) -> Verdict:
    text = _NOT_TEXT.sub(" ", reply.text).strip()[:400]
    return Verdict(target.ordinal, target.address, reply.code, reply.enhanced, text, reply.stage)


def _for_all(targets: Sequence[Target], refused: _Refused) -> list[Verdict]:
    return [_verdict(target, refused) for target in targets]


def _sentence(error: BaseException) -> str:
    return _NOT_TEXT.sub(" ", str(error) or type(error).__name__)[:200]
