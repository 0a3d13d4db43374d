"""A scripted smarthost on loopback: keeps every octet of what it is sent, and misbehaves at any stage when told to."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

STAGES = ("greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "after", "rset")


@dataclass
class Message:
    """One transaction that was taken: the arguments of MAIL and RCPT as they came, the content with dots single."""

    mail: bytes
    recipients: list[bytes]
    content: bytes


@dataclass
class Script:
    """What to do at a stage: a ``reply`` in place of the usual one, or ``drop``, ``reset``, ``hang``, ``trickle`` (the
    usual one, octet by octet, ``pace`` seconds apart), ``sip`` (read the body so). ``when`` sees the command's line,
    that of MAIL from DATA on, and says whether it holds; ``times`` is how often, None for ever."""

    act: str
    when: Callable[[bytes], bool] = lambda line: True
    times: int | None = None
    pace: float = 0.002


@dataclass
class FakeSmarthost:
    """``async with FakeSmarthost() as host``: listens on ``host.port``, keeps ``host.messages``. Of several scripts
    for a stage, the first that holds is followed. ``window`` is how many
    octets the system takes before they are read; ``ahead`` are the commands behind which more waited to be read. A
    ``hasty`` host says 354 where it took no recipient. ``received`` are also those whole mails that it then did not
    take; ``delays`` are waits before the answer, by stage, in seconds; ``acted``: when scripts were followed, by stage,
    in seconds of the monotonic clock. Connections are refused until it is ``listening``, or told to ``listen``; it does
    so on ``bound``, else on a port of its own."""

    script: dict[str, Script | list[Script]] = field(default_factory=dict)
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 99000000")
    pipelining: bool = True
    hasty: bool = False
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    users: dict[bytes, bytes] = field(default_factory=dict)
    mechanisms: bytes = b"PLAIN LOGIN"
    window: int | None = None
    listening: bool = True
    bound: socket.socket | None = None
    delays: dict[str, float] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)
    acted: list[tuple[str, float]] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    ahead: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    port: int = 0

    async def __aenter__(self) -> FakeSmarthost:
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = self.bound or bound()
        if self.window is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
        self.port = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        if self.listening:
            await self.listen()
        return self

    async def listen(self) -> None:
        """Take connections."""
        tls = self.tls if self.implicit else None
        self._server = await asyncio.start_server(
            self._client, sock=self._socket, limit=self.window or 1 << 20, ssl=tls
        )

    async def __aexit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await _Dialogue(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self.open_now -= 1
            self._tasks.discard(task)
            writer.close()


def bound() -> socket.socket:
    """A socket with a port of its own, where connections are refused until somebody listens."""
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found


class _Gone(ConnectionError):
    pass


class _Dialogue:
    def __init__(self, host: FakeSmarthost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host, self.reader, self.writer = host, reader, writer
        self.mail: bytes | None = None
        self.recipients: list[bytes] = []

    async def run(self) -> None:
        await self.say("greeting", b"", b"220 smarthost.test ESMTP")
        while True:
            line = (await self.reader.readuntil(b"\r\n"))[:-2]
            self.host.commands.append(line)
            if self.reader._buffer:
                self.host.ahead.append(line)
            verb = line.split(b" ")[0].upper().decode("latin-1")
            handler = getattr(self, f"on_{verb.lower()}", None)
            if handler is None:
                await self.write(b"500 5.5.1 what?")
            else:
                await handler(line)

    def script(self, stage: str, line: bytes) -> Script | None:
        """What holds at a stage."""
        found = self.host.script.get(stage, [])
        scripts = found if isinstance(found, list) else [found]
        return next((each for each in scripts if each.times != 0 and each.when(line)), None)

    async def say(self, stage: str, line: bytes, usual: bytes) -> bytes:
        """Answer at a stage; gives what was answered."""
        await asyncio.sleep(self.host.delays.get(stage, 0.0))
        script = self.script(stage, line)
        if script is None:
            await self.write(usual)
            return usual
        if script.times is not None:
            script.times -= 1
        self.host.acted.append((stage, time.monotonic()))
        if script.act == "drop":
            raise _Gone
        if script.act == "reset":
            self.writer.transport.abort()
            raise _Gone
        if script.act == "hang":
            await asyncio.sleep(3600)
        if script.act == "trickle":
            for octet in usual + b"\r":
                self.writer.write(bytes([octet]))
                await asyncio.sleep(script.pace)
            self.writer.write(b"\n")  # after it comes what belongs to the next step, such as TLS
            return usual
        reply = script.act.encode("utf-8", "surrogateescape")
        await self.write(reply)
        if reply.startswith(b"421"):
            raise _Gone
        return reply

    async def write(self, reply: bytes) -> None:
        self.writer.write(reply + b"\r\n")
        await self.writer.drain()

    async def on_ehlo(self, line: bytes) -> None:
        offers = [offer.encode() for offer in (*self.host.extensions, *["PIPELINING"] * self.host.pipelining)]
        if self.host.tls is not None and self.writer.get_extra_info("ssl_object") is None:
            offers.append(b"STARTTLS")
        if self.host.users:
            offers.append(b"AUTH " + self.host.mechanisms)
        lines = [b"smarthost.test", *offers]
        usual = b"\r\n".join([*(b"250-" + each for each in lines[:-1]), b"250 " + lines[-1]])
        await self.say("ehlo", line, usual)

    async def on_helo(self, line: bytes) -> None:
        await self.say("ehlo", line, b"250 smarthost.test")

    async def on_starttls(self, line: bytes) -> None:
        if (await self.say("starttls", line, b"220 2.0.0 go")).startswith(b"220"):
            await self.writer.start_tls(self.host.tls)

    async def on_auth(self, line: bytes) -> None:
        _, mechanism, initial = line.split(b" ")
        if mechanism == b"LOGIN":
            await self.write(b"334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self.reader.readline())
            initial = base64.b64encode(b"\0" + base64.b64decode(initial) + b"\0" + password)
        taken = initial in self.host.users.values() and mechanism in self.host.mechanisms
        await self.say("auth", line, b"235 2.7.0 welcome" if taken else b"535 5.7.8 no")

    async def on_mail(self, line: bytes) -> None:
        if (await self.say("mail", line, b"250 2.1.0 Ok")).startswith(b"2"):
            self.mail, self.recipients = line[10:], []

    async def on_rcpt(self, line: bytes) -> None:
        if (await self.say("rcpt", line, b"250 2.1.5 Ok")).startswith(b"2"):
            self.recipients.append(line[8:])

    async def on_data(self, line: bytes) -> None:
        if self.mail is None or not (self.recipients or self.host.hasty):
            await self.write(b"503 5.5.1 MAIL and RCPT first")
            return
        about = b"MAIL FROM:" + self.mail if self.mail is not None else b""
        if not (await self.say("data", about, b"354 go on")).startswith(b"354"):
            return
        spoken = await self.amid(about)
        message = Message(self.mail or b"", self.recipients, await self.body(about))
        if not spoken:
            self.host.received.append(message)
            if (await self.say("after", about, b"250 2.0.0 Ok: taken")).startswith(b"2"):
                self.host.messages.append(message)
        self.mail, self.recipients = None, []

    async def amid(self, about: bytes) -> bool:
        """Misbehave when a part of the content is there; True where that was by a reply, which is then the last word on
        the mail."""
        script = self.script("body", about)
        if script is None or script.act == "sip":
            return False
        await self.reader.read(100)
        try:
            await self.say("body", about, b"")
        except _Gone:
            if script.act.startswith("421"):
                await self.reader.read(-1)  # closed with octets unread, the client would get a reset in its place
            raise
        return True

    async def body(self, about: bytes) -> bytes:
        script = self.script("body", about)
        pace = script.pace if script is not None and script.act == "sip" else 0.0
        buffer = bytearray(b"\r\n")
        while True:
            at = max(0, len(buffer) - 4)
            chunk = await self.reader.read(1 << 20)
            await asyncio.sleep(pace)
            if not chunk:
                raise _Gone
            buffer += chunk
            if (end := buffer.find(b"\r\n.\r\n", at)) >= 0:
                assert end + 5 == len(buffer), "octets after the end of the data"
                return bytes(buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    async def on_rset(self, line: bytes) -> None:
        self.mail, self.recipients = None, []
        await self.say("rset", line, b"250 2.0.0 Ok")

    async def on_noop(self, line: bytes) -> None:
        await self.write(b"250 2.0.0 Ok")

    async def on_quit(self, line: bytes) -> None:
        await self.write(b"221 2.0.0 Bye")
        raise _Gone
