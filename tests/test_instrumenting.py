"""What was decided about a mail makes the same mail again, whatever became of configuration and keys since."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from uuid import UUID

import pytest

from relay.config import SenderConfig
from relay.instrumenting import plan
from relay.reception.senders import freeze, profile_for, thaw
from relay.rewriting import message
from tracker.model import LinkType
from tracker.tokens import KEY_BYTES, Click, Keyring, Open

OLD, NEW = bytes(KEY_BYTES), bytes([1]) * KEY_BYTES
BEFORE, AFTER = Keyring([OLD]), Keyring([NEW, OLD])
ID = UUID(int=7)
MAIL = (
    b"From: news@example.com\r\nBcc: eve@example.net\r\nX-Track-Tag: march\r\nContent-Type: text/html\r\n\r\n"
    b"<a href='http://x.test/1'>x</a><a href='http://x.test/out' data-track=opt-out>y</a>\r\n"
    b"<a href='http://x.test/web' data-track=mirror>z</a>\r\n"
)


def decided(content=MAIL, reverse_path="bounce@example.com", match="*@example.com", keyring=BEFORE):
    senders = [SenderConfig(match=match, tracking_url="https://t.test")]
    return profile_for(senders, reverse_path, None, partial(message.get, content), "http://public.test", keyring.ids[0])


def tokens(copy, kind):
    return re.findall(rb"https://t\.test/" + kind + rb"/([\w-]+)", copy)


def test_a_kept_profile_makes_the_same_copies_after_a_key_rotation():
    profile = decided()
    kept = thaw(freeze(profile))
    first, again = plan(MAIL, profile, BEFORE), plan(MAIL, kept, AFTER)
    assert again.links == first.links
    for recipient in (1, 2, None):
        assert again.copy_for(recipient, ID, AFTER) == first.copy_for(recipient, ID, BEFORE)
    fresh = plan(MAIL, decided(keyring=AFTER), AFTER)
    assert fresh.copy_for(1, ID, AFTER) != first.copy_for(1, ID, BEFORE)


def test_headers_that_never_leave_are_out_of_every_copy():
    copy = plan(MAIL, decided(), BEFORE).copy_for(1, ID, BEFORE)
    assert b"Bcc" not in copy
    assert b"X-Track-Tag" not in copy
    stranger = plan(MAIL, decided(match="*@other.test"), BEFORE).copy_for(1, ID, BEFORE)
    assert stranger == message.remove(MAIL, ["Bcc", "X-Track-Tag"])


@pytest.mark.parametrize("recipient", [3, None])
def test_tokens_hold_the_recipient_or_nobody(recipient):
    copy = plan(MAIL, decided(), BEFORE).copy_for(recipient, ID, BEFORE)
    clicks = [BEFORE.open(Click, token.decode()) for token in tokens(copy, b"c")]
    assert [(each.recipient, each.position, each.type) for each in clicks] == [
        (recipient, 1, LinkType.TRACKED),
        (recipient, 2, LinkType.OPT_OUT),
        (recipient, 3, LinkType.MIRROR),
    ]
    (pixel,) = tokens(copy, b"o")
    assert BEFORE.open(Open, pixel.decode()) == Open(ID, recipient)


def test_a_shared_copy_leaves_links_alone_that_are_one_recipients_own():
    found = plan(MAIL, dataclasses.replace(decided(), shared=True), BEFORE)
    assert [(link.type, link.tracked, link.reason) for link in found.links] == [
        (LinkType.TRACKED, True, "default"),
        (LinkType.OPT_OUT, False, "shared_copy"),
        (LinkType.MIRROR, False, "shared_copy"),
    ]
    copy = found.copy_for(None, ID, BEFORE)
    assert len(tokens(copy, b"c")) == 1
    assert b"<a href='http://x.test/out' data-track=opt-out>" in copy


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"match": "*@other.test"}, "no_profile"), ({"reverse_path": ""}, "null_reverse_path")],
)
def test_why_a_mail_is_not_scanned(more, reason):
    found = plan(MAIL, decided(**more), BEFORE)
    assert (found.scan, found.reason, found.instrumented, found.links) == (None, reason, False, ())


def test_a_url_that_is_nearly_too_long_is_judged_alike_by_every_keyring():
    for size in range(1400, 1500, 7):
        page = b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<a href=http://x.test/%s>x</a>" % (b"yz" * size)
        profile = decided(page)
        assert plan(page, profile, AFTER).links == plan(page, profile, BEFORE).links


# -- mail that its app signed -----------------------------------------------------------------------------------------

SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=abc\r\nDomainKey-Signature: x\r\n" + MAIL


@pytest.mark.parametrize(
    ("content", "signed_mail", "dkim", "instrumented", "signatures", "signs"),
    [
        (MAIL, "skip", False, True, 0, False),
        (MAIL, "skip", True, True, 0, True),
        (MAIL, "resign", True, True, 0, True),
        (MAIL, "break", True, True, 0, True),
        (SIGNED, "skip", False, False, 2, False),
        (SIGNED, "skip", True, False, 2, False),
        (SIGNED, "resign", True, True, 0, True),
        (SIGNED, "break", False, True, 2, False),
        (SIGNED, "break", True, True, 2, True),
    ],
)
def test_what_becomes_of_mail_that_its_app_signed(content, signed_mail, dkim, instrumented, signatures, signs):
    profile = dataclasses.replace(decided(), signed_mail=signed_mail, dkim=dkim)
    found = plan(content, thaw(freeze(profile)), BEFORE)
    assert (found.instrumented, found.signs) == (instrumented, signs)
    assert found.reason == (None if instrumented else "dkim_signed")
    for copy in (found.mail, found.copy_for(1, ID, BEFORE)):
        assert copy.count(b"DKIM-Signature:") + copy.count(b"DomainKey-Signature:") == signatures


def test_what_is_never_tracked_is_signed_all_the_same():
    for content, path in ((MAIL, ""), (b"Auto-Submitted: auto-replied\r\n" + MAIL, "a@example.com")):
        profile = dataclasses.replace(decided(content, path), signed_mail="skip", dkim=True)
        assert plan(content, profile, BEFORE).signs
        found = plan(b"DKIM-Signature: x\r\n" + content, profile, BEFORE)
        assert not found.signs
        assert found.mail.startswith(b"DKIM-Signature: x")


def test_a_stranger_is_not_signed_for():
    profile = decided(match="*@other.test")
    assert (profile.signed_mail, profile.dkim) == ("skip", False)
    assert not plan(MAIL, profile, BEFORE).signs


def test_records_of_before_there_was_dkim_are_read():
    kept = freeze(decided()).replace('"signed_mail":"skip","dkim":false,', "")
    assert "dkim" not in kept
    assert thaw(kept) == decided()
