"""Which profile holds for a message."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import SenderConfig
from relay.reception.senders import first_address, profile_for, readable

NEWS = SenderConfig(match="news@example.com", click_tracking=False)
REST = SenderConfig(match="*@example.com")


def chosen(headers, reverse_path="bounce@mailer.test", senders=(NEWS, REST)):
    lower = {name.lower(): value for name, value in headers.items()}
    return profile_for(senders, reverse_path, lambda name: lower.get(name.lower()))


def test_the_first_match_on_the_from_address_wins():
    assert chosen({"From": "News <News@Example.com>"}).settings is NEWS
    assert chosen({"From": "shop@example.com"}).settings is REST


def test_without_a_from_address_the_reverse_path_decides():
    assert chosen({}, "news@example.com").settings is NEWS
    assert chosen({"From": "undisclosed"}, "x@example.com").settings is REST


def test_a_stranger_has_no_profile_and_cannot_ask_for_one():
    profile = chosen({"From": "a@stranger.test", "X-Track-Opens": "yes", "X-Track-Clicks": "yes"})
    assert (profile.settings, profile.open_tracking, profile.click_tracking) == (None, False, False)


@pytest.mark.parametrize(
    ("value", "expected"), [("yes", True), ("NO", False), (" no ", False), ("true", True), ("maybe", True)]
)
def test_a_header_widens_or_narrows_what_the_profile_says(value, expected):
    assert chosen({"From": "shop@example.com", "X-Track-Opens": value}).open_tracking is expected


def test_a_header_can_switch_on_what_the_profile_left_off():
    assert chosen({"From": "news@example.com", "X-Track-Clicks": "yes"}).click_tracking


def test_what_cannot_be_understood_is_noted():
    profile = chosen({"From": "shop@example.com", "X-Track-Opens": "maybe", "X-Track-Metadata": "{oops"})
    assert len(profile.notes) == 2
    assert profile.metadata == {}


def test_metadata_tag_and_mailing():
    profile = chosen(
        {
            "From": "shop@example.com",
            "X-Track-Tag": "=?utf-8?q?Gr=C3=BC=C3=9Fe?=",
            "X-Track-Mailing": " march ",
            "X-Track-Metadata": '{"order": 7, "name": "Ann", "list": [1]}',
        }
    )
    assert (profile.tag, profile.mailing) == ("Grüße", "march")
    assert profile.metadata == {"order": "7", "name": "Ann", "list": "[1]"}


@given(st.text(max_size=500))
def test_no_header_value_is_too_odd(value):
    chosen({"From": value, "Subject": value, "X-Track-Metadata": value, "X-Track-Tag": value})
    first_address(value)
    readable("=?utf-8?q?" + value)


def test_a_huge_encoded_header_costs_little():
    huge = "=?utf-8?b?" + "QUFB" * 70000 + "?= " + "=?utf-8?q?a?= " * 20000
    began = time.process_time()
    chosen({"From": huge, "Subject": huge, "X-Track-Tag": huge, "X-Track-Metadata": huge})
    assert time.process_time() - began < 1


def test_broken_encoded_words_are_shown_as_they_are():
    assert readable("=?no-such-charset?q?a?=") == "=?no-such-charset?q?a?="
    assert readable("caf\udce9") == "caf?"
