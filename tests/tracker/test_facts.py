"""Facts as octets: what goes in comes out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import accepted, hit, outcome
from tracker.facts import decode, encode
from tracker.model import Accepted, HitClass, Outcome, Recipient, Status, Verdict, new_id

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VERDICT = Verdict(HitClass.MACHINE, "scanner", "burst", 3)


@given(st.builds(accepted, people=st.integers(0, 5), subject=TEXT, tag=st.none() | TEXT, pixel=st.booleans()))
def test_an_acceptance_comes_back(fact: Accepted):
    assert decode(encode(fact)) == fact


@given(st.builds(Outcome, st.uuids(), st.integers(1, 9**9), st.sampled_from(Status), st.floats(0, 4e9), TEXT))
def test_an_outcome_comes_back(fact: Outcome):
    assert decode(encode(fact)) == fact


@given(st.integers(0, 3), st.none() | st.integers(1, 99), st.none() | st.just(VERDICT), st.dictionaries(TEXT, TEXT))
def test_a_hit_comes_back(position, recipient, verdict, headers):
    fact = hit(new_id(), recipient, position, verdict=verdict, headers=headers)
    assert decode(encode(fact)) == fact


@given(st.text(st.characters(), max_size=10), st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3))
def test_text_that_no_store_could_keep_costs_no_record(plain, surrogates):
    bad = plain + surrogates + plain
    fact = accepted(subject=bad, metadata={bad: bad}, recipients=(Recipient(1, bad),))
    again = decode(encode(fact))
    assert isinstance(again, Accepted)
    replaced = bad.encode("utf-8", "replace").decode()
    assert again.metadata == {replaced: replaced}
    assert replace(again, subject="", metadata={}, recipients=()) == replace(
        fact, subject="", metadata={}, recipients=()
    )
    assert again.recipients == (Recipient(1, replaced),)
    told = decode(encode(replace(outcome(fact.id), reply=bad)))
    assert told == replace(outcome(fact.id), reply=replaced)


def test_a_record_of_an_older_version_has_the_defaults():
    fact = accepted(attributed=False)
    octets = encode(fact)
    older = json.loads(octets[1:])
    del older["attributed"]
    assert decode(octets[:1] + json.dumps(older).encode()) == replace(fact, attributed=True)


def test_a_record_of_a_newer_version_can_be_read():
    octets = encode(outcome(new_id()))
    newer = {**json.loads(octets[1:]), "attempt": 3}
    assert decode(octets[:1] + json.dumps(newer).encode()) == decode(octets)


@pytest.mark.parametrize("octets", [b"", b"a", b"z{}", b"o{}", b"o[1]", b"o\xff", b"\0", b'h{"id":1}'])
def test_anything_else_is_a_value_error(octets):
    with pytest.raises(ValueError, match=r"not a fact|validation error"):
        decode(octets)
