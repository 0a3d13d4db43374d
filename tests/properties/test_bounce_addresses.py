"""Reverse-paths of our own: what was written is read, in whatever case; all else is refused."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.bounces.address import (
    LONGEST_LOCAL_PART,
    LONGEST_TOKEN,
    Returning,
    fill,
    find,
    open_token,
    seal,
    token_in,
)
from tracker.errors import BadToken
from tracker.tokens import KEY_BYTES, Keyring

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
FORM = "bounces+{token}@Track.example.com"
COPIES = st.builds(Returning, st.uuids(), st.integers(1, 2**21 - 1))
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@given(COPIES)
def test_a_token_is_read_in_any_case_and_always_the_same(copy):
    ring = Keyring([NEW])
    token = seal(copy, ring)
    assert token == seal(copy, Keyring([NEW])) == token.lower()
    assert len(token) <= LONGEST_TOKEN
    assert open_token(token, ring) == open_token(token.upper(), ring) == open_token(token.title(), ring) == copy


@given(COPIES)
def test_an_address_holds_its_token_and_keeps_within_64_octets(copy):
    ring = Keyring([NEW])
    address = fill(FORM, copy, ring)
    assert len(address.rpartition("@")[0]) <= LONGEST_LOCAL_PART
    for given_back in (address, address.upper(), address.lower()):
        assert find(given_back, ["other+{token}@track.example.com", FORM], ring) == (copy, FORM)


@given(COPIES)
def test_after_a_rotation_old_tokens_hold_and_a_kept_key_still_seals(copy):
    before = seal(copy, Keyring([OLD]))
    ring = Keyring([NEW, OLD])
    assert open_token(before, ring) == copy
    assert seal(copy, ring, ring.ids[1]) == before
    assert seal(copy, ring) != before
    with pytest.raises(BadToken):
        open_token(before, Keyring([NEW]))


@given(COPIES, st.data())
def test_an_altered_token_is_refused(copy, data):
    ring = Keyring([NEW])
    token = seal(copy, ring)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(ALPHABET))
    assume(other != token[at])
    for forged in (token[:at] + other + token[at + 1 :], token[:at], token[:at] + token[at + 1 :], token + other):
        with pytest.raises(BadToken):
            open_token(forged, ring)


@given(st.text(alphabet=ALPHABET, min_size=1, max_size=60) | st.text(max_size=60))
def test_a_token_made_up_is_refused(text):
    with pytest.raises(BadToken):
        open_token(text, Keyring([NEW]))


@given(COPIES, COPIES)
def test_a_mac_holds_for_its_own_copy_alone(one, other):
    assume(one != other)
    ring = Keyring([NEW])
    with pytest.raises(BadToken):
        open_token(seal(one, ring)[:16] + seal(other, ring)[16:], ring)


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.net",
        "bounces@track.example.com",
        "bounces+@track.example.com",
        "bounces+x@elsewhere.example.com",
        "bounces+a@b@track.example.com",
        "bounces+ſ@track.example.com",
        "",
    ],
)
def test_what_is_of_no_form_is_no_bounce_address(address):
    assert token_in(address, FORM) is None
    assert find(address, [FORM], Keyring([NEW])) is None


def test_a_form_with_a_forged_token_is_refused():
    with pytest.raises(BadToken):
        find("bounces+aaaa@track.example.com", [FORM], Keyring([NEW]))
    with pytest.raises(BadToken):
        find("bounces+é@track.example.com".replace("é", "1"), [FORM], Keyring([NEW]))


def test_the_layout_stays_as_it_is():
    copy = Returning(UUID("01890a5d-ac96-774b-bcce-b302099a8057"), 300)
    assert seal(copy, Keyring([bytes(range(64))])) == GOLDEN
    assert open_token(GOLDEN, Keyring([bytes(range(64))])) == copy


GOLDEN = "srmn4wipy5iktke6agequxnmsz3uxpgowmbatguak6wae"
