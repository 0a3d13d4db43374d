"""Whose address it is, and what is kept of it and of the agent."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import BROWSER
from tracker.hits.agents import family
from tracker.hits.privacy import client_address, keep_address, keep_agent

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.66, 198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.66, 198.51.100.9, 10.2.2.2"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.66", "198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["198.51.100.9:4711"], "198.51.100.9"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", ["198.51.100.9"], "198.51.100.9"),
        ("::ffff:10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["<script>, 10.9.9.9"], "10.9.9.9"),
        (None, ["198.51.100.9"], None),
        ("/run/socket", [], None),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str | None, forwarded: list[str], expected: str | None) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


@given(st.text(), st.lists(st.text(), max_size=4))
def test_no_header_makes_it_fail(peer: str, forwarded: list[str]) -> None:
    client_address(peer, forwarded, TRUSTED)
    client_address("10.0.0.1", forwarded, TRUSTED)


@pytest.mark.parametrize(
    ("address", "mode", "kept"),
    [
        ("192.0.2.77", "truncated", "192.0.2.0"),
        ("2001:db8:1:2:3::4", "truncated", "2001:db8:1::"),
        ("192.0.2.77", "full", "192.0.2.77"),
        ("192.0.2.77", "none", None),
        (None, "full", None),
    ],
)
def test_addresses_are_cut(address: str | None, mode: str, kept: str | None) -> None:
    assert keep_address(address, mode) == kept


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (BROWSER, "Chrome on Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " Version/17.0 Mobile/15E148 Safari/604.1",
            "Safari on iOS",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            "Apple Mail on macOS",
        ),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "Gmail",
        ),
        ("curl/8.5.0", "curl"),
        ("jane.doe@example.com secret", "jane"),
        ("?!", "other"),
    ],
)
def test_agents_become_families(agent: str, name: str) -> None:
    assert family(agent) == name


def test_agents_are_kept_as_told() -> None:
    assert keep_agent(BROWSER, "full") == BROWSER
    assert keep_agent("x" * 5000, "full") == "x" * 1024
    assert keep_agent(BROWSER, "none") is None
    assert keep_agent(None, "full") is None
