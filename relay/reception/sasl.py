"""The words of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN, from the first answer to a name and a password. No I/O of
its own."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from relay.reception.replies import SmtpError, bad_syntax

MECHANISMS = ("PLAIN", "LOGIN")
LONGEST_ANSWER = 12288
"""Octets of base64 that a client may send at once (RFC 4954 section 4)."""

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?")

Challenge = Callable[[str], Awaitable[bytes | None]]
"""Sends a challenge and gives the client's next line, None for one that was too long."""


class Credentials(NamedTuple):
    """What a client says of itself. Never logged."""

    user: str
    password: str


async def credentials(argument: str | None, challenge: Challenge) -> Credentials:
    """Name and password, by whichever way the argument of AUTH names. Raises SmtpError where they cannot be had."""
    mechanism, *initial = (argument or "").split()[:3] or [""]
    if not mechanism or len(initial) > 1:
        raise bad_syntax("Syntax: AUTH mechanism [initial-response]")
    if mechanism.upper() not in MECHANISMS:
        raise SmtpError(504, "5.5.4", "This mechanism is not known here; use PLAIN or LOGIN")
    first = initial[0].encode() if initial else None
    if mechanism.upper() == "PLAIN":
        return _plain(await _answer("", first, challenge))
    user = await _answer("VXNlcm5hbWU6", first, challenge)  # Username:
    return Credentials(_text(user), _text(await _answer("UGFzc3dvcmQ6", None, challenge)))  # Password:


async def _answer(prompt: str, initial: bytes | None, challenge: Challenge) -> bytes:
    line = await challenge(prompt) if initial is None else initial
    if line is None or len(line) > LONGEST_ANSWER:
        raise SmtpError(500, "5.5.6", "This line is too long")
    if initial is None and line == b"*":
        raise SmtpError(501, "5.7.0", "Authentication was cancelled")
    if initial == b"=":
        return b""
    if not _BASE64.fullmatch(line):
        raise SmtpError(501, "5.5.2", "This is not base64")
    return b64decode(line)


def _plain(message: bytes) -> Credentials:
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SmtpError(501, "5.5.2", "PLAIN wants [authzid] NUL authcid NUL password")
    acting_for, user, password = map(_text, parts)
    if acting_for not in ("", user):
        raise SmtpError(535, "5.7.8", "Nobody may act for another here")
    return Credentials(user, password)


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SmtpError(501, "5.5.2", "This is not UTF-8") from None
