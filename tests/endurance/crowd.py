"""A crowd of senders with unique mails, and what became of each: who was told 250, what came out at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

from tests.fakes.smarthost import Message

Key = tuple[str, str]
"""One copy of one mail: the mail's name and its recipient."""

UNKNOWN = "nobody@example.net"
"""A recipient that the smarthost is made to refuse."""
LARGE = 300 * 1024
"""Octets of a mail that does not go into the database itself."""
_PEOPLE = ("ann@example.net", "bob@example.net", "cat@example.net")


@dataclass(frozen=True)
class Mail:
    """What is sent: a name that no other mail has, its recipients, its octets."""

    name: str
    recipients: tuple[str, ...]
    content: bytes


def mail(name: str, recipients: tuple[str, ...] = _PEOPLE[:1], size: int = 2_000) -> Mail:
    """A mail with a link, so that its copies hold tokens."""
    head = (
        f"From: news@example.com\r\nTo: list@example.net\r\nSubject: {name}\r\nMessage-ID: <{name}@example.com>\r\n"
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nContent-Type: text/html\r\n\r\n"
        f'<p>Hello</p><a href="https://example.org/{name}">read on</a>\r\n'
    )
    line = b"<p>" + b"x" * 60 + b"</p>\r\n"
    return Mail(name, recipients, head.encode() + line * (size // len(line)))


def assorted() -> Iterator[Mail]:
    """Mails as they come: most small and for one person, some for three, some for nobody there is, some large."""
    for number in itertools.count(1):
        people = _PEOPLE if number % 7 == 0 else (UNKNOWN,) if number % 10 == 0 else _PEOPLE[:1]
        yield mail(f"m{number}", people, LARGE if number % 40 == 0 else 2_000)


class Gone(ConnectionError):
    """The service has closed the connection or said 421."""


class Session:
    """One SMTP session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """The last line of the next reply."""
        while True:
            line = (await self.reader.readline()).decode("latin-1")
            if not line.endswith("\n") or line.startswith("421"):
                raise Gone(line.strip() or "closed")
            if line[3:4] != "-":
                return line.strip()

    async def ask(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def send(self, sent: Mail, sender: str = "news@example.com") -> str:
        """Hand a mail over; the reply to its end, or to what was refused before."""
        reply = await self.ask(f"MAIL FROM:<{sender}>")
        for each in sent.recipients:
            if reply.startswith("250"):
                reply = await self.ask(f"RCPT TO:<{each}>")
        if reply.startswith("250"):
            reply = await self.ask("DATA")
        if not reply.startswith("354"):
            await self.ask("RSET")
            return reply
        self.writer.write(sent.content)
        return await self.ask(".")


@contextlib.asynccontextmanager
async def session(port: int) -> AsyncIterator[Session]:
    """A session that was greeted. Raises OSError, also where the service goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        found = Session(reader, writer)
        greeting = await found.reply()
        if not greeting.startswith("220"):
            raise Gone(greeting)
        await found.ask("EHLO client.test")
        yield found
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass
class Crowd:
    """So many senders at once, each with one mail after the other, coming again whenever the service goes."""

    port: int
    size: int = 20
    mails: Iterator[Mail] = field(default_factory=assorted)
    acknowledged: list[Mail] = field(default_factory=list)
    refused: list[tuple[Mail, str]] = field(default_factory=list)
    unanswered: list[Mail] = field(default_factory=list)
    turned_away: Counter[str] = field(default_factory=Counter)
    last: float = 0.0

    over: bool = False

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._send_forever()) for _ in range(self.size)]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Each hands its last mail over and goes."""
        self.over = True
        done, left = await asyncio.wait(self._tasks, timeout=20)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        failed = [task.exception() for task in done if task.exception()]
        assert not failed, failed

    async def until(self, count: int) -> None:
        """Wait until so many more mails were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.005)

    async def served(self, since: float) -> float:
        """Seconds from ``since`` until the next mail was acknowledged."""
        async with asyncio.timeout(60):
            while self.last <= since:
                await asyncio.sleep(0.005)
        return self.last - since

    async def _send_forever(self) -> None:
        while not self.over:
            try:
                async with session(self.port) as current:
                    for _ in range(20):
                        if self.over:
                            return
                        await self._send(current, next(self.mails))
            except OSError as error:
                self.turned_away[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    async def _send(self, current: Session, sent: Mail) -> None:
        try:
            reply = await current.send(sent)
        except BaseException:
            self.unanswered.append(sent)
            raise
        if reply.startswith("250"):
            self.acknowledged.append(sent)
            self.last = time.monotonic()
        else:
            self.refused.append((sent, reply))
            await asyncio.sleep(0.05)


@dataclass
class Arrived:
    """What the smarthost was given: each copy and each notification, with a digest of every time it came."""

    copies: dict[Key, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    notices: dict[Key, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def take(self, messages: list[Message]) -> Arrived:
        """Read what came since, and forget it."""
        for message in messages:
            content = message.content
            match = re.search(rb"^Message-ID: <(\w+)@example\.com>", content, re.MULTILINE)
            assert match, content[:300]
            name, digest = match[1].decode(), hashlib.sha256(content).digest()
            if message.mail.startswith(b"<>"):
                for person in re.findall(rb"^Final-Recipient: rfc822; *(\S+)", content, re.MULTILINE):
                    self.notices[name, person.decode()].append(digest)
            else:
                for person in message.recipients:
                    self.copies[name, person.split(b">")[0].strip(b"<").decode()].append(digest)
        messages.clear()
        return self

    @property
    def keys(self) -> set[Key]:
        return {*self.copies, *self.notices}

    @property
    def duplicates(self) -> int:
        """How often something came once more."""
        return sum(len(each) - 1 for each in (*self.copies.values(), *self.notices.values()))

    @property
    def altered(self) -> list[Key]:
        """What came twice and was not the same to the octet."""
        return [key for found in (self.copies, self.notices) for key, each in found.items() if len(set(each)) > 1]


def keys_of(mails: Iterable[Mail]) -> set[Key]:
    """The copies that mails are to become."""
    return {(each.name, person) for each in mails for person in each.recipients}
