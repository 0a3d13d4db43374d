"""The smarthost client: whole copies, mails step by step, and logins with a client's own credentials, all over a
bounded number of connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from relay.dispatch import transaction
from relay.dispatch.connection import Connection
from relay.dispatch.envelope import Copy, Reply, Verdict
from relay.dispatch.loading import Converter
from relay.dispatch.opening import Credentials, Opener, Unusable
from relay.dispatch.pool import Pool
from relay.dispatch.transaction import Transaction

if TYPE_CHECKING:
    from relay.config import SmarthostConfig as Settings

PATIENCE_SECONDS = 20.0
"""How long a client that waits for the smarthost's own answer is made to wait for a free connection."""

_OVER = Reply(503, "5.5.1", "Another mail is under way, or the session is over", "local")


def never(content: bytes) -> bytes | None:
    """No mail has a 7-bit form."""
    return None


class Smarthost:
    """One smarthost and the connections to it, at most ``connections``, else ``settings.max_connections``, whatever
    they are for. ``to_seven_bit`` gives a mail a form for a host that lacks 8BITMIME. Safe for many tasks at once.
    Nothing here raises for what the host does."""

    def __init__(
        self, settings: Settings, hostname: str, *, to_seven_bit: Converter = never, connections: int | None = None
    ) -> None:
        self._opener = Opener(settings, hostname)
        self._pool = Pool(self._opener, settings.max_connections if connections is None else connections)
        self._to_seven_bit = to_seven_bit

    async def deliver(self, copy: Copy) -> Sequence[Verdict]:
        """Hand one copy over in one transaction, when a connection is free; a verdict for each recipient."""
        return await transaction.deliver(self._pool, copy, self._to_seven_bit)

    async def begin(
        self,
        mail_from: str,
        options: Mapping[str, str | None],
        size: int | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Transaction:
        """Begin a mail that is handed over step by step; ``options`` are its parameters of MAIL, ``size`` what its
        client says it has in octets. Where no connection is free in ``patience`` seconds, that is the refusal."""
        return await transaction.begin(self._pool, patience, mail_from, options, size, self._to_seven_bit)

    async def login(self, username: str, password: str, patience: float = PATIENCE_SECONDS) -> PrivateHost | Reply:
        """Authenticate as a client of ours, on a connection of its own; the host's refusal as it was said, a temporary
        one where the host cannot be asked, and 538 5.7.11 where the password would go in clear."""
        try:
            await self._pool.reserve(patience)
        except Unusable as trouble:
            return trouble.reply
        try:
            self._pool.make_room()
            credentials = Credentials(username, password)
            connection = await self._opener.open(credentials)
        except Unusable as trouble:
            self._pool.release()
            return trouble.said or replace(trouble.reply, code=454)
        except BaseException:
            self._pool.release()
            raise
        return PrivateHost(self._pool, self._opener, credentials, connection, self._to_seven_bit)

    async def probe(self) -> str | None:
        """Connect as for a mail and go again; what is wrong in a sentence, None where nothing is."""
        try:
            connection = await self._opener.open(self._opener.configured)
        except Unusable as trouble:
            return trouble.reply.text
        connection.quit()
        return None

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        self._pool.close()


class PrivateHost:
    """The smarthost as one client's session sees it: one connection with that client's credentials, which are kept
    here and nowhere else. ``close`` it when the session ends."""

    def __init__(
        self, pool: Pool, opener: Opener, credentials: Credentials, connection: Connection, to_seven_bit: Converter
    ) -> None:
        self._pool = pool
        self._opener = opener
        self._credentials: Credentials | None = credentials
        self._connection: Connection | None = connection
        self._lent = False
        self._to_seven_bit = to_seven_bit

    async def begin(self, mail_from: str, options: Mapping[str, str | None], size: int | None = None) -> Transaction:
        """Begin a mail, as Smarthost does; one at a time."""
        return await transaction.begin(self, None, mail_from, options, size, self._to_seven_bit)

    async def close(self) -> None:
        """Forget the credentials and let the connection go; a mail that is under way is cut off."""
        if self._credentials is None:
            return
        self._credentials = None
        self._pool.release()
        connection, self._connection = self._connection, None
        if connection is not None and connection.ready:
            connection.quit()
        elif connection is not None:
            connection.abort()

    async def take(self, patience: float | None) -> Connection:
        """The connection, opened and authenticated again where the host has closed it. Raises Unusable."""
        if self._credentials is None or self._lent:
            raise Unusable(_OVER)
        self._lent = True
        try:
            return await self._ready(self._credentials)
        except BaseException:
            self._lent = False
            raise

    def give(self, connection: Connection) -> None:
        """Take the connection back after a mail."""
        self._lent = False
        connection.used = True
        if not connection.ready or self._credentials is None:
            connection.abort()

    async def _ready(self, credentials: Credentials) -> Connection:
        if self._connection is not None:
            if self._connection.ready:
                return self._connection
            self._connection.abort()
        self._connection = await self._opener.open(credentials)
        if self._credentials is None:
            self._connection.abort()
            raise Unusable(_OVER)
        return self._connection
