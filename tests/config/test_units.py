"""Durations, sizes, addresses, networks, URLs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.units import (
    format_duration,
    format_size,
    parse_address,
    parse_duration,
    parse_size,
    parse_url,
)


@given(st.integers(1, 10**11))
def test_sizes_round_trip(size: int) -> None:
    text = format_size(size)
    if len(text.rstrip("TGMKB")) <= 9:
        assert parse_size(text) == size


@given(st.integers(1, 10**9))
def test_durations_round_trip(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-6)


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.text()))
def test_nothing_but_a_sentence_comes_of_rubbish(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_address, parse_url):
        with contextlib.suppress(ValueError):
            assert parse(value) is not None
            continue
        with pytest.raises(ValueError, match=r"^[^\n]{5,200}$") as caught:
            parse(value)
        assert caught.type is ValueError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("4h", 14400), ("5d", 432000), ("0.5s", 0.5), ("1 h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", [90, 1.5, "90", "0s", "-1s", "1w", "s", "", None, True, "1h30m", "١s"])
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("25MB", 25_000_000), ("1MiB", 1_048_576), ("100GB", 10**11), ("1kb", 1000), ("7B", 7), ("1.5KiB", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", [25, "25", "0MB", "25M", "MB", None, True])
def test_no_sizes(value: object) -> None:
    with pytest.raises(ValueError, match=r"size|nothing"):
        parse_size(value)


@pytest.mark.parametrize("text", ["127.0.0.1:2525", "[::1]:2525", "localhost:0", "0.0.0.0:65535"])
def test_addresses_round_trip(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["2525", ":25", "a:", "a:65536", "::1:25", "1.2.3:25", "a b:1", "[a]:1", "300.1.1.1:1"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Track.Example.com/", "https://track.example.com"),
        ("http://a.test:8080/t/", "http://a.test:8080/t"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["a.test", "//a.test", "http://", "http://a.test?", "http://a.test#", "http://a:x", "http://a b", "http://@a"],
)
def test_no_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(text)
