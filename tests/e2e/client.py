"""A bare SMTP client, for octets that no mail library would send."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Client:
    """A bare SMTP client that sends exactly the octets it is given."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._reply()
        self.command(b"EHLO client.test")

    def command(self, line: bytes) -> bytes:
        self._socket.sendall(line + b"\r\n")
        return self._reply()

    def send(self, mail: bytes) -> bytes:
        assert self.command(b"MAIL FROM:<sender@example.com> BODY=8BITMIME").startswith(b"250")
        assert self.command(b"RCPT TO:<ann@example.net>").startswith(b"250")
        assert self.command(b"DATA").startswith(b"354")
        stuffed = re.sub(rb"(?m)^\.", b"..", mail)
        self._socket.sendall(stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n")
        return self.command(b".")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def raw(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def _reply(self) -> bytes:
        while True:
            line = self._file.readline()
            assert line, "the service closed the connection"
            if line[3:4] != b"-":
                return line


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client, closed at the end. Its calls block: run them in a thread."""
    client = await asyncio.to_thread(Client, port)
    try:
        yield client
    finally:
        client.close()
