"""The SMTP server: listens, counts, and has a Session for each client."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from socket import socket
from typing import TYPE_CHECKING

from relay.certificates import tls_context
from relay.reception.auth import Users
from relay.reception.connection import SHUTTING_DOWN, Connection
from relay.reception.handshake import within
from relay.reception.scoreboard import Scoreboard, Seat
from relay.reception.session import Session
from relay.reception.submission import Counterpart, Queueing, Submission

if TYPE_CHECKING:
    from relay.config import RelayConfig

__all__ = ["Counterpart", "Queueing", "Session", "SmtpServer", "Submission"]

_BACKLOG = 1024
_DRAIN_SECONDS = 30.0


class SmtpServer:
    """Takes SMTP clients; ``counterpart`` is made for each session and takes its mails, such as
    ``partial(Queueing, accept)``. ``seat`` is where this process counts, so that limits hold for all of them.
    ``returns`` says of an address whether it is a bounce address of ours, to which anyone may write; it raises
    SmtpError for a forged one."""

    def __init__(
        self,
        config: RelayConfig,
        hostname: str,
        counterpart: Callable[[], Counterpart],
        seat: Seat | None = None,
        returns: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """Raises CertificateError where the certificate or its key cannot be used."""
        self.config = config
        self.hostname = hostname
        self.counterpart = counterpart
        self.returns = returns
        self.seat = seat or Scoreboard(1).seat(0)
        self.users = Users(config.auth.users)
        self.tls = _tls_of(config)
        self.sessions: set[Connection] = set()
        self.stopping = False
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket] | None = None) -> None:
        """Listen on sockets that are bound, else on every address of ``config.listen``. Raises OSError where an
        address cannot be had."""
        loop = asyncio.get_running_loop()

        def session() -> Session:
            return Session(self, loop)

        if sockets is None:
            for host, port in self.config.listen:
                self._servers.append(await loop.create_server(session, host, port, backlog=_BACKLOG))
        else:
            for each in sockets:
                self._servers.append(await loop.create_server(session, sock=each, backlog=_BACKLOG))
        self.seat.listening = True

    def reload(self, config: RelayConfig) -> None:
        """Go by another configuration: at once, in sessions under way from their next command on; who has logged in
        stays so. The addresses stay as they are. Raises CertificateError, and then nothing has changed."""
        tls = _tls_of(config)
        self.config, self.users, self.tls = config, Users(config.auth.users), tls

    @property
    def implicit_tls(self) -> ssl.SSLContext | None:
        """What to begin a session with."""
        return self.tls if self.config.tls.mode == "implicit" else None

    @property
    def memory(self) -> int:
        """Octets of mail that are being received, by all processes."""
        return self.seat.memory

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
        self.seat.listening = False
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
        """Why a client from this address is not taken now, None if it is.

        Too many failed logins shut out an address, but not one that may relay without: an app with a wrong password
        must not stop the mail of others on its host, so only its logins are refused."""
        limits = self.config.limits
        if self.stopping:
            return SHUTTING_DOWN
        if self.seat.connections > limits.connections:
            return "421 4.7.0 Too many connections; please come back later"
        if self.seat.connections_from(peer) > limits.connections_per_address:
            return "421 4.7.0 Too many connections from your address; please come back later"
        if self.seat.blocked(peer, time.monotonic()) and not within(peer, self.config.allow_networks):
            return "421 4.7.0 Too many failed logins from your address; please come back later"
        return None


def _tls_of(config: RelayConfig) -> ssl.SSLContext | None:
    certificate, key = config.tls.certificate, config.tls.key
    return None if certificate is None or key is None else tls_context(certificate, key)
