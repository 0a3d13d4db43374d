"""What was decided about a mail makes the same mail again, whatever became of configuration and keys since."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import quote
from uuid import UUID

import pytest

from relay.config import SenderConfig
from relay.instrumenting import Reader, plan
from relay.reception.headers import Headers
from relay.reception.senders import SPEAKING_HEADERS, freeze, profile_for, thaw
from relay.rewriting import message
from tracker.model import LinkType
from tracker.tokens import KEY_BYTES, Click, Keyring, Mirror, Open, OptOut

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
    headers = Headers(message.select(content, SPEAKING_HEADERS))
    return profile_for(senders, reverse_path, None, headers, "http://public.test", keyring.ids[0])


def reader(ordinal):
    return None if ordinal is None else Reader(ordinal, f"reader{ordinal}@example.net")


def tokens(copy, kind):
    return re.findall(rb"https://t\.test/" + kind + rb"/([\w-]+)", copy)


def test_a_kept_profile_makes_the_same_copies_after_a_key_rotation():
    profile = decided()
    kept = thaw(freeze(profile))
    first, again = plan(MAIL, profile, BEFORE), plan(MAIL, kept, AFTER)
    assert again.links == first.links
    for recipient in (1, 2, None):
        assert again.copy_for(reader(recipient), ID, AFTER) == first.copy_for(reader(recipient), ID, BEFORE)
    fresh = plan(MAIL, decided(keyring=AFTER), AFTER)
    assert fresh.copy_for(reader(1), ID, AFTER) != first.copy_for(reader(1), ID, BEFORE)


def test_headers_that_never_leave_are_out_of_every_copy():
    copy = plan(MAIL, decided(), BEFORE).copy_for(reader(1), ID, BEFORE)
    assert b"Bcc" not in copy
    assert b"X-Track-Tag" not in copy
    stranger = plan(MAIL, decided(match="*@other.test"), BEFORE).copy_for(reader(1), ID, BEFORE)
    assert stranger == message.remove(MAIL, ["Bcc", "X-Track-Tag"])


@pytest.mark.parametrize("recipient", [3, None])
def test_tokens_hold_the_recipient_or_nobody(recipient):
    copy = plan(MAIL, decided(), BEFORE).copy_for(reader(recipient), ID, BEFORE)
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


OWN = (
    b"From: news@example.com\r\nX-Track-Tag: m\xc3\xa4rz\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nLeave: {{ unsubscribe_url }}\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<a href='{{ unsubscribe_url }}'>out</a>\r\n"
    b"<a href='{{mirror_url}}'>web</a>\r\n"
    b"<a href='http://x.test/{{ recipient.email }}?m={{message.id}}&t={{ message.tag }}'>me</a>\r\n--b--\r\n"
)


@pytest.mark.parametrize("clicks", [True, False])
def test_each_recipient_gets_an_opt_out_and_a_web_copy_of_its_own(clicks):
    found = plan(OWN, dataclasses.replace(decided(OWN), click_tracking=clicks), BEFORE)
    for ordinal in (1, 2):
        copy = found.copy_for(reader(ordinal), ID, BEFORE)
        address = f"reader{ordinal}@example.net"
        outs = [BEFORE.open(OptOut, token.decode()) for token in tokens(copy, b"u")]
        assert outs == [OptOut(ID, ordinal, "news@example.com", address)] * 2
        assert [BEFORE.open(Mirror, token.decode()) for token in tokens(copy, b"m")] == [Mirror(ID, ordinal)]
        target = f"http://x.test/{address.replace('@', '%40')}?m={ID}&t=m%C3%A4rz"
        clicked = [BEFORE.open(Click, token.decode()).url for token in tokens(copy, b"c")]
        assert clicked == ([target] if clicks else [])
        assert clicks or target.replace("&", "&amp;").encode() in copy
    assert found.personal
    assert [link.url for link in found.links] == [
        "{{ unsubscribe_url }}",
        "{{mirror_url}}",
        "http://x.test/{{ recipient.email }}?m={{message.id}}&t={{ message.tag }}",
        "{{ unsubscribe_url }}",
    ]


def test_own_links_survive_freezing_and_a_key_rotation():
    profile = dataclasses.replace(decided(OWN), list_unsubscribe=True, longest_address=30)
    first, again = plan(OWN, profile, BEFORE), plan(OWN, thaw(freeze(profile)), AFTER)
    assert again.copy_for(reader(3), ID, AFTER) == first.copy_for(reader(3), ID, BEFORE)
    assert again.links == first.links


def test_an_address_of_any_length_and_kind_stays_within_the_foretold_length():
    for address in (
        "a" * 64 + "@" + "b" * 180 + ".example",
        "ü" * 60 + "@example.net",
        "a@b.c",
        "odd+ %&'\"@x.test",
        "\udce9",
    ):
        profile = dataclasses.replace(decided(OWN), longest_address=len(quote(address, safe="", errors="replace")))
        found = plan(OWN, profile, BEFORE)
        copy = found.copy_for(Reader(9, address), ID, BEFORE)
        assert max(map(len, copy.split(b"\r\n"))) <= 998
        (claim, _) = [BEFORE.open(OptOut, token.decode()) for token in tokens(copy, b"u")]
        assert claim.address == address.encode("utf-8", "replace").decode()


LONG = b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<p>y</p>\r\n%s<a href='{{ unsubscribe_url }}'>x</a>\r\n"


@pytest.mark.parametrize("pad", range(600, 1000, 37))
def test_lines_stay_short_whatever_the_recipient(pad):
    content = LONG % (b"x" * pad)
    addresses = ["a@b.test", "longer.address@example.net", "x" * 64 + "@" + "y" * 150 + ".test"]
    profile = dataclasses.replace(decided(content), longest_address=max(map(len, addresses)) + 2)
    found = plan(content, profile, BEFORE)
    copies = [found.copy_for(Reader(n, address), ID, BEFORE) for n, address in enumerate(addresses, 1)]
    assert all(len(line) <= 998 for copy in copies for line in copy.split(b"\r\n"))
    assert {len(tokens(copy, b"u")) for copy in copies} == {int(found.links[0].tracked)}


# -- List-Unsubscribe ------------------------------------------------------------------------------------------------

PLAIN = b"From: news@example.com\r\nSubject: x\r\n\r\nHello\r\n"


@pytest.mark.parametrize("content", [PLAIN, MAIL, OWN])
def test_list_unsubscribe_is_added_on_top_of_each_copy(content):
    profile = dataclasses.replace(decided(content), list_unsubscribe=True)
    found = plan(content, profile, BEFORE)
    plain = plan(content, decided(content), BEFORE)
    assert found.unsubscribe
    assert found.differs
    for ordinal in (1, 2):
        copy = found.copy_for(reader(ordinal), ID, BEFORE)
        value = message.get(copy, "List-Unsubscribe")
        token = re.fullmatch(r"<https://t\.test/u/([\w-]+)>", value)[1]
        assert BEFORE.open(OptOut, token) == OptOut(ID, ordinal, "news@example.com", f"reader{ordinal}@example.net")
        assert message.get(copy, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
        assert copy.endswith(b"\r\n" + plain.copy_for(reader(ordinal), ID, BEFORE))
        assert max(map(len, copy.split(b"\r\n"))) <= 998


def test_a_mail_that_only_gets_the_header_is_not_called_tracked():
    found = plan(PLAIN, dataclasses.replace(decided(PLAIN), list_unsubscribe=True), BEFORE)
    assert (found.instrumented, found.differs, found.reason, found.category) == (False, True, "no_html", "marketing")


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (b"List-Unsubscribe: <mailto:x@example.com>\r\n" + PLAIN, {}),
        (b"LIST-unsubscribe : <mailto:x@example.com>\r\n" + MAIL, {}),
        (b"DKIM-Signature: x\r\n" + PLAIN, {}),
        (b"Auto-Submitted: auto-replied\r\n" + PLAIN, {}),
        (PLAIN.replace(b"Subject: x", b"Content-Type: multipart/signed; boundary=b"), {}),
        (PLAIN.replace(b"Subject: x", b"Content-Type: application/pkcs7-mime"), {}),
        (PLAIN.replace(b"Hello", b"-----BEGIN PGP SIGNED MESSAGE-----"), {}),
        (PLAIN, {"shared": True}),
        (PLAIN, {"reason": "null_reverse_path"}),
        (PLAIN, {"tracking_url": "https://t.test/" + "x" * 900}),
    ],
)
def test_where_no_list_unsubscribe_is_added(content, more):
    found = plan(content, dataclasses.replace(decided(content), list_unsubscribe=True, **more), BEFORE)
    assert not found.unsubscribe
    assert b"/u/" not in found.copy_for(None if more.get("shared") else reader(1), ID, BEFORE)


# -- category --------------------------------------------------------------------------------------------------------

WITH_HEADER = b"List-Unsubscribe: <https://x.test/>\r\n" + PLAIN


@pytest.mark.parametrize(
    ("content", "more", "category"),
    [
        (PLAIN, {}, "transactional"),
        (WITH_HEADER, {}, "marketing"),
        (PLAIN, {"list_unsubscribe": True}, "marketing"),
        (OWN, {}, "marketing"),
        (MAIL, {}, "marketing"),
        (MAIL.replace(b" data-track=opt-out", b""), {}, "transactional"),
        (MAIL.replace(b" data-track=opt-out", b""), {"link_rules": (("*/out", "opt_out"),)}, "marketing"),
        (MAIL.replace(b" data-track=opt-out", b""), {"saved": (("http://x.test/out", "opt_out"),)}, "marketing"),
        (MAIL, {"saved": (("http://x.test/out", "never"),)}, "marketing"),
        (PLAIN.replace(b"Hello", b"{{ unsubscribe_url }}"), {}, "marketing"),
        (OWN, {"shared": True}, "marketing"),
        (OWN, {"category": "transactional"}, "transactional"),
        (PLAIN, {"category": "marketing"}, "marketing"),
        (b"DKIM-Signature: x\r\n" + WITH_HEADER, {}, "marketing"),
        (WITH_HEADER, {"listed": False, "reason": "no_profile"}, "transactional"),
    ],
)
def test_category(content, more, category):
    assert plan(content, dataclasses.replace(decided(content), **more), BEFORE).category == category


def test_settings_reach_the_links():
    senders = [
        SenderConfig.model_validate(
            {
                "match": "*@example.com",
                "tracking_url": "https://t.test",
                "link_rules": [{"match": "http://x.test/reset/*", "type": "never"}],
                "url_params": {"utm_campaign": "{{ message.tag }}", "who": "{{ recipient.email }}"},
                "visible_urls": "skip",
                "text_tracking": True,
            }
        )
    ]
    content = (
        b"From: news@example.com\r\nX-Track-Tag: march\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<a href='http://x.test/reset/1'>a</a>\r\n<a href='http://x.test/'>b</a>\r\n"
        b"<a href='http://x.test/'>www.x.test</a>\r\n--b\r\n\r\nhttp://x.test/c\r\n--b--\r\n"
    )
    headers = Headers(message.select(content, SPEAKING_HEADERS))
    profile = profile_for(senders, "b@example.com", None, headers, "", BEFORE.ids[0], ["reader1@example.net"])
    assert profile.longest_address == len("reader1%40example.net")
    found = plan(content, profile, BEFORE)
    assert [link.reason for link in found.links] == ["rule http://x.test/reset/*", "default", "visible_url", "default"]
    clicks = [BEFORE.open(Click, token.decode()) for token in tokens(found.copy_for(reader(1), ID, BEFORE), b"c")]
    query = "?utm_campaign=march&who=reader1%40example.net"
    assert [(each.position, each.url) for each in clicks] == [
        (2, f"http://x.test/{query}"),
        (4, f"http://x.test/c{query}"),
    ]


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
    for copy in (found.mail, found.copy_for(reader(1), ID, BEFORE)):
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
