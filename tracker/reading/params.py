"""What a request asks for, read strictly: dates, limits and cursors. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from uuid import UUID

DEFAULT_LIMIT, MOST = 100, 1000

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+\- ]\d\d:\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class BadRequest(Exception):
    """A request that cannot be answered; ``str()`` says what to do instead."""


def single(pairs: Sequence[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Query parameters by name; empty ones are as if not there. Raises BadRequest for unknown or repeated ones."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadRequest(f"There is no parameter {name[:60]!r} here; there are: {', '.join(sorted(known))}.")
        if name in found:
            raise BadRequest(f"Give {name!r} once.")
        found[name] = value
    return {name: value for name, value in found.items() if value != ""}


def limit(params: Mapping[str, str]) -> int:
    """How many rows: 100, at most 1000. Raises BadRequest."""
    text = params.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not 1 <= int(text) <= MOST:
        raise BadRequest(f"Give a whole number from 1 to {MOST} as 'limit'.")
    return int(text)


def number(params: Mapping[str, str], name: str) -> int | None:
    """A whole number, None where not given. Raises BadRequest."""
    text = params.get(name)
    if text is not None and not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise BadRequest(f"Give a whole number as {name!r}.")
    return None if text is None else int(text)


def choice(params: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    """One of the allowed values, None where not given. Raises BadRequest."""
    value = params.get(name)
    if value is not None and value not in allowed:
        raise BadRequest(f"Give one of {', '.join(allowed)} as {name!r}.")
    return value


def instant(params: Mapping[str, str], name: str, zone: tzinfo) -> float | None:
    """A time in seconds since the epoch: RFC 3339 with its offset, or a bare date, the start of that day in ``zone``.
    Raises BadRequest."""
    text = params.get(name)
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
        if match := _INSTANT.fullmatch(text):
            # A plus sign that was not percent-encoded arrives as a space.
            offset = match[3].upper().replace(" ", "+").replace("Z", "+00:00")
            return datetime.fromisoformat(f"{match[1]}T{match[2]}{offset}").timestamp()
    except (ValueError, OverflowError):
        pass
    raise _bad_time(name)


def end(params: Mapping[str, str], name: str, zone: tzinfo) -> float | None:
    """The time before which something ends: as ``instant`` reads it, but a bare date's day still belongs to it.
    Raises BadRequest."""
    text = params.get(name)
    if text is None or not _DAY.fullmatch(text):
        return instant(params, name, zone)
    try:
        return (datetime.fromisoformat(text) + timedelta(days=1)).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        raise _bad_time(name) from None


def period(asked: Mapping[str, str], zone: tzinfo) -> tuple[float | None, float | None]:
    """When what is asked for by ``from`` and ``to`` begins and ends. Raises BadRequest."""
    since, until = instant(asked, "from", zone), end(asked, "to", zone)
    whole_days = _DAY.fullmatch(asked.get("to") or "") is not None  # the last one has a length of its own
    if since is not None and until is not None and (since > until or (since == until and whole_days)):
        raise BadRequest("Give a 'from' that is not after 'to'.")
    return since, until


def _bad_time(name: str) -> BadRequest:
    return BadRequest(
        f"Give a date (2026-01-31) or an RFC 3339 time with its offset (2026-01-31T09:00:00Z) as {name!r}."
    )


def cursor(params: Mapping[str, str]) -> str | None:
    """The store's key inside an opaque cursor. Raises BadRequest."""
    text = params.get("cursor")
    if text is None:
        return None
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        json.loads(key)
    except (binascii.Error, ValueError, RecursionError):
        raise bad_cursor() from None
    return key


def bad_cursor() -> BadRequest:
    """The error of a cursor that this list did not give out."""
    return BadRequest("Give a 'cursor' exactly as 'next' of this list gave it, or none to begin at the start.")


def seal_cursor(key: str | None) -> str | None:
    """The opaque form of a store's key."""
    return None if key is None else base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def message_id(text: str) -> str | None:
    """The one spelling of a message's id, None where it cannot be one."""
    try:
        return str(UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


def rfc3339(seconds: float | None) -> str | None:
    """A time as UTC with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
