"""Which addresses a request may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.webhooks.addresses import refused

CLOSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::1",
    "2001:db8::1",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "",
    "localhost",
    "127.1",
    "0x7f.1",
]
OPEN = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
OPEN += ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]


@pytest.mark.parametrize("address", CLOSED)
def test_what_only_we_can_reach_is_refused(address: str) -> None:
    assert refused(address)


@pytest.mark.parametrize("address", OPEN)
def test_what_anybody_can_reach_is_not(address: str) -> None:
    assert not refused(address)


@given(st.ip_addresses())
def test_nothing_that_python_knows_to_be_private_passes(address: IPv4Address | IPv6Address) -> None:
    # Newer Pythons call all of 6to4 private; what counts is the address that is wrapped in it.
    meant = (address.sixtofour if isinstance(address, IPv6Address) else None) or address
    if meant.is_private or meant.is_multicast or meant.is_link_local or meant.is_loopback:
        assert refused(str(address))


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_changes_nothing(address: IPv4Address) -> None:
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        assert refused(str(ip_address(wrapped))) == refused(str(address)), wrapped
