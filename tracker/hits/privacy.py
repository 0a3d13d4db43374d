"""Who asked, and how much of it may be kept (``tracker.privacy``). Pure; addresses are text, networks parsed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tracker.hits.agents import family

Network = IPv4Network | IPv6Network


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
