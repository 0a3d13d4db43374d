"""Which copies a mail has, and what the tokens in them and the store's record tell of its recipients."""

from __future__ import annotations

import dataclasses
import re

import pytest

from relay.bounces.address import Returning, find
from relay.config import SenderConfig
from relay.dispatch.envelope import Target
from relay.dispatch.mail import Mail, Rcpt
from relay.instrumenting import plan
from relay.preparing import PreparedMail
from relay.reception.senders import SPEAKING_HEADERS, freeze, profile_for
from relay.reception.vendors import Headers
from relay.rewriting import message
from tracker.model import new_id
from tracker.tokens import KEY_BYTES, Click, Keyring, Open, OptOut

KEYRING = Keyring([bytes(KEY_BYTES)])
HEAD = b"From: news@example.com\r\nContent-Type: text/html\r\n\r\n"
PLAIN = HEAD + b"<a href='http://x.test/1'>x</a>\r\n"
OPT_OUT = HEAD + b"<a href='http://x.test/1'>x</a><a href='http://x.test/out' data-track=opt-out>y</a>\r\n"
MIRROR = HEAD + b"<a href='http://x.test/web' data-track=mirror>y</a>\r\n"
MESSAGE = new_id()
TARGETS = [Target(number, f"person{number}@example.net") for number in range(1, 251)]


class Nobody:
    """Nobody has said no to anything."""

    def refusal(self, sender, address, marketing):
        return None

    def untracked(self, sender, address):
        return False

    def saved_types(self, sender):
        return ()


def prepared(content=PLAIN, attribution="none", shared=False, reverse_path="news@example.com", ring=KEYRING, **more):
    senders = [SenderConfig(match="*@example.com", tracking_url="https://t.test", attribution=attribution, **more)]
    headers = Headers(message.select(content, SPEAKING_HEADERS))
    profile = profile_for(senders, reverse_path, None, headers, "http://public.test", KEYRING.ids[0])
    profile = dataclasses.replace(profile, shared=shared)
    people = tuple(Rcpt(each.ordinal, each.address) for each in TARGETS)
    mail = Mail(MESSAGE, "", reverse_path, {}, people, freeze(profile), b"", content, 0.0)
    return PreparedMail(mail, plan(content, profile, ring), ring, Nobody())


def readers(copy):
    """Whom the tokens of a copy name."""
    found = re.findall(rb"https://t\.test/(c|o)/([\w-]+)", copy.content)
    return {KEYRING.open(Click if kind == b"c" else Open, token.decode()).recipient for kind, token in found}


def test_with_attribution_each_recipient_has_a_copy_that_names_it():
    mail = prepared(attribution="recipient")
    batches = mail.batches(TARGETS)
    assert [len(batch) for batch in batches] == [1] * 250
    assert [readers(mail.copy(batch)) for batch in batches[:3]] == [{1}, {2}, {3}]
    assert mail.accepted.attributed


def test_without_attribution_all_share_one_copy_that_names_nobody():
    mail = prepared()
    batches = mail.batches(TARGETS)
    assert [len(batch) for batch in batches] == [100, 100, 50]
    copies = [mail.copy(batch) for batch in batches]
    assert len({copy.content for copy in copies}) == 1
    assert readers(copies[0]) == {None}
    assert not mail.accepted.attributed
    assert len(mail.accepted.recipients) == 250


OWN = HEAD + b"<a href='{{ unsubscribe_url }}'>y</a><a href='{{ mirror_url }}'>z</a><a href='http://x.test/1'>x</a>\r\n"
NAMED = HEAD + b"<a href='http://x.test/?e={{ recipient.email }}'>x</a>\r\n"


@pytest.mark.parametrize(("content", "more"), [(OWN, {}), (NAMED, {}), (PLAIN, {"list_unsubscribe": True})])
def test_where_copies_differ_all_the_same_no_token_of_a_hit_names_anybody(content, more):
    mail = prepared(content, **more)
    batches = mail.batches(TARGETS)
    assert [len(batch) for batch in batches] == [1] * 250
    copies = [mail.copy(batch) for batch in batches[:3]]
    assert len({copy.content for copy in copies}) == 3
    assert all(readers(copy) == {None} for copy in copies)
    for copy, target in zip(copies, TARGETS, strict=False):
        for token in re.findall(rb"https://t\.test/u/([\w-]+)", copy.content):
            assert KEYRING.open(OptOut, token.decode()) == OptOut(
                mail.accepted.id, None, "news@example.com", target.address
            )


