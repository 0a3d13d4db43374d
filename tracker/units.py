"""Values as people write them in a configuration: durations, sizes, addresses, networks, URLs. Pure.

Each ``parse_…`` takes what YAML gave and raises ValueError with a plain sentence for what it cannot read.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import idna

Network = IPv4Network | IPv6Network

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_UNITS = {unit.upper(): factor for unit, factor in _BYTES.items()}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])", re.ASCII)
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([KMGT]?I?B)", re.ASCII | re.IGNORECASE)
_LABELS = re.compile(r"(?!.{254})[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*")


class Address(NamedTuple):
    """Where to listen: a host name or IP address, without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def did_you_mean(word: str, words: list[str]) -> str:
    """ " (did you mean …?)" for the word of ``words`` that is nearest, empty where none is near."""
    folded = {each.lower(): each for each in words}
    near = get_close_matches(word.lower(), list(folded), 1, 0.6)
    return f" (did you mean {folded[near[0]]}?)" if near else ""


def parse_duration(value: object) -> float:
    """Seconds of ``90s``, ``10m``, ``4h`` or ``5d``."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"a duration needs a unit: {value}s, {value}m, {value}h or {value}d?")
        raise ValueError("must be a duration such as 90s, 10m, 4h or 5d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds <= 0:
        raise ValueError("must be longer than nothing")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` reads back; precise to a millisecond."""
    unit = next((unit for unit in "dhm" if seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:.3f}".rstrip("0").rstrip(".") + unit


def parse_size(value: object) -> int:
    """Bytes of ``25MB``: decimal (1 MB is 1,000,000 bytes), binary where it says so (``MiB``)."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"a size needs a unit: {value}B, {value}KB, {value}MB or {value}GB?")
        raise ValueError("must be a size such as 500KB, 25MB or 100GB")
    size = round(float(match[1]) * _UNITS[match[2].upper()])
    if size <= 0:
        raise ValueError("must be more than nothing")
    return size


def format_size(size: int) -> str:
    """The shortest text that ``parse_size`` reads back."""
    unit = next(unit for unit in ("TB", "GB", "MB", "KB", "B") if size % _BYTES[unit] == 0)
    return f"{size // _BYTES[unit]}{unit}"


def parse_address(value: object) -> Address:
    """``127.0.0.1:2525``, ``localhost:2525`` or ``[::1]:2525``; port 0 lets the system choose."""
    if not isinstance(value, str):
        raise ValueError("must be an address with a port, such as 127.0.0.1:2525 or [::1]:2525")
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not re.fullmatch(r"\d{1,5}", port, re.ASCII):
        raise ValueError("must be an address with a port, such as 127.0.0.1:2525 or [::1]:2525")
    if ":" in host and bare == host:
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:2525")
    if int(port) > 65535:
        raise ValueError("ports end at 65535")
    try:
        ip_network(bare)
    except ValueError:
        if bare != host or not is_host(bare) or re.fullmatch(r"[\d.]+", bare):
            raise ValueError("must begin with a host name or an IP address") from None
    return Address(bare, int(port))


def is_host(text: str) -> bool:
    """Whether a text can be the name of a host."""
    return _LABELS.fullmatch(text) is not None


def parse_network(value: object) -> Network:
    """An IP network in CIDR form; a single address is a network of one."""
    if not isinstance(value, str):
        raise ValueError("must be a network such as 10.0.0.0/8 or 2001:db8::/32")
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        wider = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or 2001:db8::/32") from None
    raise ValueError(f"has bits set beyond its prefix (did you mean {wider}?)")


def parse_url(value: object, query: bool = False) -> str:
    """An absolute http or https URL in ASCII, its scheme and host in lower case and without a slash at its end.
    A query is allowed only where ``query`` says so; a user name and a fragment never are."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError("must be a URL such as https://track.example.com")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as https://track.example.com") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if ("?" in value and not query) or "#" in value:
        raise ValueError("must not have a query or a fragment" if not query else "must not have a fragment")
    netloc = _ascii_host(parts.hostname or "") + (f":{port}" if port is not None else "")
    if not (parts.path + parts.query).isascii():
        raise ValueError("its path must be ASCII, percent-encoded where it needs to be")
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}" + (f"?{parts.query}" if parts.query else "")


def parse_endpoint(value: object) -> str:
    """An absolute http or https URL in ASCII that something is sent to: exactly as it stands but for scheme and host,
    which may follow a user name and password."""
    if not isinstance(value, str):
        raise ValueError("must be a URL such as https://app.example.com/hooks")
    scheme, mark, rest = value.partition("://")
    end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    user, at, host = rest[:end].rpartition("@")
    if not user.isascii() or (at and not user.partition(":")[0]):
        raise ValueError("its user name and password must be ASCII, percent-encoded where they need to be")
    whole = parse_url(f"{scheme}{mark}{host}{rest[end:]}", query=True)
    return f"{whole.partition('://')[0]}://{user}{at}{urlsplit(whole).netloc}{rest[end:] or '/'}"


def _ascii_host(host: str) -> str:
    """A host of a URL as it stands on the wire; IDNA 2008 (RFC 5891) for names beyond ASCII."""
    if ":" in host:
        return f"[{host}]"
    try:
        host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        host = ""
    if not is_host(host):
        raise ValueError("must name a host, such as https://track.example.com")
    return host


def parse_zone(value: object) -> str:
    """An IANA time zone that this machine knows."""
    if not isinstance(value, str):
        raise ValueError("must be an IANA time zone such as Europe/Berlin")
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        guess = did_you_mean(value, sorted(available_timezones()))
        raise ValueError(f"{value!r} is no IANA time zone{guess or ', such as Europe/Berlin'}") from None
    return value
