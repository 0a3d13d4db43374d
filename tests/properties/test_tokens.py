"""Tokens: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import base64
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.errors import BadToken
from tracker.model import LinkType
from tracker.tokens import KEY_BYTES, Click, Keyring, Mirror, Open, OptOut, format_key, parse_key

OLD, NEW = bytes(range(64)), bytes(range(64, 128))
RING = Keyring([NEW, OLD])

ids = st.uuids()
recipients = st.none() | st.integers(1, 10**6)
texts = st.text(st.characters(codec="utf-8"), max_size=300)
claims = st.one_of(
    st.builds(Open, ids, recipients),
    st.builds(
        Click, ids, recipients, st.integers(1, 10**5), texts, st.sampled_from([LinkType.TRACKED, LinkType.OPT_OUT])
    ),
    st.builds(OptOut, ids, recipients, texts, texts),
    st.builds(Mirror, ids, recipients),
)


@given(claims)
def test_a_token_opens_to_what_was_sealed(claim):
    assert RING.open(type(claim), RING.seal(claim)) == claim


@given(claims)
def test_a_token_is_the_same_each_time(claim):
    assert RING.seal(claim) == Keyring([NEW]).seal(claim)


@given(claims)
def test_a_token_outlives_its_key(claim):
    assert RING.open(type(claim), Keyring([OLD]).seal(claim)) == claim
    assert RING.seal(claim, RING.ids[1]) == Keyring([OLD]).seal(claim)


@given(claims, st.data())
def test_an_altered_token_opens_to_nothing(claim, data):
    token = RING.seal(claim)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_=.~ /+é\n"))
    altered = data.draw(
        st.sampled_from([token[:at], token[:at] + letter + token[at:], token[:at] + letter + token[at + 1 :]])
    )
    if altered != token:
        with pytest.raises(BadToken):
            RING.open(type(claim), altered)


@given(claims, st.sampled_from([Open, Click, OptOut, Mirror]))
def test_a_token_serves_its_own_purpose_only(claim, purpose):
    if purpose is not type(claim):
        with pytest.raises(BadToken):
            RING.open(purpose, RING.seal(claim))


@given(st.binary(max_size=200))
def test_noise_opens_to_nothing(noise):
    for purpose in (Open, Click, OptOut, Mirror):
        with pytest.raises(BadToken):
            RING.open(purpose, base64.urlsafe_b64encode(noise).decode().rstrip("="))


def test_a_token_shows_nothing_readable():
    claim = OptOut(UUID(int=1), 1, "news@example.com", "ann@example.net")
    raw = base64.urlsafe_b64decode(RING.seal(claim) + "==")
    assert b"example" not in raw
    assert b"ann" not in raw


def test_the_url_is_compressed_where_that_is_shorter():
    short = RING.seal(Click(UUID(int=1), 1, 1, "https://www.example.com/?utm_source=newsletter&utm_medium=email"))
    assert len(short) < 100
    for length in (1, 30, 300, 1400):
        noise = "".join(chr(33 + (i * 7919 + i * i) % 94) for i in range(length))
        plain = Click(UUID(int=1), 1, 1, noise)
        assert len(RING.seal(plain)) <= (1 + 16 + 16 + 3 + 1 + length + 2) * 4 / 3 + 2


def test_a_key_survives_its_text_form():
    assert parse_key(format_key(OLD)) == OLD
    for bad in ("", "abc", format_key(OLD)[:-4], "é" * 86, format_key(bytes(KEY_BYTES - 1))):
        with pytest.raises(ValueError, match="tracepost key"):
            parse_key(bad)


def test_a_keyring_needs_a_key():
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])


@pytest.mark.long
def test_a_million_altered_tokens_open_to_nothing():
    random = Random(1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for number in range(1_000_000):
        token = list(RING.seal(Click(UUID(int=number), 1, number % 30, f"https://example.org/{number}")))
        at = random.randrange(len(token))
        token[at] = random.choice(alphabet.replace(token[at], ""))
        with pytest.raises(BadToken):
            RING.open(Click, "".join(token))
