"""Which profile holds for a message, and that it can be kept."""

from __future__ import annotations

import dataclasses
import json
import time
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config import SenderConfig
from relay.reception import senders
from relay.reception.headers import Headers, readable
from relay.reception.senders import Profile, first_address, freeze, profile_for, thaw

NEWS = SenderConfig(match="news@example.com", click_tracking=False, tracking_url="https://t.example.com")
REST = SenderConfig(match="*@example.com")
SHOP = SenderConfig.model_validate({"match": {"user": "Shop"}, "open_tracking": False})


def chosen(headers, reverse_path="bounce@mailer.test", senders=(NEWS, REST), user=None):
    return profile_for(senders, reverse_path, user, Headers(headers.items()), "http://t.test", "key-1")


def test_the_first_match_on_the_from_address_wins():
    assert chosen({"From": "News <News@Example.com>"}).route == "news@example.com"
    assert chosen({"From": "shop@example.com"}).route == "*@example.com"
    assert chosen({"From": "x@other.test"}, "news@example.com").route is None


def test_without_a_from_address_the_reverse_path_decides():
    assert chosen({}, "news@example.com").route == "news@example.com"
    assert chosen({"From": "undisclosed"}, "x@example.com").route == "*@example.com"


def test_a_stranger_has_no_profile_and_cannot_ask_for_one():
    profile = chosen({"From": "a@stranger.test", "X-Track-Opens": "yes", "X-Track-Clicks": "yes"})
    assert (profile.listed, profile.route, profile.reason) == (False, None, "no_profile")
    assert (profile.open_tracking, profile.click_tracking) == (False, False)


@pytest.mark.parametrize(("user", "route"), [("Shop", "user:Shop"), ("shop", None), ("Shop*", None), (None, None)])
def test_the_auth_user_is_matched_exactly(user, route):
    profile = chosen({"From": "a@stranger.test"}, senders=(SHOP,), user=user)
    assert (profile.route, profile.listed) == (route, route is not None)
    assert chosen({"From": "x@example.com"}, senders=(SHOP, REST), user=user).route == (route or "*@example.com")


def test_no_glob_holds_for_a_user():
    assert chosen({"From": "a@stranger.test"}, senders=(SenderConfig(match="user:*"),), user="Shop").route is None


def test_the_profile_names_url_and_key():
    profile = chosen({"From": "news@example.com"})
    assert (profile.tracking_url, profile.key, profile.shared) == ("https://t.example.com", "key-1", False)
    assert chosen({"From": "shop@example.com"}).tracking_url == "http://t.test"
    assert chosen({"From": "a@stranger.test"}).tracking_url == "http://t.test"


def test_mail_with_a_null_reverse_path_is_not_scanned():
    profile = chosen({"From": "news@example.com"}, "")
    assert (profile.listed, profile.reason) == (True, "null_reverse_path")
    assert chosen({"From": "a@stranger.test"}, "").reason == "no_profile"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Marketing", "marketing"), (" transactional ", "transactional"), ("other", None), ("", None)],
)
def test_category(value, expected):
    profile = chosen({"From": "news@example.com", "X-Track-Category": value})
    assert profile.category == expected
    assert bool(profile.notes) == (value == "other")


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
    assert time.process_time() - began < 10


def test_broken_encoded_words_are_shown_as_they_are():
    assert readable("=?no-such-charset?q?a?=") == "=?no-such-charset?q?a?="
    assert readable("caf\udce9") == "caf?"


TEXT = st.text(max_size=20)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
PROFILES = st.builds(
    Profile,
    sender=TEXT,
    listed=st.booleans(),
    route=st.none() | TEXT,
    tracking_url=TEXT,
    key=TEXT,
    open_tracking=st.booleans(),
    click_tracking=st.booleans(),
    text_tracking=st.booleans(),
    subject=TEXT,
    tag=st.none() | TEXT,
    mailing=st.none() | TEXT,
    category=st.none() | TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=5),
    saved=PAIRS,
    link_rules=PAIRS,
    visible_urls=TEXT,
    url_params=PAIRS,
    list_unsubscribe=st.booleans(),
    honored=st.booleans(),
    keeps=st.none() | TEXT,
    longest_address=st.integers(0, 3000),
    shared=st.booleans(),
    attributed=st.booleans(),
    notes=st.lists(TEXT, max_size=3).map(tuple),
    reason=st.none() | TEXT,
)


@given(PROFILES)
def test_a_frozen_profile_thaws_to_the_same(profile):
    text = freeze(profile)
    assert "\n" not in text
    assert thaw(text) == profile
    assert freeze(thaw(text)) == text


@given(PROFILES)
def test_a_record_of_an_older_or_newer_version_is_understood(profile):
    record = json.loads(freeze(profile))
    later = {
        each.name: each.default if each.default is not dataclasses.MISSING else each.default_factory()
        for each in dataclasses.fields(Profile)
        if each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
    }
    older = {name: value for name, value in record.items() if name not in later}
    assert thaw(json.dumps(older)) == dataclasses.replace(profile, **later)
    assert thaw(json.dumps(record | {"colour": ["blue"]})) == profile


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"sender": "secret@x.test"}', '{"sender": 5, "key": "secret', '{"metadata": {"secret": 5}}'],
)
def test_what_is_no_record_is_an_error_that_shows_nothing_of_it(text):
    with pytest.raises(ValueError, match="not a frozen profile") as caught:
        thaw(text)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_whatever_a_mail_says_can_be_kept(value):
    profile = chosen({"From": value, "Subject": value, "X-Track-Tag": value, "X-Track-Mailing": value}, value)
    assert thaw(freeze(profile)) == profile


def test_half_characters_in_metadata_can_be_kept():
    profile = chosen({"From": "shop@example.com", "X-Track-Metadata": r'{"a\ud800": "\udc00", "b": ["\ud800"]}'})
    assert profile.metadata == {"a?": "?", "b": r'["\ud800"]'}
    assert thaw(freeze(profile)) == profile


def test_metadata_of_any_depth_costs_no_mail():
    for depth in range(0, 4000, 37):
        nested = '{"a": ' + "[" * depth + "]" * depth + "}"
        chosen({"From": "shop@example.com", "X-Track-Metadata": nested})


WORDS = [
    "a",
    "The",
    "Week",
    "25",
    "_",
    " ",
    "  ",
    "<",
    ">",
    "@",
    ".",
    "example.com",
    "x-y",
    "+",
    '"',
    ",",
    ";",
    ":",
    "(",
    ")",
]


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=9).map("".join) | st.from_regex(senders._USUAL, fullmatch=True))
def test_an_address_is_read_as_the_standard_library_reads_it(value):
    expected = next((address for _, address in getaddresses([value]) if "@" in address), "")
    assert senders.first_address(value) == expected
