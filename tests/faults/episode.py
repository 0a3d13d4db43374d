"""All cases of the table side by side: one running service, for each case a sender with a smarthost of its own."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from relay import queueing
from tests.e2e.harness import Tracepost, tracepost
from tests.fakes.smarthost import FakeSmarthost, Script
from tests.faults.client import Heard, submit
from tests.faults.notice import Notice, mails, notices
from tests.faults.table import FAULTS, Case, cases

TIMEOUT = 1.5
FIRST, LONGEST, GIVE_UP_AFTER = 1.0, 2.0, 20.0
"""Seconds, as the service is configured."""
OCTET = TIMEOUT / 60
"""A second of a smarthost with the usual timeout of 60 s."""

LOGIN = "username: me, password: secret"
USERS = {b"me": base64.b64encode(b"\0me\0secret")}
TEXT = (
    b"From: news@%s.test\r\nMessage-ID: <%s@faults.test>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b'Subject: %s\r\nContent-Type: text/html\r\n\r\n<a href="https://example.org/">x</a>\r\n'
)
LINE = b"<!-- one of so many that they do not fit into the buffers between us and the smarthost -->\r\n"
LONG, TOO_LONG = 6_000, 60_000
"""Lines: some time on their way; more than the system keeps of what the smarthost does not read."""


@dataclass
class Episode:
    """One case, and all that was seen of it: what the client ``heard`` at each try, the smarthost, the API's row and
    the queue's entry ``meanwhile`` and in the end."""

    case: Case
    host: FakeSmarthost
    began: float = 0.0
    lifted: float | None = None
    tries: list[float] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    meanwhile: dict[str, Any] | None = None
    queued: dict[str, Any] | None = None
    left_alone: str | None = None
    row: dict[str, Any] | None = None

    @property
    def domain(self) -> str:
        return f"{self.case.name}.test"

    @property
    def mail(self) -> bytes:
        name = self.case.name.encode()
        lines = 0 if self.case.stage != "body" else TOO_LONG if self.case.fault == "hang" else LONG
        return TEXT % (name, name, name) + LINE * lines

    @property
    def arrived(self) -> list[bytes]:
        """The copies of the mail that the smarthost took."""
        return [each.content for each in mails(self.host) if b"prelude@" not in each.recipients[0]]

    @property
    def notices(self) -> list[Notice]:
        return notices(self.host)

    async def run(self, port: int) -> None:
        """Hand in the mail, and what has to go before it."""
        if self.case.stage in ("rset", "next"):
            await self._prelude(port)
        self.began = time.monotonic()
        for _ in range(2):
            heard = await submit(port, self.mail, f"<news@{self.domain}>")
            self.heard.append(heard)
            if not heard.verdict.startswith("4"):
                break
            await self._lift_if_refused()  # the client tries again: in proxy only
        await self._lift_if_refused()

    async def _lift_if_refused(self) -> None:
        if self.case.stage == "connect" and not self.case.lasting:
            await asyncio.sleep(0.3 if self.case.fault == "refuse" else TIMEOUT + 0.3)
            await self.lift()

    async def _prelude(self, port: int) -> None:
        """A mail by which the connection comes to be in use: it is refused before RSET, else taken."""
        await submit(
            port, TEXT % (self.case.name.encode(), b"prelude", b""), f"<news@{self.domain}>", [PRELUDE_RECIPIENT]
        )
        seen = (lambda: self.host.acted) if self.case.stage == "rset" else (lambda: self.host.messages)
        while not seen():
            await asyncio.sleep(0.05)
        self.host.script |= {} if self.case.stage == "rset" else {"mail": script_of(self.case)}

    async def lift(self) -> None:
        """The smarthost is well from now on."""
        if self.lifted is not None:
            return
        self.lifted = time.monotonic()
        self.tries = [at - self.began for stage, at in self.host.acted if stage == self.case.acts_at]
        self.host.script.clear()
        if not self.host.listening:
            await self.host.listen()


PRELUDE_RECIPIENT = "<prelude@example.net> NOTIFY=NEVER"


def script_of(case: Case) -> Script:
    """What the smarthost does. Where a fault is a mail's and lasts, notifications are spared, so that they come."""
    act = FAULTS[case.fault].act
    times = None if case.lasting or case.stage == "rset" else 1
    if case.stage == "body" and act == "trickle":
        return Script("sip", pace=0.05)
    if case.stage in ("greeting", "ehlo", "starttls", "auth", "rset"):
        return Script(act, times=times, pace=OCTET)
    if case.stage == "rcpt":
        return Script(act, when=lambda line: b"ann@" in line, times=times, pace=OCTET)
    return Script(act, when=lambda line: b"FROM:<>" not in line, times=times, pace=OCTET)


