"""What agents tell of device, system and program, whole or cut down."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.hits.agents import DEVICES, UNKNOWN, client_of, family

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IOS = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"

CLIENTS = {
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KIT} Chrome/130.0.0.0 Safari/537.36": ("desktop", "Windows", "Chrome"),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KIT} Chrome/130.0.0.0 Safari/537.36 Edg/130.0": (
        *("desktop", "Windows"),
        "Edge",
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KIT} Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0": (
        *("desktop", "Windows"),
        "Opera",
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KIT} Chrome/130.0.0.0 Safari/537.36": ("desktop", "ChromeOS", "Chrome"),
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0": ("desktop", "Linux", "Firefox"),
    f"{IOS} Version/18.0 Mobile/15E148 Safari/604.1": ("phone", "iOS", "Safari"),
    f"{IOS} CriOS/130.0 Mobile/15E148 Safari/604.1": ("phone", "iOS", "Chrome"),
    f"{IOS} Mobile/15E148": ("phone", "iOS", "Apple Mail"),
    "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148"
    " Safari/604.1": ("tablet", "iOS", "Safari"),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)": (
        *("desktop", "macOS"),
        "Apple Mail",
    ),
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {KIT} Chrome/130.0.0.0 Mobile Safari/537.36": (
        *("phone", "Android"),
        "Chrome",
    ),
    f"Mozilla/5.0 (Linux; Android 14; SM-X710) {KIT} Chrome/130.0.0.0 Safari/537.36": ("tablet", "Android", "Chrome"),
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0": ("desktop", "Linux", "Thunderbird"),
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.5143; Pro)": ("desktop", "Windows", "Outlook"),
    "Outlook-iOS/723.4027091.prod.iphone (4.28.0)": ("phone", "iOS", "Outlook"),
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)": (
        *(UNKNOWN, UNKNOWN),
        "Gmail",
    ),
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html": (UNKNOWN, UNKNOWN, "Yahoo Mail"),
    "Mozilla/5.0": (UNKNOWN, UNKNOWN, "Apple Mail"),
    f"{IOS} Mobile/15E148 [FBAN/FBIOS;FBAV/480.0.0.42.106;FBDV/iPhone14,5]": ("phone", "iOS", "Facebook"),
    f"Mozilla/5.0 (Linux; Android 13; V2)  {KIT} Version/4.0 Chrome/99 Mobile Safari/537.36 MicroMessenger/8.0": (
        *("phone", "Android"),
        "WeChat",
    ),
    "Mozilla/5.0 (PlayStation 5/SmartTV) AppleWebKit/605.1.15 (KHTML, like Gecko)": ("tv",),
    "curl/8.5.0": (UNKNOWN, UNKNOWN, "curl"),
    "?!": (UNKNOWN, UNKNOWN, UNKNOWN),
}


@pytest.mark.parametrize(("agent", "expected"), CLIENTS.items())
def test_what_an_agent_tells(agent: str, expected: tuple[str, ...]) -> None:
    assert client_of(agent)[: len(expected)] == expected
    assert client_of(family(agent)) == client_of(agent)


@pytest.mark.parametrize("agent", [None, ""])
def test_no_agent_tells_nothing(agent: str | None) -> None:
    assert client_of(agent) == (UNKNOWN, UNKNOWN, UNKNOWN)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_any_text_is_an_agent(agent: str) -> None:
    found = client_of(agent)
    assert found.device in (*DEVICES, UNKNOWN)
    assert all(found)
