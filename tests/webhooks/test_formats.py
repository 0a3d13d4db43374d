"""What each service's own receivers make of what is told in its format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracker.facts import NOW
from tests.webhooks.notices import (
    MAILGUN_SECRET,
    MESSAGE,
    REPLIES,
    STANDARD_SECRET,
    all_notices,
    anymail_events,
    notice,
    signing_pair,
)
from tracker.webhooks import mailgun, postmark, sendgrid, standard
from tracker.webhooks.formats import FORMATS
from tracker.webhooks.names import NAMES
from tracker.webhooks.notice import Notice, codes_of

BASIC = {"basic_auth": ["tracepost:secret"]}
LOGIN = {"Authorization": "Basic dHJhY2Vwb3N0OnNlY3JldA=="}


def heard(service: str, notices: Sequence[Notice]) -> list[Any]:
    """The events that django-anymail's view for a service reads."""
    if service == "mailgun":
        post = mailgun.post(notices, MAILGUN_SECRET, NOW)
        return anymail_events(
            "mailgun", post.body, {**post.headers, **LOGIN}, webhook_signing_key=MAILGUN_SECRET, **BASIC
        )
    if service == "postmark":
        post = postmark.post(notices, None, NOW)
        return anymail_events("postmark", post.body, {**post.headers, **LOGIN}, **BASIC)
    private, public = signing_pair()
    post = sendgrid.post(notices, private, NOW)
    keys = {"tracking_webhook_verification_key": public}
    return anymail_events("sendgrid", post.body, {**post.headers, **LOGIN}, **keys, **BASIC)


MEANINGS = {
    "mailgun": {
        "queued": ("queued", None),
        "sent": ("delivered", None),
        "deferred": ("deferred", "other"),
        "bounced": ("bounced", "bounced"),
        "failed": ("bounced", "other"),
        "rejected": ("bounced", "other"),
        "opened": ("opened", None),
        "clicked": ("clicked", None),
        "unsubscribed": ("unsubscribed", None),
        "complained": ("complained", None),
    },
    "postmark": {
        "sent": ("delivered", None),
        "deferred": ("deferred", None),
        "bounced": ("bounced", "bounced"),
        "failed": ("bounced", "bounced"),
        "rejected": ("rejected", "blocked"),
        "opened": ("opened", None),
        "clicked": ("clicked", None),
        "unsubscribed": ("unsubscribed", "unsubscribed"),
        "subscribed": ("subscribed", None),
        "complained": ("complained", "spam"),
    },
    "sendgrid": {
        "queued": ("queued", None),
        "sent": ("delivered", None),
        "deferred": ("deferred", None),
        "bounced": ("bounced", None),
        "failed": ("bounced", None),
        "rejected": ("rejected", "unsubscribed"),
        "opened": ("opened", None),
        "clicked": ("clicked", None),
        "unsubscribed": ("unsubscribed", None),
        "subscribed": ("subscribed", None),
        "complained": ("complained", None),
    },
}


@pytest.mark.parametrize("service", MEANINGS)
@pytest.mark.parametrize("name", NAMES)
def test_anymail_reads_each_event_as_what_it_is(service: str, name: str) -> None:
    assert FORMATS[service].told(name) == (name in MEANINGS[service])
    if name not in MEANINGS[service]:
        return
    told = notice(name)
    (event,) = heard(service, [told])
    assert (event.event_type, event.reject_reason) == MEANINGS[service][name]
    exact = 0 if service == "sendgrid" else 0.25
    assert event.timestamp == datetime.fromtimestamp(NOW + exact, UTC)
    assert event.recipient == "ann@example.net"
    assert event.metadata | {"order": "42"} == event.metadata
    assert event.tags == ["spring"]
    assert event.message_id == (MESSAGE if service == "postmark" else "<one@example.com>")
    if name == "clicked":
        assert event.click_url == "https://example.com/?a=1&b=ü"
    if name in ("opened", "clicked"):
        assert event.user_agent == "Firefox on Linux"
    if name in ("sent", "deferred", "bounced"):
        assert event.mta_response == REPLIES[name]


