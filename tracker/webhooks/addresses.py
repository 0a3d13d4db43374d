"""Which addresses a request may go to. Pure.

Whoever can name a URL must not reach by it what only this machine or its network can. The lists are those of the IANA
special-purpose address registries (RFC 6890), and the addresses at which clouds answer their machines.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

_CLOSED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata too
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure, to its own machines
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata too
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_OPEN6 = IPv6Network("2000::/3")
_CLOSED6 = tuple(
    ip_network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


def refused(text: str) -> bool:
    """Whether an address is one that a request must not go to; what is no address is."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return True
    inner = _inner(address)
    if inner is not None:
        return any(inner in network for network in _CLOSED)
    return address not in _OPEN6 or any(address in network for network in _CLOSED6)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet ends at, however it is wrapped; None for one of IPv6 itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None or address.sixtofour is not None:
        return address.ipv4_mapped or address.sixtofour
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
