"""The smarthost client: pooled connections on aiosmtplib, octets exactly as given, a verdict for each recipient.

aiosmtplib connects, speaks TLS and authenticates; MAIL, RCPT and DATA are spoken here, because its own commands alter
odd addresses and line ends, and hide partial refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosmtplib
import structlog
from aiosmtplib import SMTP, SMTPResponse

from relay.dispatch.envelope import Copy, Target, Verdict

if TYPE_CHECKING:
    from relay.config import SmarthostConfig as Settings

log = structlog.get_logger()

IDLE_SECONDS = 60.0
"""How long a connection is kept for the next mail."""

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
        self.code = code
        self.text = text[found.end() :] if found else text
        self.enhanced = enhanced or (found[1] if found else f"{code // 100}.0.0")


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
        """A fresh connection, greeted, secured and authenticated. A refusal at these stages is our trouble, not the
        mail's, so it is temporary whatever its code."""
        settings = self._settings
        client = SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=self._hostname,
            timeout=settings.timeout,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=self._context() if settings.tls in ("implicit", "starttls") else None,
        )
        stage = "connect"
        try:
            await client.connect()
            stage = "ehlo"
            await client.ehlo()
            if settings.tls == "starttls" or (
                settings.tls == "opportunistic" and client.supports_extension("starttls")
            ):
                stage = "starttls"
                await client.starttls(tls_context=self._context())
                await client.ehlo()
            if settings.username is not None and settings.password is not None:
                stage = "auth"
                await client.login(settings.username, settings.password.get_secret_value())
        except _TROUBLE as error:
            client.close()
            log.warning("the smarthost cannot be used now", host=settings.host, stage=stage, error=_sentence(error))
            text = f"The smarthost cannot be used now ({stage}): {_sentence(error)}"
            raise _Refused(stage, 451, text, "4.4.1" if stage == "connect" else "4.3.5") from error
        return _Connection(client, 0.0)

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
        if not copy.content.isascii() and client.supports_extension("8bitmime"):
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
        refused: dict[int, Verdict] = {}
        for target in copy.targets:
            words = [b"RCPT", b"TO:<%s>" % target.address.encode()]
            if client.supports_extension("dsn"):
                words += _words(target.options, ("NOTIFY", "ORCPT"))
            response = await self._say(client, "rcpt", *words)
            if not _good(response):
                refused[target.ordinal] = _verdict(target, _refusal("rcpt", response))
        taken = [target for target in copy.targets if target.ordinal not in refused]
        if not taken:
            await self._reset(client)
            return list(refused.values())
        final = await self._data(client, copy)
        return [*refused.values(), *(_verdict(target, final) for target in taken)]

    async def _data(self, client: SMTP, copy: Copy) -> _Refused:
        """The reply to the data, whatever it is."""
        response = await self._say(client, "data", b"DATA")
        if response.code != 354:
            if _good(response) or response.code == 354:
                raise _Refused("data", 451, "The smarthost gave an answer that makes no sense", "4.5.0")
            await self._reset(client)
            return _refusal("data", response)
        protocol = client.protocol
        assert protocol is not None
        try:
            protocol.write(_stuffed(copy.content))
            response = await protocol.read_response(timeout=self._settings.timeout)
        except _TROUBLE as error:
            # It may have been taken: whoever tries again may deliver a second time, so say it.
            log.warning("no answer after the data; the mail may arrive twice", host=self._settings.host)
            raise _Refused("after", 451, f"The smarthost did not answer: {_sentence(error)}", "4.4.2") from error
        return _refusal("after", response)

    async def _reset(self, client: SMTP) -> None:
        await self._say(client, "rset", b"RSET")

    async def _say(self, client: SMTP, stage: str, *words: bytes) -> SMTPResponse:
        try:
            response = await client.execute_command(*words, timeout=self._settings.timeout)
        except _TROUBLE as error:
            code = 421 if isinstance(error, aiosmtplib.SMTPServerDisconnected | ConnectionError) else 451
            raise _Refused(stage, code, f"The smarthost did not answer: {_sentence(error)}", "4.4.2") from error
        if response.code == 421 or not 200 <= response.code < 600:
            text = response.message if response.code == 421 else "The smarthost gave an answer that makes no sense"
            raise _Refused(stage, 421 if response.code == 421 else 451, text)
        return response


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
    code = reply.code if 200 <= reply.code < 300 or 400 <= reply.code < 600 else 451
    return Verdict(target.ordinal, target.address, code, reply.enhanced, text, reply.stage)


def _for_all(targets: Sequence[Target], refused: _Refused) -> list[Verdict]:
    return [_verdict(target, refused) for target in targets]


def _sentence(error: BaseException) -> str:
    return _NOT_TEXT.sub(" ", str(error) or type(error).__name__)[:200]
