"""A notification tells program and person what became of a mail, as RFC 3464 and those before us do."""

from __future__ import annotations

import email

import pytest

from relay.dispatch.dsn import notification, shortened, wants
from tests.dispatch.notified import HEADER, ID, MAIL, fate, read, report


def test_a_bounce():
    found = read(report(fate(orcpt="rfc822;bob+2Bx@example.net"), envid="QQ+2D1"))
    assert dict(found.mail.items()) | {"Content-Type": None} == {
        "From": '"Mail Delivery System" <MAILER-DAEMON@relay.example.com>',
        "To": "<ann@example.com>",
        "Subject": "Undelivered Mail Returned to Sender",
        "Date": "Tue, 14 Nov 2023 22:16:40 -0000",
        "Message-ID": f"<{ID}@relay.example.com>",
        "In-Reply-To": "<original@example.com>",
        "References": "<original@example.com>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
        "Content-Type": None,
        "Content-Transfer-Encoding": "8bit",
    }
    assert found.about.items() == [
        ("Reporting-MTA", "dns; relay.example.com"),
        ("Original-Envelope-Id", "QQ-1"),
        ("Arrival-Date", "Tue, 14 Nov 2023 22:13:20 -0000"),
    ]
    assert found.recipients[0].items() == [
        ("Original-Recipient", "rfc822;bob+x@example.net"),
        ("Final-Recipient", "rfc822; bob@example.net"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; smtp.example.org"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
        ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:15:00 -0000"),
    ]
    assert (found.kind, found.encoding, found.returned) == ("text/rfc822-headers", "7bit", HEADER)


def test_the_parser_knows_the_status_report_for_one():
    status = email.message_from_bytes(notification(report(fate(), fate()))).get_payload(1)
    assert status.get_content_type() == "message/delivery-status"
    assert [block.keys()[0] for block in status.get_payload()] == ["Reporting-MTA"] + ["Final-Recipient"] * 2


def test_a_person_understands_it():
    later = fate("delayed", 451, "4.3.0", address="eve@example.net", remote=None, text="no answer", retry_until=1.71e9)
    found = read(report(fate(), later))
    for words in (
        "relay.example.com",
        "Subject: Grüße from here",
        "Date: Tue, 14 Nov 2023 20:00:00 +0100",
        "<bob@example.net>",
        "smtp.example.org said: 550 5.1.1 No such user here",
        "will not be\r\ntried again",
        "<eve@example.net>",
        "451 4.3.0 no answer",
        "It is tried until Sat, 09 Mar 2024 16:00:00 -0000.",
        "Its header is attached.",
    ):
        assert words in found.text
    assert max(map(len, found.text.splitlines())) <= 78
    assert found.text.index("<bob@") < found.text.index("<eve@")
    assert "It is attached." in read(report(ret="FULL")).text


@pytest.mark.parametrize(
    ("actions", "subject"),
    [
        (["relayed"], "Successfully relayed mail"),
        (["delayed", "relayed"], "Delayed mail"),
        (["relayed", "delayed", "failed"], "Undelivered Mail Returned to Sender"),
    ],
)
def test_the_subject_is_of_the_worst(actions, subject):
    found = read(report(*(fate(action) for action in actions)))
    assert found.mail["Subject"] == subject
    assert [recipient["Action"] for recipient in found.recipients] == actions


@pytest.mark.parametrize(
    ("action", "enhanced", "status"),
    [
        ("failed", "5.7.1", "5.7.1"),
        ("failed", "4.4.7", "4.4.7"),
        ("failed", "2.1.5", "5.1.5"),
        ("delayed", "4.2.2", "4.2.2"),
        ("delayed", "5.2.2", "4.2.2"),
        ("relayed", "2.1.5", "2.1.5"),
        ("relayed", "", "2.0.0"),
        ("failed", "5.1.1\r\nX: y", "5.0.0"),
        ("failed", "5.1.٣", "5.0.0"),
    ],
)
def test_the_status_goes_with_the_action(action, enhanced, status):
    assert read(report(fate(action, enhanced=enhanced))).recipients[0]["Status"] == status


def test_only_what_is_delayed_is_tried_on():
    found = read(report(*(fate(action, retry_until=1.71e9) for action in ("failed", "delayed", "relayed"))))
    assert [recipient["Will-Retry-Until"] is not None for recipient in found.recipients] == [False, True, False]


@pytest.mark.parametrize(
    ("remote", "field"),
    [
        ("smtp.example.org", "dns; smtp.example.org"),
        ("192.0.2.1", "dns; [192.0.2.1]"),
        ("2001:db8::1", "dns; [IPv6:2001:db8::1]"),
        (None, None),
    ],
)
def test_who_said_it(remote, field):
    assert read(report(fate(remote=remote))).recipients[0]["Remote-MTA"] == field


@pytest.mark.parametrize(
    ("notify", "told_of"),
    [
        (None, {"failed"}),
        ("NEVER", set()),
        ("never", set()),
        ("SUCCESS", {"relayed"}),
        ("FAILURE", {"failed"}),
        ("DELAY", {"delayed"}),
        ("delay,Success", {"delayed", "relayed"}),
        ("SUCCESS,FAILURE,DELAY", {"failed", "delayed", "relayed"}),
    ],
)
def test_notify(notify, told_of):
    assert {action for action in ("failed", "delayed", "relayed") if wants(notify, action)} == told_of


def test_nobody_is_notified_of_nothing():
    with pytest.raises(ValueError, match="someone to tell"):
        notification(report(reverse_path=""))
    with pytest.raises(ValueError, match="a recipient's fate"):
        notification(report(fates=()))


@pytest.mark.parametrize("value", [b"nonsense", b"<a@b", b"<a b@c>", b"<a@b> <c@d>", b"<>", b"<\xc3\xbc@b>", b"<a@b>x"])
def test_a_strange_message_id_is_not_answered(value):
    found = read(report(content=b"Message-ID: " + value + b"\r\n\r\n"))
    assert found.mail["In-Reply-To"] is found.mail["References"] is None


# ENVID and ORCPT


@pytest.mark.parametrize(
    ("envid", "shown"),
    [
        ("abc", "abc"),
        ("a+2Bb+3D", "a+b="),
        ("a+0D+0AX-Bad:+20yes", None),
        ("+C3+BC", None),
        ("+FF", None),
        ("a+2", None),
        ("a+", None),
        ("", None),
        ("x" * 2000, None),
    ],
)
def test_envelope_id(envid, shown):
    assert read(report(envid=envid)).about["Original-Envelope-Id"] == shown


@pytest.mark.parametrize(
    ("orcpt", "shown"),
    [
        ("rfc822;Bob@example.net", "rfc822;Bob@example.net"),
        ("rfc822;a+2Bb+20c@example.net", "rfc822;a+b c@example.net"),
        ("x400;/S=x/", "x400;/S=x/"),
        ("utf-8;bob@example.net", "utf-8;bob@example.net"),
        ("rfc822;a+0D+0A+0D+0Ab", None),
        ("utf-8;a\\x{D}b", "utf-8;a\\x{D}b"),  # not of the grammar: no more than its characters
        ("utf-8;a\\x{0D}b", None),
        ("utf-8;a\\x{110000}b", None),
        ("utf-8;a\\x{D800}b", None),
        ("rfc822;", None),
        ("nothing", None),
        ("two words;x", None),
        ("rfc822;+0", None),
    ],
)
def test_original_recipient(orcpt, shown):
    assert read(report(fate(orcpt=orcpt))).recipients[0]["Original-Recipient"] == shown


def test_shortened_is_the_notification_that_was_never_asked_to_return_all():
    needless = b"Content-Transfer-Encoding: 8bit\r\n\r\nThis is"  # what was 8-bit may be gone with the body
    for content in (MAIL, MAIL + b"\xfc\r\n", MAIL.replace(b"from here", "Grüße".encode()), b"no header\r\n"):
        header = notification(report(content=content, ret="HDRS"))
        assert shortened(header) is None
        found = shortened(notification(report(content=content, ret="FULL")))
        assert found is not None
        assert found.replace(needless, b"\r\nThis is") == header.replace(needless, b"\r\nThis is")


@pytest.mark.parametrize("other", [b"", MAIL, b'X:\r\n\tboundary="a"\r\n\r\n--a--a--a--a'])
def test_no_other_mail_is_shortened(other):
    assert shortened(other) is None


# The shape of others


@pytest.mark.parametrize(
    "name",
    [
        "mailgun__flanker/bounce/zed",  # Postfix
        "mikel__mail/multipart_report_emails/report_422",  # Sendmail
        "mailgun__flanker/bounce/office365",  # Exchange
        "jhillyerd__enmime/dsn/testdata/simple_dsn.raw",  # RFC 3464
    ],
)
def test_fields_are_in_the_order_of_others(corpus, name):
    theirs = email.message_from_bytes((corpus / f"eml/{name}.eml").read_bytes())
    about, recipient, *_ = next(
        part.get_payload() for part in theirs.walk() if part.get_content_type() == "message/delivery-status"
    )
    ours = read(report(fate("delayed", orcpt="rfc822;x@y.z", retry_until=1.71e9), envid="x"))
    for mine, other in ((ours.about, about), (ours.recipients[0], recipient)):
        shared = [field for field, _ in mine.items() if field in other]
        assert shared == [field for field, _ in other.items() if field in mine]
        assert shared
