"""An endpoint that behaves as it is told to: answers, refuses, hangs, trickles, breaks off."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.e2e.harness import free_port


@dataclass
class Reply:
    """One answer. ``hang``: none at all; ``trickle``: an octet every so many seconds; ``cut``: so many octets, and the
    connection is closed; ``endless``: a body that does not end."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hang: bool = False
    trickle: float = 0.0
    cut: int | None = None
    endless: bool = False
    raw: bytes | None = None
    delay: float = 0.0


@dataclass
class Request:
    """What came, and when by a clock of its own, in seconds."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Listens on a port of its own. ``script`` holds the answers to come, ``usual`` that after them; ``choose`` may
    pick another for a request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.script: deque[Reply] = deque()
        self.usual = Reply()
        self.connections = self.open = self.busiest = 0
        self.port = free_port()
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def choose(self, request: Request) -> Reply:
        return self.script.popleft() if self.script else self.usual

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.refuse()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)

    async def refuse(self) -> None:
        """Stop listening; connections are refused from now on."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hook"

    def told(self, *path: str) -> list[Any]:
        """What was told, by the path to one of its values."""
        found = []
        for request in self.requests:
            value = request.json
            for name in path:
                value = value[name]
            found.append(value)
        return found

    async def until(self, count: int, seconds: float = 60.0) -> Sequence[Request]:
        """The requests, once there are so many."""
        async with asyncio.timeout(seconds):
            while len(self.requests) < count:
                await asyncio.sleep(0.01)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            while await self._answer(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(head[0], headers, body, number, time.monotonic())
        reply = self.choose(request)
        self.requests.append(request)
        self.open += 1
        self.busiest = max(self.busiest, self.open)
        try:
            await asyncio.sleep(reply.delay)
            return await _say(writer, reply)
        finally:
            self.open -= 1


async def _say(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    if reply.hang:
        await asyncio.sleep(3600)
    fields = {"Content-Length": str(len(reply.body)), **reply.headers}
    if reply.endless:
        fields = {"Content-Length": "99999999999"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    octets = reply.raw or f"HTTP/1.1 {reply.status} Whatever\r\n{lines}\r\n".encode() + reply.body
    if reply.trickle:
        for octet in octets:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(reply.trickle)
    writer.write(octets if reply.cut is None else octets[: reply.cut])
    await writer.drain()
    while reply.endless:
        writer.write(b"x" * 65536)
        await writer.drain()
    return reply.cut is None and reply.raw is None