def test_sendgrid_events_go_in_one_array_and_a_mail_is_one_event_a_recipient() -> None:
    people = ("ann@example.net", "bob@example.net")
    events = heard("sendgrid", [notice("queued", recipients=people), *all_notices()])
    assert [event.recipient for event in events[:2]] == list(people)
    assert len(events) == len(NAMES) + 2
    assert len({event.event_id for event in events}) == len(events)


def test_anymail_knows_an_event_again_at_the_next_try() -> None:
    told = notice("opened")
    first, second = (
        anymail_events("mailgun", mailgun.post([told], MAILGUN_SECRET, at).body, {}, webhook_signing_key=MAILGUN_SECRET)
        for at in (NOW, NOW + 600)
    )
    assert first[0].event_id == second[0].event_id
    assert json.loads(mailgun.post([told], MAILGUN_SECRET, NOW).body) != json.loads(
        mailgun.post([told], MAILGUN_SECRET, NOW + 600).body
    )


@pytest.mark.parametrize("service", ["mailgun", "sendgrid"])
def test_anymail_refuses_what_was_altered(service: str) -> None:
    from anymail.exceptions import AnymailWebhookValidationFailure

    private, public = signing_pair()
    if service == "mailgun":
        post = mailgun.post([notice("opened")], "another key", NOW)
        keys = {"webhook_signing_key": MAILGUN_SECRET}
    else:
        post = sendgrid.post([notice("opened")], private, NOW)
        post = post._replace(body=post.body.replace(b"ann@", b"eve@"))
        keys = {"tracking_webhook_verification_key": public}
    with pytest.raises(AnymailWebhookValidationFailure):
        anymail_events(service, post.body, dict(post.headers), **keys)


@pytest.mark.parametrize("name", NAMES)
def test_standard_webhooks_own_library_verifies_each_event(name: str) -> None:
    post = standard.post([notice(name)], STANDARD_SECRET, NOW + 5)
    with time_machine.travel(NOW + 6):
        told = standardwebhooks.Webhook(STANDARD_SECRET).verify(post.body, dict(post.headers))
    assert told["type"] == name
    assert told["timestamp"] == "2026-09-21T14:13:20.250000Z"
    assert told["data"]["id"] == post.headers["webhook-id"]
    assert told["data"]["recipient"] == "ann@example.net"
    assert told["data"]["message_id"] == "<one@example.com>"
    assert told["data"]["metadata"] == {"order": "42"}
    altered = post.body.replace(b"ann@", b"eve@")
    with time_machine.travel(NOW + 6), pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(STANDARD_SECRET).verify(altered, dict(post.headers))


def test_a_word_that_was_asked_for_is_the_one_that_is_told() -> None:
    assert standard.payload([notice("sent", word="delivered")])["type"] == "delivered"
    assert json.loads(mailgun.post([notice("sent", word="delivered")], "k", NOW).body)["event-data"]["event"] == (
        "delivered"
    )


def test_a_machines_hit_is_told_as_one() -> None:
    apple = notice("opened", cls="machine", kind="privacy_proxy", reason="Apple's privacy protection", first=False)
    gmail = notice("opened", cls="machine", kind="prefetch", reason="the agent of Gmail's fetch at delivery time")
    other = notice("clicked", cls="machine", kind="scanner", reason="five links in a second")
    bots = [mailgun.payload([each])["event-data"]["client-info"]["bot"] for each in (apple, gmail, other)]
    assert bots == ["apple", "gmail", "generic"]
    assert mailgun.payload([notice("opened")])["event-data"]["client-info"]["bot"] == ""
    assert [each["sg_machine_open"] for each in sendgrid.payload([apple, notice("opened")])] == [True, False]
    assert postmark.payload([apple])["FirstOpen"] is False
    assert postmark.payload([notice("opened")])["FirstOpen"] is True
    assert standard.payload([apple])["data"]["class"] == "machine"


def test_a_recipient_that_does_not_exist_is_told_as_a_bounce_before() -> None:
    gone = notice("rejected", reason="does not exist", reply="does not exist")
    assert mailgun.payload([gone])["event-data"]["reason"] == "suppress-bounce"
    assert sendgrid.payload([gone])[0]["reason"] == "Bounced Address"


