"""How a session begins: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954)."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import structlog

from relay.reception.auth import Account
from relay.reception.connection import Connection, Goodbye
from relay.reception.replies import SmtpError, bad_syntax, consent, one_line
from relay.reception.sasl import MECHANISMS, Credentials, credentials
from relay.reception.submission import Counterpart

if TYPE_CHECKING:
    from relay.reception.smtpd import SmtpServer

log = structlog.get_logger()

MOST_FAILURES = 5
"""Failed logins of a session, after which it ends."""
_DELAY_SECONDS = 1.0
_TOO_MANY = "421 4.7.0 Too many failed logins; please come back later"

Verb = Callable[[Any, str | None], Awaitable[str]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Handshake(Connection):
    """A session until its first mail: who the client is, and whether others can listen."""

    def __init__(self, server: SmtpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop)
        self.counterpart: Counterpart
        self.account: Account | None = None
        self._tls_offered = False
        self._failures = 0
        self._helo: str | None = None
        self._esmtp = False

    @property
    def trusted(self) -> bool:
        """Whether this client may relay, and its bare newlines are made good."""
        return self.account is not None or within(self.peer, self.server.config.allow_networks)

    @property
    def _auth_usable(self) -> bool:
        """Nobody but the two ends may see a password."""
        return self._auth_configured and (self.tls or _is_loopback(self.peer))

    @property
    def _auth_configured(self) -> bool:
        return len(self.server.users) > 0 or self.server.config.auth.passthrough

    async def _reset(self) -> None:
        """Forget the mail under way."""
        raise NotImplementedError

    # -- HELO, EHLO --------------------------------------------------------------------------------------------------

    async def _helo_verb(self, argument: str | None) -> str:
        await self._greet(argument, esmtp=False)
        return f"250 {self.server.hostname}"

    async def _ehlo_verb(self, argument: str | None) -> str:
        await self._greet(argument, esmtp=True)
        self._tls_offered = self.server.tls is not None and not self.tls
        offers = [
            self.server.hostname,
            f"SIZE {self.server.config.max_message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            *(["STARTTLS"] if self._tls_offered else []),
            *([f"AUTH {' '.join(MECHANISMS)}"] if self._auth_usable else []),
            "DSN",
        ]
        return "".join(f"250-{offer}\r\n" for offer in offers[:-1]) + f"250 {offers[-1]}"

    async def _greet(self, argument: str | None, esmtp: bool) -> None:
        if not argument or not argument.strip():
            raise bad_syntax(f"Syntax: {'EHLO' if esmtp else 'HELO'} hostname")
        self._helo = one_line(argument)[:255].split()[0] if one_line(argument) else "unknown"
        self._esmtp = esmtp
        await self._reset()

    # -- STARTTLS ----------------------------------------------------------------------------------------------------

    async def _starttls_verb(self, argument: str | None) -> str:
        context = self.server.tls
        if argument:
            raise bad_syntax("Syntax: STARTTLS")
        if self.tls:
            raise SmtpError(503, "5.5.1", "TLS is on already")
        if context is None and self._tls_offered:  # the configuration was reloaded since
            raise SmtpError(454, "4.7.0", "TLS is not available now")
        if context is None:
            raise SmtpError(502, "5.5.1", "TLS is not offered here")
        await self._reset()
        if self._incoming.pending:
            # Sent in clear, to be taken for what came by TLS: by the client, or by someone between it and us.
            raise Goodbye("501 5.5.1 Nothing may follow STARTTLS before TLS is on")
        await self._say("220 2.0.0 Ready to start TLS")
        await self._secure(context)
        self.account, self._helo, self._esmtp = None, None, False
        return ""

    # -- AUTH --------------------------------------------------------------------------------------------------------

    async def _auth_verb(self, argument: str | None) -> str:
        if not self._auth_configured:
            raise SmtpError(503, "5.5.1", "Authentication is not enabled")
        if not self._esmtp:
            raise SmtpError(503, "5.5.1", "Say EHLO first")
        if self.account is not None:
            raise SmtpError(503, "5.5.1", "You are authenticated already")
        if not self.between_mails:
            raise SmtpError(503, "5.5.1", "There is a mail under way")
        if not self._auth_usable:
            raise SmtpError(538, "5.7.11", "Encryption is required for authentication; say STARTTLS first")
        self._refuse_if_blocked()
        given = await credentials(argument, self._challenge)
        try:
            return await self._login(given)
        except SmtpError as error:
            if error.code < 500:
                raise
            await self._login_failed(error)

    async def _challenge(self, prompt: str) -> bytes | None:
        await self._say(f"334 {prompt}")
        return await self._wait(self._incoming.line())

    async def _login(self, given: Credentials) -> str:
        """Raises SmtpError, with a 5xx where the credentials are wrong."""
        reply, account = "235 2.7.0 Authentication successful", None
        if self.server.config.auth.passthrough:
            reply = consent(await self.counterpart.login(given.user, given.password))
            account = Account(given.user)
        else:
            account = await self.server.users.find(given.user, given.password)
        # Others may have failed from this address while this one was looked at.
        self._refuse_if_blocked()
        if account is None:
            raise SmtpError(535, "5.7.8", "Wrong user name or password")
        self.account = account
        return reply

    async def _login_failed(self, refusal: SmtpError) -> NoReturn:
        """Refuse wrong credentials, later each time; the fifth time is the last in a session.

        Twenty times within ten minutes block the address for the rest of these: outside ``allow_networks`` it is not
        even greeted (``SmtpServer.refusal``), inside each AUTH is refused and mail without AUTH is still taken."""
        self._failures += 1
        self.server.seat.failed(self.peer, time.monotonic())
        log.warning("a login failed", peer=self.peer, failures=self._failures)
        stays = await self._pause(self._failures * _DELAY_SECONDS)
        if not stays:
            raise Goodbye(refusal.reply)
        if self._failures >= MOST_FAILURES:
            await self._say(refusal.reply)
            raise Goodbye(_TOO_MANY)
        raise refusal

    def _refuse_if_blocked(self) -> None:
        if self.server.seat.blocked(self.peer, time.monotonic()):
            raise Goodbye(_TOO_MANY)

    VERBS: ClassVar[Mapping[str, Verb]] = {
        "HELO": _helo_verb,
        "EHLO": _ehlo_verb,
        "STARTTLS": _starttls_verb,
        "AUTH": _auth_verb,
    }


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; IPv4 in IPv6 counts as IPv4."""
    ip = _ip(address)
    return ip is not None and any(ip in network for network in networks)


def _is_loopback(address: str) -> bool:
    ip = _ip(address)
    return ip is not None and ip.is_loopback


@lru_cache(maxsize=1024)
def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
