"""What the tests of the queue are made of: mails, a clock that stands still, and a smarthost of two methods."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.dispatch import delivery as delivery_module
from relay.dispatch.delivery import Delivery
from relay.dispatch.envelope import Copy, Target, Verdict
from relay.dispatch.errand import Retry
from relay.dispatch.lane import Lane
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.spool import Spool, claim
from tracker.model import Accepted, MirrorPage, Recipient, new_id

NOW = 1_790_000_000.0
HOUR, DAY = 3600.0, 86_400.0
RETRY = Retry(60.0, 4 * HOUR, 5 * DAY)
CONTENT = b"From: news@example.com\r\nSubject: Spring\r\n\r\nHello\r\n"


class Clock:
    """Time that passes only when told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def mail(*people: str | Rcpt, content: bytes = CONTENT, at: float = NOW, **fields: Any) -> Mail:
    """A mail to these people, due at once."""
    recipients = tuple(
        each if isinstance(each, Rcpt) else Rcpt(ordinal, each, next_at=at)
        for ordinal, each in enumerate(people or ("ann@example.net",), 1)
    )
    usual = {
        "id": new_id(at),
        "route": "",
        "reverse_path": "news@example.com",
        "options": {},
        "profile": "listed",
        "trace": b"Received: from test\r\n",
        "recorded": False,
    }
    return Mail(recipients=recipients, content=content, accepted_at=at, **{**usual, **fields})


def rcpt(address: str, ordinal: int = 1, **options: str | None) -> Rcpt:
    return Rcpt(ordinal, address, options, next_at=NOW)


class Letter:
    """A mail, prepared: to each recipient apart, or to all together."""

    def __init__(self, mail: Mail, together: bool = False) -> None:
        self.mail = mail
        self.together = together
        self.page: MirrorPage | None = None

    @property
    def accepted(self) -> Accepted | None:
        if not self.mail.profile:
            return None
        people = tuple(Recipient(each.ordinal, each.address) for each in self.mail.recipients)
        about: tuple[Any, ...] = ("<m@example.com>", "news@example.com", "Spring", None, None, {})
        return Accepted(self.mail.id, *about, self.mail.accepted_at, True, None, True, people, ())

    def suppressed(self, targets: Sequence[Target]) -> Mapping[int, str]:
        return {}

    def batches(self, targets: Sequence[Target]) -> Sequence[tuple[Target, ...]]:
        return [tuple(targets)] if self.together or not self.mail.profile else [(each,) for each in targets]

    def copy(self, targets: tuple[Target, ...]) -> Copy:
        return Copy(self.mail.reverse_path, targets, self.mail.trace + self.mail.content, self.mail.options)


Said = tuple[int, str]
"""Reply code and enhanced status code."""

OK, LATER, NEVER = (250, "2.0.0"), (451, "4.2.2"), (550, "5.1.1")


class Host:
    """A smarthost: ``say`` decides on an address, ``trouble`` speaks for the whole host. Keeps what it took."""

    def __init__(self, say: Callable[[str], Said] = lambda address: OK) -> None:
        self.say = say
        self.trouble: str | None = None
        self.dsn = False
        self.gate: asyncio.Event | None = None
        self.tries: list[Copy] = []
        self.taken: list[tuple[str, Copy]] = []
        self.running = self.most = 0
        self.closed = False

    async def deliver(self, copy: Copy) -> list[Verdict]:
        self.tries.append(copy)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (asyncio.sleep(0) if self.gate is None else self.gate.wait())
            return [self._verdict(target, copy) for target in copy.targets]
        finally:
            self.running -= 1

    def _verdict(self, target: Target, copy: Copy) -> Verdict:
        if self.trouble is not None:
            return Verdict(target.ordinal, target.address, 421, "4.3.2", self.trouble, "greeting", host_wide=True)
        code, enhanced = self.say(target.address)
        if code == 250:
            self.taken.append((target.address, copy))
        return Verdict(target.ordinal, target.address, code, enhanced, "so it is", "rcpt", dsn=self.dsn)

    async def close(self) -> None:
        self.closed = True

    @property
    def people(self) -> list[str]:
        """Who got a copy that is no notification."""
        return [address for address, copy in self.taken if copy.mail_from]

    @property
    def notices(self) -> list[Copy]:
        """The notifications that were taken."""
        return [copy for _, copy in self.taken if not copy.mail_from]


@asynccontextmanager
async def spool_in(folder: Path, routes: Sequence[str] = (), **named: Any) -> AsyncIterator[Spool]:
    """A spool file in a folder, the one that is there or a new one."""
    spool = claim(folder, routes, fresh=True, **named)
    assert spool is not None
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


def lane(host: Host, *routes: str, clock: Callable[[], float], width: int = 10, name: str = "mx.test") -> Lane:
    return Lane(name, host, routes or ("",), width, clock)


@asynccontextmanager
async def delivering(
    spool: Spool,
    *lanes: Lane,
    clock: Callable[[], float],
    prepare: Callable[[Mail], Any] = Letter,
    retry: Retry = RETRY,
    poll: float = 0.005,
) -> AsyncIterator[Delivery]:
    """The running queue, which looks for what is due every ``poll`` seconds."""
    running = Delivery("relay.test", lanes, retry, prepare, clock)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(delivery_module, "_POLL_SECONDS", poll)
        running.start([spool])
        try:
            yield running
        finally:
            await running.stop(5.0)


async def soon(probe: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    for step in itertools.count():
        if probe():
            return
        assert step * 0.005 < seconds, "it did not come about in time"
        await asyncio.sleep(0.005)


async def emptied(spool: Spool, seconds: float = 60.0) -> None:
    """Wait until no mail is left."""
    for step in itertools.count():
        if not await mails_in(spool):
            return
        assert step * 0.005 < seconds, "mail is left"
        await asyncio.sleep(0.005)


async def mails_in(spool: Spool) -> list[tuple[str, float | None]]:
    """Id and next try of each mail that a spool file holds."""
    return await spool._ask(lambda db: db.execute("SELECT id, next_at FROM messages ORDER BY seq").fetchall())


async def idle(spool: Spool) -> None:
    """Wait until no mail is in hand."""
    for step in itertools.count():
        if all(at is not None for _, at in await mails_in(spool)):
            return
        assert step < 1000, "mail is still in hand"
        await asyncio.sleep(0.005)