def host_of(case: Case, tls: ssl.SSLContext) -> FakeSmarthost:
    """The smarthost of a case."""
    host = FakeSmarthost()
    if case.stage == "connect":
        host.listening = False
    elif case.stage == "rset":
        host.script = {
            "rcpt": Script("550 5.7.1 unknown", when=lambda line: b"prelude@" in line),
            "rset": script_of(case),
        }
    elif case.stage != "next":
        host.script = {case.stage: script_of(case)}
    if case.stage in ("starttls", "auth"):
        host.tls, host.users = tls, USERS
    if case.stage == "body":
        host.window = 4096
    return host


def sender_of(episode: Episode, authority: Path) -> str:
    """The sender's entry in the configuration."""
    terms = f"ca_file: {authority}, {LOGIN}" if episode.host.tls is not None else "tls: none"
    smarthost = f"{{host: 127.0.0.1, port: {episode.host.port}, timeout: {TIMEOUT}s, {terms}}}"
    return f'- {{match: "*@{episode.domain}", smarthost: {smarthost}}}\n'


async def run(folder: Path, delivery: str) -> dict[str, Episode]:
    """Every case of one kind of delivery, until the queue is empty; by name."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    async with AsyncExitStack() as stack:
        episodes = []
        for case in cases(delivery):
            host = await stack.enter_async_context(host_of(case, tls))
            episodes.append(Episode(case, host))
            if case.stage == "connect" and case.fault == "hang":
                deafen(stack, host)
        senders = "".join(sender_of(each, folder / "ca.pem") for each in episodes)
        relay = (
            f"delivery: {delivery}\nlimits: {{connections_per_address: 1000}}\n"
            f"retry: {{first: {FIRST}s, longest: {LONGEST}s, give_up_after: {GIVE_UP_AFTER}s}}"
        )
        with tracepost(folder, senders=senders, relay=relay) as service:
            await watch(service, episodes)
        return {each.case.name: each for each in episodes}


async def watch(service: Tracepost, episodes: list[Episode]) -> None:
    """Hand everything in, look at what waits, lift each fault once its mail is done with, wait for the end."""
    lasting = [each for each in episodes if each.case.lasting]
    others = [each for each in episodes if not each.case.lasting]
    await asyncio.gather(*(each.run(service.smtp_port) for each in lasting))
    once = asyncio.gather(*(each.run(service.smtp_port) for each in others))
    while left := [each for each in lasting if each.lifted is None]:
        await look(service, [each for each in left if each.queued is None])
        rows = await rows_of(service)
        for episode in left:
            row = rows.get(f"<{episode.case.name}@faults.test>")
            if row is not None and not row["pending"]:
                await episode.lift()
        await asyncio.sleep(0.3)
    await once
    for episode in episodes:
        await episode.lift()
    await asyncio.to_thread(command, service, "queue", "retry")
    while queueing.queued(service.folder / "data"):
        await asyncio.sleep(0.5)
    await asyncio.sleep(1.0)  # the last record is still on its way to the store
    rows = await rows_of(service)
    for episode in episodes:
        episode.row = rows.get(f"<{episode.case.name}@faults.test>")


async def look(service: Tracepost, lasting: list[Episode]) -> None:
    """What the operator can see while mail waits, once a try has failed and that is known everywhere."""
    if not lasting:
        return
    mails = queueing.queued(service.folder / "data")
    entries = [each.as_dict() for each in mails]
    table = queueing.as_table(mails, queueing.hosts(service.folder / "data"))
    rows = await rows_of(service)
    for episode in lasting:
        row = rows.get(f"<{episode.case.name}@faults.test>")
        entry = next((each for each in entries if each["reverse_path"] == f"news@{episode.domain}"), None)
        start = f"Smarthost of *@{episode.domain} not usable since "
        line = next((line for line in table.splitlines() if line.startswith(start)), None)
        tried = entry is not None and entry["recipients"][0]["last_reply"] is not None
        if tried and row is not None and (line is not None or episode.case.outcome != "waits"):
            episode.meanwhile, episode.queued, episode.left_alone = row, entry, line


async def rows_of(service: Tracepost) -> dict[str, dict[str, Any]]:
    """The API's rows by Message-ID."""
    answer = await asyncio.to_thread(service.web.get, "/api/v1/messages", params={"limit": 1000})
    return {row["message_id"]: row for row in answer.json()["items"]}


def command(service: Tracepost, *words: str) -> str:
    """What ``tracepost WORDS`` prints."""
    line = [sys.executable, "-m", "relay.cli", *words, "-c", str(service.folder / "config.yaml")]
    return subprocess.run(line, capture_output=True, check=True, text=True).stdout


def deafen(stack: AsyncExitStack, host: FakeSmarthost) -> None:
    """Fill the queue of a socket that nobody accepts from, so that what comes next hears nothing."""
    host._socket.listen(0)
    for _ in range(3):
        waiting = socket.socket()
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(("127.0.0.1", host.port))
        stack.callback(waiting.close)
