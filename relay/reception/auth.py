"""Who may send as whom: users and their passwords, and the addresses that each may write from."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import getaddresses
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from relay import passwords

if TYPE_CHECKING:
    from relay.config import User

_HASHES_AT_ONCE = 2
"""Each takes 19 MiB and a core."""
_REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 10_000
_FROM = re.compile(rb"\r\nfrom[ \t]*:((?:[^\r\n]|\r\n[ \t])*)")
_ADDRESS = re.compile(r"[^@\s\"(),:;<>\\]+@[^@\s\"(),:;<>\\]+")
_LONGEST_FROM = 8192
"""Octets of a From header that are looked at."""


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who has logged in. ``senders`` are globs of the addresses that they may use; none: any."""

    name: str
    senders: tuple[str, ...] = ()

    def may_use(self, address: str) -> bool:
        """Whether mail of this user may come from an address."""
        lower = address.lower()
        return not self.senders or any(fnmatchcase(lower, glob.lower()) for glob in self.senders)


class Users:
    """Those whom the configuration names. Hashes are computed beside the event loop, two at a time; a name that is not
    known costs the same time as one that is. Who has logged in is remembered for five minutes, as a digest under a key
    of this process, since apps log in for every mail."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)
        self._remembered: dict[bytes, float] = {}
        self._key = os.urandom(32)
        self._turns = asyncio.Semaphore(_HASHES_AT_ONCE)

    def __len__(self) -> int:
        return len(self._users)

    async def find(self, name: str, password: str) -> Account | None:
        """The account, if there is one of this name and with this password."""
        user, digest = self._users.get(name), self._digest(name, password)
        if user is not None and self._remembers(digest):
            return Account(name, user.senders)
        checked = user or next(iter(self._users.values()), None)
        if checked is None:
            return None
        async with self._turns:
            # Someone may have brought the same while this one waited.
            right = (user is not None and self._remembers(digest)) or await asyncio.to_thread(
                passwords.matches, checked.hash.get_secret_value(), password
            )
        if user is None or not right:
            return None
        self._remember(digest)
        return Account(name, user.senders)

    def _digest(self, name: str, password: str) -> bytes:
        text = f"{len(name)} {name}{password}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _remember(self, digest: bytes) -> None:
        while len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = time.monotonic() + _REMEMBERED_SECONDS

    def _remembers(self, digest: bytes) -> bool:
        if self._remembered.get(digest, 0.0) > time.monotonic():
            return True
        self._remembered.pop(digest, None)
        return False


def authors(content: bytes) -> list[str]:
    """Every address in every From header of a mail (RFC 5322 section 3.6.2), in lower case; one that cannot be read
    for certain is empty. Pure."""
    end = content.find(b"\r\n\r\n")
    head = b"\r\n" + (content if end < 0 else content[:end]).lower()
    found: list[str] = []
    for match in _FROM.finditer(b"" if content.startswith(b"\r\n") else head):
        value = match[1].replace(b"\r\n", b"").decode("utf-8", "replace")
        try:
            addresses = [address for _, address in getaddresses([value])] if len(value) <= _LONGEST_FROM else []
        except RecursionError:
            addresses = []
        found += [address if _ADDRESS.fullmatch(address) else "" for address in addresses or [""]]
    return found
