"""Opening a connection to a smarthost: greeting, EHLO, TLS and AUTH, all by aiosmtplib; then it is taken over."""

from __future__ import annotations

import base64
import functools
import ipaddress
import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import aiosmtplib
import structlog
from aiosmtplib import SMTP

from relay.dispatch.channel import Answer, Channel, Nonsense, take_over
from relay.dispatch.connection import Connection, heard, printable
from relay.dispatch.envelope import Reply

if TYPE_CHECKING:
    from relay.config import SmarthostConfig as Settings

log = structlog.get_logger()

_TROUBLE = (aiosmtplib.SMTPException, OSError, EOFError, ValueError, TimeoutError, Nonsense)
_UNKNOWN_MECHANISM = {500, 501, 502, 503, 504, 534}
_CLEAR = Reply(538, "5.7.11", "A password goes to the smarthost only on verified TLS", "auth")


class Unusable(Exception):
    """There is no connection. ``reply`` says so in a mail's place: our trouble, not the mail's, so it is temporary.
    ``said`` is what was said to AUTH where that was the trouble."""

    def __init__(self, reply: Reply, said: Reply | None = None) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.said = said


@dataclass(frozen=True, slots=True)
class Credentials:
    """For AUTH; never shown."""

    username: str
    password: str = field(repr=False)

    def hidden(self, text: str) -> str:
        """A text of the host, which may have repeated what it was told."""
        plain = f"\0{self.username}\0{self.password}".encode()
        secrets = (self.password, _base64(plain), _base64(self.password.encode()))
        return "(its text repeats the password)" if any(secret in text for secret in secrets if secret) else text


class Opener:
    """Opens connections to one smarthost."""

    def __init__(self, settings: Settings, hostname: str) -> None:
        self._settings = settings
        self._hostname = hostname

    @functools.cached_property
    def configured(self) -> Credentials | None:
        """What the settings authenticate with."""
        username, password = self._settings.username, self._settings.password
        return Credentials(username, password.get_secret_value()) if username is not None and password else None

    async def open(self, credentials: Credentials | None) -> Connection:
        """A fresh connection. Opportunistic TLS that fails is done without, as Postfix's ``may`` does. Raises
        Unusable."""
        tls = self._settings.tls
        try:
            return await self._open(tls, credentials)
        except Unusable as trouble:
            if tls != "opportunistic" or trouble.reply.stage != "starttls":
                raise
            return await self._open("none", credentials)

    async def _open(self, tls: str, credentials: Credentials | None) -> Connection:
        client, stage = self._client(tls), "connect"
        try:
            await client.connect(tls_context=self._context if tls == "implicit" else None)
            stage = "ehlo"
            await client.ehlo()
            if tls == "starttls" or (tls == "opportunistic" and client.supports_extension("starttls")):
                stage = "starttls"
                await client.starttls(tls_context=self._context)
                await client.ehlo()
            _nothing_waits(client)
            if credentials is not None:
                stage = "auth"
                await _authenticate(client, credentials)
            return Connection(
                _taken(client), self._settings.host, dict(client.esmtp_extensions), self._settings.timeout
            )
        except _TROUBLE as error:
            client.close()
            raise self._unusable(stage, error, credentials) from error
        except BaseException:
            client.close()
            raise

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

    def _unusable(self, stage: str, error: Exception, credentials: Credentials | None) -> Unusable:
        reply, sentence = _said(stage, error), str(error)
        if reply is not None:
            sentence = f"{reply.code} {reply.enhanced} {reply.line}"
        if credentials is not None:
            sentence = credentials.hidden(sentence)
            reply = reply and replace(reply, text=credentials.hidden(reply.text))
        sentence = printable(sentence or type(error).__name__)[:200]
        if reply is None or stage != "auth" or credentials is self.configured:  # else a client mistyped its password
            log.warning("the smarthost cannot be used now", host=self._settings.host, stage=stage, error=sentence)
        enhanced = "4.4.1" if stage == "connect" else "4.3.5"
        text = f"The smarthost cannot be used now ({stage}): {sentence}"
        return Unusable(Reply(451, enhanced, text, stage, host_wide=True), reply if stage == "auth" else None)


class _Refused(aiosmtplib.SMTPException):
    """AUTH was refused, by the host or before it was asked."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


async def _authenticate(client: SMTP, credentials: Credentials) -> None:
    """AUTH by the first mechanism that the host knows. A password that it refused is not tried again by another one:
    hosts count failures."""
    if not _confidential(client.get_transport_info("sslcontext"), client.get_transport_info("peername")):
        raise _Refused(_CLEAR)
    if "\0" in credentials.username + credentials.password:
        raise _Refused(Reply(535, "5.7.8", "A user name or password cannot hold NUL", "auth"))
    ways = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    refusal: aiosmtplib.SMTPAuthenticationError | None = None
    for name in [each for each in ways if each in client.server_auth_methods]:
        try:
            await ways[name](credentials.username, credentials.password)
            return
        except aiosmtplib.SMTPAuthenticationError as error:
            refusal = error
            if error.code not in _UNKNOWN_MECHANISM:
                break
    raise refusal or _Refused(Reply(454, "4.7.0", "The smarthost offers no way to authenticate", "auth"))


def _confidential(context: ssl.SSLContext | None, peer: tuple[object, ...]) -> bool:
    """Whether what is said now is heard by the smarthost alone."""
    if context is not None and context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname:
        return True
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _taken(client: SMTP) -> Channel:
    """The connection, without its aiosmtplib client."""
    _nothing_waits(client)
    if client.transport is None or client.transport.is_closing():
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    return take_over(client.transport)


def _nothing_waits(client: SMTP) -> None:
    """Raise Nonsense where octets wait that nothing asked for: they would be taken for the answer to what is next."""
    if client.protocol is not None and client.protocol._buffer:
        raise Nonsense


def _said(stage: str, error: Exception) -> Reply | None:
    """The refusal that an error is about."""
    if isinstance(error, _Refused):
        return error.reply
    if not isinstance(error, aiosmtplib.SMTPResponseException) or error.code // 100 not in (4, 5):
        return None
    lines = tuple(line.encode("utf-8", "replace") for line in error.message.split("\n"))
    return heard(stage, Answer(error.code, lines))


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