def test_a_header_of_its_own_lets_a_postmark_receiver_know_us() -> None:
    post = postmark.post([notice("opened")], "X-Webhook-Token: 4f5c 9a", NOW)
    assert post.headers["X-Webhook-Token"] == "4f5c 9a"


def test_unique_arguments_never_replace_a_field_of_sendgrids() -> None:
    (event,) = sendgrid.payload([notice("opened", metadata={"event": "click", "email": "eve", "mine": "1"})])
    assert (event["event"], event["email"], event["mine"]) == ("open", "ann@example.net", "1")


@pytest.mark.parametrize(
    ("reply", "codes"),
    [
        ("550 5.1.1 No such user", (550, "5.1.1")),
        ("550-5.1.1 No such user", (550, "5.1.1")),
        ("421 try later", (421, None)),
        ("5.7.1 no", (None, "5.7.1")),
        ("", (None, None)),
        ("hello 5.1.1", (None, None)),
        ("²50 1.2.3", (None, None)),
        ("550 9.1.1 x", (550, None)),
    ],
)
def test_codes_of_a_reply(reply: str, codes: tuple[int | None, str | None]) -> None:
    assert codes_of(reply) == codes


texts = st.text(max_size=30)
maybe = st.none() | texts
notices = st.builds(
    notice,
    st.sampled_from(NAMES),
    message_id=texts,
    sender=texts,
    subject=texts,
    tag=maybe,
    mailing=maybe,
    metadata=st.dictionaries(texts, texts, max_size=4),
    recipients=st.lists(texts, max_size=3).map(tuple),
    cls=st.sampled_from([None, "human", "machine"]),
    kind=maybe,
    reason=maybe,
    bounce=st.sampled_from([None, "hard", "soft"]),
    reply=texts,
    url=texts,
    label=texts,
    address=maybe,
    agent=maybe,
    first=st.booleans(),
    position=st.integers(-2, 1000),
    at=st.floats(0, 4e9),
)


@given(told=notices)
@settings(max_examples=200, deadline=None)
def test_any_text_goes_in_any_format_and_is_signed(told: Notice) -> None:
    private, _ = signing_pair()
    secrets = {"standard": STANDARD_SECRET, "mailgun": MAILGUN_SECRET, "postmark": None, "sendgrid": private}
    for service, form in FORMATS.items():
        if not form.told(told.name):
            continue
        post = form.post([told], secrets[service], NOW)
        body = json.loads(post.body)
        assert post.body.isascii()
        assert all(value.isascii() and value.isprintable() for value in post.headers.values())
        if service == "standard":
            with time_machine.travel(NOW):
                assert standardwebhooks.Webhook(STANDARD_SECRET).verify(post.body, dict(post.headers)) == body
            assert body["data"]["metadata"] == told.metadata
            assert body["data"]["tag"] == told.tag
        elif service == "sendgrid":
            assert {each["sg_message_id"] for each in body} == {MESSAGE}
        elif service == "mailgun":
            assert body["event-data"]["user-variables"] == told.metadata
        else:
            assert body["Metadata"] == told.metadata


@given(told=notices)
@settings(max_examples=60, deadline=None)
def test_anymail_reads_any_text(told: Notice) -> None:
    for service in MEANINGS:
        if FORMATS[service].told(told.name) and service != "sendgrid":
            assert len(heard(service, [told])) == 1


@given(message=texts, secret=st.sampled_from(["standard", "mailgun", "postmark", "sendgrid"]))
@settings(max_examples=30, deadline=None)
def test_lone_surrogates_do_no_harm(message: str, secret: str) -> None:
    told = notice("opened", subject=f"{message}\ud800", metadata={"\udfff": "\ud800"})
    keys = {"standard": STANDARD_SECRET, "mailgun": MAILGUN_SECRET, "postmark": None, "sendgrid": signing_pair()[0]}
    assert json.loads(FORMATS[secret].post([told], keys[secret], NOW).body)
