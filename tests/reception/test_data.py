"""Where data ends and what it holds, however it is cut into chunks."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.reception.data import DataReader, normalize_newlines, normalized_size

octets = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x", b"\0", b"\r\n.", b"\r\n..", b"\xff"])).map(
    b"".join
)


def slow_reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """By line, as RFC 5321 section 4.5.2 tells it: content and what follows it, None without an end."""
    content, rest = b"", stream
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        if line == b".":
            return content, rest
        content += line.removeprefix(b".") + end


def read(stream: bytes, cuts: list[int], limit: int = 10_000) -> DataReader | None:
    reader = DataReader(limit)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for start, end in pairwise(places):
        if reader.feed(stream[start:end]):
            reader.rest += stream[end:]
            return reader
    return None


@given(octets, st.lists(st.integers(0, 60)))
def test_any_chunking_gives_what_a_reading_by_line_gives(stream, cuts):
    expected = slow_reference(stream)
    reader = read(stream, cuts)
    assert (reader is None) == (expected is None)
    if reader is not None and expected is not None:
        assert (reader.content(), reader.rest) == expected


@given(octets, st.lists(st.integers(0, 60)), st.integers(0, 40))
def test_the_limit_is_exact_and_what_is_thrown_away_ends_at_the_same_place(stream, cuts, limit):
    expected = slow_reference(stream)
    reader = read(stream, cuts, limit)
    assert (reader is None) == (expected is None)
    if reader is not None and expected is not None:
        assert reader.rest == expected[1]
        assert reader.too_large == (len(expected[0]) > limit)


@pytest.mark.parametrize("octets", [b"x", b"\n", b"\r", b"."])
def test_a_long_line_in_small_chunks_costs_linear_time_and_bounded_memory(octets):
    reader = DataReader(1_000_000)
    began = time.process_time()
    for _ in range(6_000):
        assert not reader.feed(octets * 10_000)
        assert reader.held < 1_100_000
    assert reader.feed(b"\r\n.\r\n")
    assert reader.too_large
    assert time.process_time() - began < 30


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_the_limit_counts_the_content_not_its_stuffing(size):
    content = b".\r\n" * (size // 3) + b"x" * (size % 3)
    stuffed = content.replace(b".\r\n", b"..\r\n") + b"\r\n.\r\n"
    reader = read(stuffed, [], limit=1002)
    assert reader is not None
    assert reader.too_large == (size + 2 > 1002)


def test_memory_stays_bounded_and_time_linear():
    reader = DataReader(1000)
    began = time.process_time()
    for _ in range(60):
        assert not reader.feed(b"\n" * 1_000_000)
        assert reader.held < 2000
    assert reader.feed(b"\r\n.\r\n")
    assert reader.too_large
    assert time.process_time() - began < 20


@given(octets)
def test_normalized_data_has_no_bare_newlines(content):
    clean = normalize_newlines(content)
    assert normalized_size(clean) is None
    assert (normalized_size(content) or len(content)) == len(clean)
    assert clean.replace(b"\r\n", b"") == content.replace(b"\r", b"").replace(b"\n", b"")
    assert (normalized_size(content) is None) == (clean == content)
