"""Who asked, and how much of it may be kept (``tracker.privacy``). Pure; addresses are text, networks parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_BROWSERS = (
    ("Gmail image proxy", re.compile(r"GoogleImageProxy")),
    ("Yahoo image proxy", re.compile(r"YahooMailProxy")),
    ("Thunderbird", re.compile(r"Thunderbird/")),
    ("Outlook", re.compile(r"Outlook|ms-office|Microsoft Office/|MSOffice")),
    ("Apple Mail", re.compile(r"AppleMail|^Mozilla/5\.0$")),
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/")),
    ("Opera", re.compile(r"OPR/|Opera")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/")),
    ("Firefox", re.compile(r"Firefox/|FxiOS/")),
    ("Chrome", re.compile(r"Chrome/|CriOS/|Chromium/")),
    ("Internet Explorer", re.compile(r"MSIE |Trident/")),
    ("Safari", re.compile(r"Version/[\d.]+ .*Safari/")),
    ("Apple Mail", re.compile(r"(?:Macintosh|iPhone|iPad).*AppleWebKit/\S+ \(KHTML, like Gecko\)(?: Mobile/\w+)?$")),
)
_SYSTEMS = (
    ("iOS", re.compile(r"iPhone|iPad|iPod|Outlook-iOS|\.iphone")),
    ("Android", re.compile(r"Android")),
    ("ChromeOS", re.compile(r"CrOS")),
    ("Windows", re.compile(r"Windows")),
    ("macOS", re.compile(r"Macintosh|Mac OS X|Mac_PowerPC")),
    ("Linux", re.compile(r"Linux|X11")),
)


@lru_cache(maxsize=4096)
def family(agent: str) -> str:
    """The program and system of an agent without versions, such as ``Firefox on Windows``; ``other`` where unknown."""
    agent = agent[:1024].strip()
    browser = next((name for name, pattern in _BROWSERS if pattern.search(agent)), None)
    if browser is None:
        product = re.match(r"[A-Za-z][A-Za-z-]{0,30}", agent)
        browser = product.group() if product and product.group() != "Mozilla" else "other"
    system = next((name for name, pattern in _SYSTEMS if pattern.search(agent)), None)
    return f"{browser} on {system}" if system and "image proxy" not in browser else browser


def keep_agent(agent: str | None, mode: str) -> str | None:
    """What may be stored of an agent under ``mode``: full, family or none."""
    if not agent or mode == "none":
        return None
    return agent[:1024] if mode == "full" else family(agent)


def keep_address(address: str | None, mode: str) -> str | None:
    """What may be stored of an address under ``mode``: full, truncated (to /24 or /48) or none."""
    if address is None or mode == "none":
        return None
    parsed = _parse(address)
    if parsed is None or mode == "full":
        return None if parsed is None else str(parsed)
    return str(ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False).network_address)


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str | None:
    """The address of who asked: ``peer``, unless it is a trusted proxy; then the last address in ``forwarded``
    (the values of X-Forwarded-For in order) that no trusted proxy put its own name to."""
    current = _parse(peer or "")
    if current is None:
        return None
    hops = [hop for value in forwarded for hop in value.split(",")]
    while hops and _trusts(current, trusted):
        named = _parse(hops.pop())
        if named is None:
            break
        current = named
    return str(current)


def _trusts(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: bare, in brackets, with a port, mapped into IPv6, with a zone."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
