"""What a notification returns of a mail is exact, bounded and rightly labelled, internationalized mail included."""

from __future__ import annotations

import email
import quopri
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.dispatch.dsn import Report, notification
from relay.dispatch.returned import HEADER_LIMIT
from tests.dispatch.notified import HEADER, MAIL, fate, read, report


@pytest.mark.parametrize(
    ("ret", "actions", "whole"),
    [
        ("FULL", ["failed"], True),
        ("full", ["failed", "relayed"], True),
        ("HDRS", ["failed"], False),
        (None, ["failed"], False),
        ("FULL", ["delayed"], False),
        ("FULL", ["relayed"], False),
    ],
)
def test_the_mail_is_returned_whole_only_where_asked_and_failed(ret, actions, whole):
    found = read(report(*map(fate, actions), ret=ret))
    assert found.kind == ("message/rfc822" if whole else "text/rfc822-headers")
    assert found.returned == (MAIL if whole else HEADER)


@pytest.mark.parametrize(
    ("code", "enhanced", "whole"),
    [(552, "5.3.4", False), (552, "5.2.3", False), (552, "5.0.0", False), (552, "5.2.2", True), (550, "5.7.1", True)],
)
def test_what_was_too_large_is_not_sent_about_again(code, enhanced, whole):
    found = read(report(fate(code=code, enhanced=enhanced), ret="FULL"))
    assert (found.kind == "message/rfc822") == whole


@pytest.mark.parametrize("body", [b"", b"x\r\n", b"no end", b"\xff\xfe\r\n", b"--b\r\n--b--\r\n", b"x" * 998 + b"\r\n"])
def test_a_whole_mail_is_exact(body):
    content = HEADER + b"\r\n" + body
    found = read(report(content=content, ret="FULL"))
    assert (found.kind, found.encoding) == ("message/rfc822", "7bit" if body.isascii() else "8bit")
    assert found.returned == content


@pytest.mark.parametrize("body", [b"a\0b\r\n", b"a\rb\r\n", b"a\nb\r\n", b"x" * 999 + b"\r\n", b"x" * 999])
def test_what_no_mail_may_hold_is_not_returned(body):
    found = read(report(content=HEADER + b"\r\n" + body, ret="FULL"))
    assert (found.kind, found.encoding, found.returned) == ("text/rfc822-headers", "7bit", HEADER)


@pytest.mark.parametrize(
    "field",
    [b"X-A: \0\r\n", b"X-A: " + b"x" * 5000 + b"\r\n", b"X-A: a\rb\r\n", b"X-A: a\n b\r\n", b"X-A: x=3D\0 \t\r\n"],
)
def test_an_odd_header_is_exact_in_quoted_printable(field):
    found = read(report(content=field + MAIL, ret="FULL"))
    assert (found.kind, found.encoding) == ("text/rfc822-headers", "quoted-printable")
    assert quopri.decodestring(found.returned) == field + HEADER
    assert max(map(len, found.returned.split(b"\r\n"))) <= 76


def test_the_header_is_bounded_field_by_field():
    giant = b"X-Giant: " + b"x" * HEADER_LIMIT + b"\r\n"
    assert b"X-Giant" not in read(report(content=giant + MAIL)).returned
    assert read(report(content=giant + MAIL)).returned == HEADER
    many = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 60) for number in range(20_000))
    returned = read(report(content=many + MAIL)).returned
    assert HEADER_LIMIT - 100 < len(returned) <= HEADER_LIMIT
    assert many.startswith(returned)
    assert returned.endswith(b"y\r\n")


def test_a_header_that_never_ends_is_cut_at_a_field():
    giant = b"X-Giant: " + b"x" * 200_000 + b"\r\n"
    content = b"Subject: x\r\n" + giant + b"X-Endless: x\r\n" + b"\tx\r\n" * 100_000
    assert read(report(content=content)).returned == b"Subject: x\r\n"


@pytest.mark.parametrize(
    ("content", "returned"),
    [
        (b"\r\nbody\r\n", b""),
        (b"", b""),
        (b"Subject: x", b"Subject: x\r\n"),
        (b"From someone at noon\r\nSubject: x\r\n\r\nbody\r\n", b"Subject: x\r\n"),
        (b"Subject: x\r\nnot a field\r\nTo: y\r\n\r\nA: b\r\n", b"Subject: x\r\nTo: y\r\n"),
    ],
)
def test_odd_mails(content, returned):
    assert read(report(content=content)).returned == returned


