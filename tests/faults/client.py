"""A client that hands in one mail and keeps every word that it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Heard:
    """The replies to one mail, in order, each on one line; ``closed``: the service ended the session by itself."""

    replies: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def verdict(self) -> str:
        """The last word."""
        return self.replies[-1]

    @property
    def queue_id(self) -> str:
        """The mail's id, where it was queued."""
        assert self.verdict.startswith("250 2.0.0 Ok: queued as "), self.replies
        return self.verdict.rsplit(" ", 1)[1]


async def submit(
    port: int, content: bytes, sender: str = "<news@example.com>", people: Sequence[str] = ("<ann@example.net>",)
) -> Heard:
    """Hand in a mail; ``sender`` and ``people`` are the arguments of MAIL and RCPT, parameters included. Ends where
    nobody was taken, or MAIL was refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = Heard()

    async def say(octets: bytes) -> str:
        writer.write(octets)
        heard.replies.append(await reply(reader))
        return heard.verdict

    try:
        await reply(reader)
        await say(b"EHLO client.test\r\n")
        if (await say(f"MAIL FROM:{sender}\r\n".encode())).startswith("250"):
            taken = [await say(f"RCPT TO:{person}\r\n".encode()) for person in people]
            if any(each.startswith("250") for each in taken) and (await say(b"DATA\r\n")).startswith("354"):
                await say(stuffed(content) + b".\r\n")
        del heard.replies[0]
        if heard.verdict.startswith("421"):
            heard.closed = await reader.read(1) == b""
        else:
            writer.write(b"QUIT\r\n")
            await reply(reader)
    finally:
        writer.close()
    return heard


async def reply(reader: asyncio.StreamReader) -> str:
    """The next reply, its lines joined by `` / ``."""
    lines = []
    while True:
        line = await reader.readline()
        assert line.endswith(b"\r\n"), f"the service closed the connection: {lines} {line!r}"
        lines.append(line[:-2].decode("ascii"))
        if line[3:4] != b"-":
            return " / ".join(lines)


def stuffed(content: bytes) -> bytes:
    """The content with its dots doubled (RFC 5321 section 4.5.2)."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
