"""A smarthost that keeps mail in a folder instead of sending it: for a first try, and for tests."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from relay.dispatch.envelope import Copy, Reply, Sign, Target, Verdict
from tracker.model import Clock, new_id

FOLDER = "sandbox"


class Sandbox:
    """Writes each copy to ``data_dir/sandbox/NAME.eml`` exactly as it would be sent, and its envelope to NAME.json.
    Names sort by time."""

    def __init__(self, data_dir: Path, clock: Clock = time.time) -> None:
        self._folder = data_dir / FOLDER
        self._clock = clock

    async def deliver(self, copy: Copy) -> Sequence[Verdict]:
        """Keep one copy; a disk that does not take it is a temporary failure."""
        name = str(new_id(self._clock()))
        try:
            await asyncio.to_thread(self._keep, name, copy)
        except OSError as error:
            return _all(copy, 451, "4.3.0", f"the sandbox cannot be written: {error.strerror}")
        return _all(copy, 250, "2.0.0", f"kept as {name}.eml")

    async def begin(
        self, mail_from: str, options: Mapping[str, str | None], size: int | None = None
    ) -> SandboxTransaction:
        """Take a mail step by step, as a smarthost does."""
        return SandboxTransaction(self, mail_from, options)

    async def login(self, username: str, password: str) -> Reply:
        """Nobody is known here."""
        return Reply(535, "5.7.8", "The sandbox knows no users", "auth")

    async def close(self) -> None:
        """Nothing is held open."""

    def _keep(self, name: str, copy: Copy) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        envelope = {
            "reverse_path": copy.mail_from,
            "recipients": [target.address for target in copy.targets],
            "at": self._clock(),
        }
        self._write(f"{name}.json", json.dumps(envelope, indent=2).encode())
        signed = copy.sign(copy.content) if copy.sign is not None else None
        self._write(f"{name}.eml", copy.content if signed is None else signed)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file so that it is there whole or not at all."""
        fresh = self._folder / f".{name}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._folder / name)


class SandboxTransaction:
    """A mail that is handed over step by step."""

    def __init__(self, sandbox: Sandbox, mail_from: str, options: Mapping[str, str | None]) -> None:
        self.mail = Reply(250, "2.1.0", "Ok", "mail")
        self.offers: frozenset[str] = frozenset()
        self._sandbox = sandbox
        self._mail_from = mail_from
        self._options = options
        self._targets: list[Target] = []

    async def recipient(self, target: Target) -> Reply:
        """Anybody will do."""
        self._targets.append(target)
        return Reply(250, "2.1.5", "Ok", "rcpt")

    async def data(self, content: bytes, original: bytes | None = None, sign: Sign | None = None) -> Reply:
        """Keep the mail."""
        copy = Copy(self._mail_from, tuple(self._targets), content, self._options, sign=sign)
        verdict = (await self._sandbox.deliver(copy))[0]
        return Reply(verdict.code, verdict.enhanced, verdict.text, verdict.stage)

    async def abandon(self) -> None:
        """Nothing is kept before the end of the data."""


def _all(copy: Copy, code: int, enhanced: str, text: str) -> list[Verdict]:
    return [Verdict(target.ordinal, target.address, code, enhanced, text, "sandbox") for target in copy.targets]
