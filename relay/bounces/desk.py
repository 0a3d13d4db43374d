"""Takes mail that came back: reads it, counts it, passes it on to the one who sent. Before the client hears 250, what
it says and its way to the sender are on stable storage, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import structlog

from relay.acceptance import received, refusal_by, refuse_loops, refuse_over_limit
from relay.bounces.address import Returning, find, token_in
from relay.bounces.door import Claimed
from relay.bounces.following import facts_of, passed_on
from relay.bounces.reading import Reading, read
from relay.config import bounce_addresses, bounce_route
from relay.dispatch.delivery import Delivery
from relay.dispatch.mail import Mail
from relay.dispatch.spool import Spool
from relay.reception.replies import SmtpError, local_trouble
from relay.reception.scoreboard import Seat
from relay.reception.submission import Submission
from relay.settings import Settings
from tracker.errors import BadToken, SpoolError, StoreError
from tracker.model import Clock, Fact, new_id
from tracker.store.timeline import made_at

log = structlog.get_logger()

LARGE = 128 * 1024
"""Octets from which on a mail is read beside the event loop."""
PATIENCE = 5.0
"""Seconds that the store is given to hear of a mail: a host on the same machine may be faster to return it."""
YOUNG = 24 * 3600.0
"""Seconds for which a mail may have waited to be told to the store; until then the client is to try again."""

_LOOK_SECONDS = 0.1


class Origins(Protocol):
    """Who knows where mails came from."""

    def origin(self, message: str, recipient: int) -> Mapping[str, Any] | None:
        """As Store.origin."""


class Desk:
    """Where bounces are taken. ``stirred`` is called when there is something new for the store."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        delivery: Delivery,
        seat: Seat,
        store: Origins,
        clock: Clock,
        stirred: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._delivery = delivery
        self._seat = seat
        self._store = store
        self._clock = clock
        self._stirred = stirred
        self._patience = patience
        # Always the same thread: it keeps its connection to the store, which then answers while others wait to write.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="origins")

    async def take(self, submission: Submission, claimed: Sequence[Claimed]) -> str:
        """Take one mail that came back; answers with its id once it is on stable storage. Raises SmtpError where the
        client must keep it or is told no."""
        refuse_loops(submission.content)
        refuse_over_limit(self._settings, self._seat, len(submission.content))
        ids = [await self._take_one(submission, each) for each in claimed]
        return ids[0]

    async def _take_one(self, submission: Submission, claimed: Claimed) -> str:
        origin = await self._origin(claimed.copy)
        said = await self._read(submission.content, origin["address"] or "")
        now = self._clock()
        facts = facts_of(claimed.copy, origin, said, now)
        mail = self._passed_on(submission, claimed, origin, now)
        copy = claimed.copy
        log.info("a mail came back", id=str(copy.message), recipient=copy.recipient, kind=said.kind, status=said.status)
        try:
            await self._keep(mail, facts)
        except SpoolError as error:
            raise refusal_by(error) from error
        self._stirred()
        return str(mail.id if mail is not None else new_id(now))

    async def _keep(self, mail: Mail | None, facts: Sequence[Fact]) -> None:
        if mail is None:
            await self._spool.record(facts)
            return
        in_hand = self._delivery.has_room(len(mail.content), mail.route)
        await self._spool.accept(mail, in_hand, facts)
        if in_hand:
            self._delivery.take(self._spool, mail)

    def _passed_on(
        self, submission: Submission, claimed: Claimed, origin: Mapping[str, Any], now: float
    ) -> Mail | None:
        """The mail to the one who sent; None where nobody is to hear, or it would come back to us."""
        config, to = self._settings.config, origin["reverse_path"]
        if not to or any(token_in(to, form) is not None for form in bounce_addresses(config)):
            return None
        route = bounce_route(config, claimed.form, origin["sender"] or "") or ""
        id = new_id(now)
        trace = received(submission, self._settings.hostname, id, now)
        return passed_on(id, submission.content, trace, to, route, submission.smtputf8, now)

    async def _read(self, content: bytes, address: str) -> Reading:
        return await asyncio.to_thread(read, content, address) if len(content) > LARGE else read(content, address)

    async def _origin(self, copy: Returning) -> Mapping[str, Any]:
        """Where the mail came from. Raises SmtpError while that cannot be known."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            try:
                ask = partial(self._store.origin, str(copy.message), copy.recipient)
                found = await loop.run_in_executor(self._asking, ask)
            except StoreError as error:
                raise local_trouble(error.__cause__ or error) from error
            if found is not None:
                return found
            if self._clock() - made_at(copy.message) > YOUNG:
                return {"sender": None, "reverse_path": None, "address": None}
            if loop.time() > deadline:
                raise local_trouble("the store has not heard of this mail yet")
            self._stirred()
            await asyncio.sleep(_LOOK_SECONDS)


def finder(settings: Settings) -> Callable[[str], Claimed | None]:
    """Finds the copy that an address stands for, by the configuration and keys of that moment; None for one that is no
    bounce address. Raises SmtpError for one whose token is none of ours."""

    def found(address: str) -> Claimed | None:
        forms = bounce_addresses(settings.config)
        if not forms:
            return None
        try:
            match = find(address, forms, settings.keyring)
        except BadToken:
            raise SmtpError(550, "5.1.1", "There is no such bounce address here") from None
        return None if match is None else Claimed(*match)

    return found