def test_every_mail_of_the_corpus_comes_back(corpus):
    kinds = set()
    for path in sorted(corpus.glob("eml/**/*.eml")):
        content = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        raw = notification(report(content=content, ret="FULL"))
        boundary = re.search(rb'boundary="(.+)"', raw)[1]
        assert raw.count(b"\r\n--" + boundary) == 4, path
        assert max(map(len, raw.split(b"\r\n"))) <= 998, path
        head, body = raw.split(b"\r\n--" + boundary)[3].split(b"\r\n\r\n", 1)
        kind = re.search(rb"Content-Type: (\S+)", head)[1]
        kinds.add(kind)
        if kind in (b"message/rfc822", b"message/global"):
            assert body == content, path
        else:
            assert b"\0" in content or max(map(len, content.split(b"\r\n"))) > 998, path
    assert kinds == {b"message/rfc822", b"message/global", b"text/rfc822-headers"}


# Internationalized mail (RFC 6533)


def status_kind(of: Report) -> tuple[str, bytes]:
    raw = notification(of)
    return email.message_from_bytes(raw).get_payload(1).get_content_type(), raw


def test_an_international_recipient():
    header = "To: böb@example.net\r\n".encode()
    content = header + b"\r\n\xff\r\n"
    of = report(fate(address="böb@example.net", orcpt="utf-8;b\\x{F6}b\\x{2B}@example.net"), content=content)
    kind, raw = status_kind(of)
    assert kind == "message/global-delivery-status"
    assert "\r\nOriginal-Recipient: utf-8;böb+@example.net\r\n".encode() in raw
    assert "\r\nFinal-Recipient: utf-8; böb@example.net\r\n".encode() in raw
    found = read(of)
    assert "<böb@example.net>" in found.text
    assert (found.kind, found.encoding, found.returned) == ("message/global-headers", "8bit", header)
    whole = read(report(fate(address="böb@example.net"), content=content, ret="FULL"))
    assert (whole.kind, whole.encoding, whole.returned) == ("message/global", "8bit", content)


def test_an_international_sender_and_ascii_recipients():
    kind, raw = status_kind(report(fate(), reverse_path="änn@example.com"))
    assert kind == "message/global-delivery-status"
    assert "\r\nTo: <änn@example.com>\r\n".encode() in raw
    assert b"\r\nFinal-Recipient: rfc822; bob@example.net\r\n" in raw


@pytest.mark.parametrize(
    "given",
    [{"address": "böb@example.net"}, {"orcpt": "utf-8;böb@example.net"}, {"orcpt": "rfc822;b+C3+B6b@example.net"}],
)
def test_one_address_makes_the_notification_international(given):
    of = report(fate(), fate(**given))
    assert status_kind(of)[0] == "message/global-delivery-status"
    assert (read(of).kind, read(of).encoding) == ("message/global-headers", "7bit")


@pytest.mark.parametrize(
    ("header", "kind"),
    [("Subject: ü\r\n".encode(), "message/global-headers"), (b"Subject: \xfc\r\n", "text/rfc822-headers")],
)
def test_an_8bit_header_is_labelled_for_what_it_is(header, kind):
    found = read(report(content=header + b"\r\n"))
    assert (found.kind, found.encoding, found.returned) == (kind, "8bit", header)
    assert status_kind(report(content=header + b"\r\n"))[0] == "message/delivery-status"


def test_words_outside_ascii_leave_an_ascii_report_ascii():
    found = read(report(fate(text="größer")))
    assert found.recipients[0]["Diagnostic-Code"] == "smtp; 550 5.1.1 gr??er"
    assert "550 5.1.1 größer" in found.text


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b"=", b"."]) | st.binary()).map(b"".join))
def test_a_header_of_any_octets_is_exact(value):
    field = b"X-A: " + value.replace(b"\n", b"\n ") + b"\0\r\n"
    decoded = quopri.decodestring(read(report(content=field + b"\r\n")).returned)
    assert decoded == field
