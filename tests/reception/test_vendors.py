"""The headers of other services: what each asks for, what wins, what is taken out."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import SenderConfig
from relay.reception.headers import Headers
from relay.reception.senders import OWN_HEADERS, profile_for
from relay.reception.vendors import READ_HEADERS, VENDORS, removed_headers, vendor_of


def chosen(*headers, **settings):
    sender = SenderConfig.model_validate({"match": "*@example.com"} | settings)
    fields = [("From", "news@example.com"), *headers]
    return profile_for([sender], "bounce@example.com", None, Headers(fields), "http://t.test", "key-1")


def switches(profile):
    return profile.open_tracking, profile.click_tracking, profile.text_tracking


def smtpapi(**filters):
    return "X-SMTPAPI", json.dumps({"filters": {name: {"settings": value} for name, value in filters.items()}})


@pytest.mark.parametrize(
    ("headers", "before", "after"),
    [
        # Mailgun
        ([("X-Mailgun-Track", "no")], (True, True, True), (False, False, False)),
        ([("X-Mailgun-Track", "yes")], (False, False, False), (True, True, False)),
        ([("X-Mailgun-Track", "true"), ("X-Mailgun-Track-Opens", "no")], (False, False, False), (False, True, False)),
        ([("X-Mailgun-Track-Clicks", "no")], (True, True, True), (True, False, False)),
        ([("X-Mailgun-Track-Clicks", "yes")], (False, False, False), (False, True, True)),
        ([("X-Mailgun-Track-Clicks", "HtmlOnly")], (False, False, True), (False, True, False)),
        ([("X-Mailgun-Track", "no"), ("X-Mailgun-Track-Clicks", "yes")], (True, False, False), (False, True, True)),
        # Postmark
        ([("X-PM-TrackOpens", "true")], (False, False, False), (True, False, False)),
        ([("X-PM-TrackOpens", "false")], (True, True, True), (False, True, True)),
        ([("X-PM-TrackLinks", "None")], (True, True, True), (True, False, False)),
        ([("X-PM-TrackLinks", "HtmlAndText")], (False, False, False), (False, True, True)),
        ([("X-PM-TrackLinks", "HtmlOnly")], (False, False, True), (False, True, False)),
        ([("X-PM-TrackLinks", "TextOnly")], (False, True, False), (False, False, True)),
        # SendGrid
        ([smtpapi(clicktrack={"enable": 1}, opentrack={"enable": 0})], (True, False, False), (False, True, False)),
        ([smtpapi(clicktrack={"enable": 1, "enable_text": True})], (False, False, False), (False, True, True)),
        ([smtpapi(clicktrack={"enable": "0"})], (True, True, True), (True, False, False)),
        ([smtpapi(clicktrack={"enable": False, "enable_text": True})], (True, True, True), (True, False, False)),
        # Mandrill
        ([("X-MC-Track", "opens")], (False, True, True), (True, False, False)),
        ([("X-MC-Track", "opens,clicks")], (False, False, False), (True, True, True)),
        ([("X-MC-Track", "clicks_htmlonly")], (True, False, True), (False, True, False)),
        ([("X-MC-Track", " opens , clicks_textonly ")], (False, True, False), (True, False, True)),
        ([("X-MC-Track", "none")], (True, True, True), (False, False, False)),
        # SparkPost
        ([("X-MSYS-API", '{"options": {"open_tracking": true, "click_tracking": false}}')], (False, True, True),
         (True, False, False)),
        ([("X-MSYS-API", '{"options": {"click_tracking": true}}')], (False, False, True), (False, True, True)),
        # others
        ([("X-No-Track", "1")], (True, True, True), (False, False, False)),
        ([("X-No-Track", "")], (True, True, True), (False, False, False)),
        ([("X-No-Track", "false")], (True, True, True), (True, True, True)),
        ([("X-AMP", "skip")], (True, True, False), (False, False, False)),
        ([("X-Mailjet-TrackOpen", "0"), ("X-Mailjet-TrackClick", "1")], (True, False, False), (False, True, False)),
        ([("X-EE-Tracking-Enabled", "false")], (True, True, False), (False, False, False)),
        # an explicit one beats a generic one, whoever's they are
        ([("X-Mailgun-Track", "no"), ("X-PM-TrackOpens", "true")], (False, False, False), (True, False, False)),
        # ours beat theirs
        ([("X-Mailgun-Track", "no"), ("X-Track-Opens", "yes")], (False, True, True), (True, False, False)),
        ([("X-PM-TrackLinks", "HtmlAndText"), ("X-Track-Clicks", "no")], (True, True, True), (True, False, False)),
        ([("X-PM-TrackLinks", "None"), ("X-Track-Clicks", "yes")], (True, False, True), (True, True, True)),
        # what says nothing changes nothing
        ([("X-SMTPAPI", '{"to": ["a@example.net"]}'), ("X-MSYS-API", "{}")], (True, False, True), (True, False, True)),
        ([], (True, True, False), (True, True, False)),
    ],
)  # fmt: skip
def test_switches(headers, before, after):
    settings = dict(zip(("open_tracking", "click_tracking", "text_tracking"), before, strict=True))
    profile = chosen(*headers, **settings)
    assert switches(profile) == after
    assert profile.notes == ()
    theirs = [each for each in headers if not each[0].startswith("X-Track")]
    assert switches(chosen(*theirs, **settings, honor_vendor_headers=False)) == before


@pytest.mark.parametrize(
    ("headers", "tag", "mailing", "metadata"),
    [
        ([("X-Mailgun-Tag", "welcome"), ("x-mailgun-tag", "second"),
          ("X-Mailgun-Variables", '{"my_id": 7, "a": "b"}'), ("X-Mailgun-Variables", '{"a": "c"}')],
         "welcome", None, {"my_id": "7", "a": "c"}),
        ([("X-PM-Tag", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="), ("X-PM-Metadata-Color", "blue"),
          ("x-pm-metadata-client-id", " 12 "), ("X-PM-Metadata-", "nothing")],
         "Grüße", None, {"Color": "blue", "client-id": "12"}),
        ([("X-SMTPAPI", '{"category": ["Orders", "x"], "unique_args": {"order": 1234, "ok": true}}')],
         "Orders", None, {"order": "1234", "ok": "true"}),
        ([("X-SMTPAPI", '{"category": "Orders"}')], "Orders", None, {}),
        ([("X-MC-Tags", "password-reset, account"), ("X-MC-Metadata", '{"user_id": "45829"}')],
         "password-reset", None, {"user_id": "45829"}),
        ([("X-MSYS-API", '{"campaign_id": "spring", "metadata": {"a": {"b": 1}}, "tags": ["one", "two"]}')],
         "one", "spring", {"a": '{"b": 1}'}),
        ([("X-SES-MESSAGE-TAGS", "campaign=book, genre = a/b,broken, empty=")],
         None, None, {"campaign": "book", "genre": "a/b", "empty": ""}),
        ([("X-Postal-Tag", "p"), ("X-Mailjet-Campaign", "c")], "p", "c", {}),
        ([("X-Mailgun-Tag", "theirs"), ("X-Track-Tag", "ours"), ("X-MSYS-API", '{"campaign_id": "theirs"}'),
          ("X-Track-Mailing", "ours"), ("X-Mailgun-Variables", '{"a": "theirs", "b": "theirs"}'),
          ("X-Track-Metadata", '{"a": "ours"}')], "ours", "ours", {"a": "ours", "b": "theirs"}),
    ],
)  # fmt: skip
def test_tag_mailing_and_metadata(headers, tag, mailing, metadata):
    profile = chosen(*headers)
    assert (profile.tag, profile.mailing, profile.metadata) == (tag, mailing, metadata)
    assert profile.notes == ()


@pytest.mark.parametrize(
    ("header", "note"),
    [
        (("X-Mailgun-Track", "perhaps"), "X-Mailgun-Track is neither yes nor no"),
        (("X-PM-TrackLinks", "Some"), "X-PM-TrackLinks is none of None, HtmlAndText, HtmlOnly and TextOnly"),
        (("X-SMTPAPI", "{oops"), "X-SMTPAPI is not a JSON object"),
        (("X-MSYS-API", "[1]"), "X-MSYS-API is not a JSON object"),
        (("X-Mailgun-Variables", "7"), "X-Mailgun-Variables is not a JSON object"),
    ],
)
def test_what_cannot_be_understood_is_noted_and_changes_nothing(header, note):
    profile = chosen(header)
    assert profile.notes == (note,)
    assert switches(profile) == (True, True, False)


def test_a_stranger_is_not_heard():
    fields = [("From", "a@stranger.test"), ("X-Mailgun-Track", "yes"), ("X-PM-Tag", "x")]
    profile = profile_for([], "a@stranger.test", None, Headers(fields), "http://t.test", "key-1")
    assert (switches(profile), profile.tag) == ((False, False, False), None)
    assert profile.removed_headers == (*OWN_HEADERS, "Bcc")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.mailgun.org", "Mailgun"), ("smtp.eu.mailgun.org", "Mailgun"), ("smtp.postmarkapp.com", "Postmark"),
        ("smtp-broadcasts.postmarkapp.com", "Postmark"), ("smtp.sendgrid.net", "SendGrid"),
        ("SMTP.MandrillApp.com.", "Mandrill"), ("smtp.sparkpostmail.com", "SparkPost"),
        ("email-smtp.eu-west-1.amazonaws.com", "Amazon SES"), ("in-v3.mailjet.com", "Mailjet"),
        ("smtp.example.com", None), ("mailgun.org.example.com", None), ("sandbox", None), ("", None),
        ("smtp.notmailgun.org", None),
    ],
)  # fmt: skip
def test_whose_host_it_is(host, name):
    vendor = vendor_of(host)
    assert (vendor.name if vendor else None) == name


def test_a_services_own_headers_are_left_to_it_and_all_others_taken_out():
    all_of_them = set(removed_headers(None))
    assert {name for vendor in VENDORS for name in vendor.headers} == all_of_them
    for vendor in VENDORS:
        assert set(removed_headers(vendor.name)) == all_of_them - set(vendor.headers)
    profile = chosen()
    assert set(profile.removed_headers) == {*OWN_HEADERS, "Bcc", *all_of_them}
    assert chosen(honor_vendor_headers=False).removed_headers == (*OWN_HEADERS, "Bcc")


VALUES = st.text(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["filters", "clicktrack", "settings", "enable", "options", "metadata", "category", "tags"]),
        inner, max_size=3,
    ),
    max_leaves=12,
).map(json.dumps)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([name.replace("*", "x") for name in READ_HEADERS]), VALUES), max_size=6))
def test_no_value_is_too_odd(headers):
    profile = chosen(*headers)
    json.dumps([profile.tag, profile.mailing, dict(profile.metadata), profile.notes])
    assert all(isinstance(each, bool) for each in switches(profile))


def test_huge_values_cost_little():
    huge = "=?utf-8?b?" + "QUFB" * 60000 + "?= "
    deep = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    headers = [(name.replace("*", "x"), value) for name in READ_HEADERS for value in (huge, deep, "1," * 60_000)]
    began = time.process_time()
    chosen(*headers)
    assert time.process_time() - began < 20