@pytest.mark.parametrize("content", [OPT_OUT, MIRROR])
def test_what_is_each_recipients_own_needs_a_copy_each_that_still_names_nobody(content):
    mail = prepared(content)
    batches = mail.batches(TARGETS)
    assert [len(batch) for batch in batches] == [1] * 250
    copy = mail.copy(batches[0])
    assert readers(copy) == {None}
    assert b"http://x.test/" not in copy.content
    assert not mail.accepted.attributed


def test_a_link_that_is_not_tracked_needs_no_copy_of_its_own():
    mail = prepared(HEAD + b"<a href='http://x.test/out' data-track=never>y</a><a href='{{ other }}'>z</a>\r\n")
    assert [len(batch) for batch in mail.batches(TARGETS)] == [100, 100, 50]


def test_one_recipient_alone_is_not_named_either():
    mail = prepared()
    (batch,) = mail.batches(TARGETS[:1])
    assert readers(mail.copy(batch)) == {None}


def test_a_copy_that_must_be_shared_leaves_alone_what_is_one_recipients_own():
    for attribution in ("recipient", "none"):
        mail = prepared(OPT_OUT, attribution, shared=True)
        batches = mail.batches(TARGETS)
        assert len(batches) == 3
        assert b"http://x.test/out" in mail.copy(batches[0]).content
        assert readers(mail.copy(batches[0])) == {None}
        assert not mail.accepted.attributed


FORM = "bounces+{token}@bounces.test"
BOUNCES = {"bounces": {"address": FORM}}
TEXT = b"From: news@example.com\r\n\r\nhello\r\n"


@pytest.mark.parametrize("content", [PLAIN, TEXT, HEAD.replace(b"text/html", b"multipart/signed") + b"x"])
@pytest.mark.parametrize("attribution", ["recipient", "none"])
def test_with_bounces_each_copy_comes_from_an_address_that_names_it(content, attribution):
    mail = prepared(content, attribution, **BOUNCES)
    batches = mail.batches(TARGETS)
    assert [len(batch) for batch in batches] == [1] * 250
    for number, batch in enumerate(batches, 1):
        copy = mail.copy(batch)
        assert find(copy.mail_from, [FORM], KEYRING) == (Returning(MESSAGE, number), FORM)
        assert copy == mail.copy(batch)
    assert mail.accepted.reverse_path == "news@example.com"
    assert not mail.alike(TARGETS[:1])
    if attribution == "none":
        assert readers(copy) <= {None}


def test_after_a_rotation_a_retry_comes_from_the_same_address():
    before = prepared(**BOUNCES).copy(TARGETS[:1])
    after = prepared(ring=Keyring([b"n" * KEY_BYTES, bytes(KEY_BYTES)]), **BOUNCES).copy(TARGETS[:1])
    assert (after.mail_from, after.content) == (before.mail_from, before.content)


def test_mail_of_which_nobody_is_to_hear_stays_so():
    mail = prepared(reverse_path="", **BOUNCES)
    assert [len(batch) for batch in mail.batches(TARGETS)] == [100, 100, 50]
    assert {mail.copy(batch).mail_from for batch in mail.batches(TARGETS)} == {""}
    assert mail.alike(TARGETS)


def test_a_copy_that_must_be_shared_keeps_its_reverse_path():
    mail = prepared(shared=True, **BOUNCES)
    assert {mail.copy(batch).mail_from for batch in mail.batches(TARGETS)} == {"news@example.com"}


def test_without_bounces_every_copy_keeps_its_reverse_path():
    assert prepared().copy(TARGETS[:1]).mail_from == "news@example.com"


def test_a_mail_that_came_back_goes_on_whole_or_not_at_all():
    content = b'Content-Type: multipart/report;\r\n\tboundary="0.0"\r\n\r\n' + b"\r\n--0.0\r\n" * 3 + b"--0.0--\r\n"
    mail = Mail(MESSAGE, "", "", {}, (Rcpt(1, "app@example.com"),), "", b"Received: x\r\n", content, 0.0)
    copy = PreparedMail(mail, None, KEYRING, Nobody()).copy(TARGETS[:1])
    assert (copy.mail_from, copy.content, copy.original) == ("", b"Received: x\r\n" + content, None)
