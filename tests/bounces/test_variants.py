"""Reports of every shape, mails that are none, and hostile ones."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounces.parts import LONGEST, MOST_LEAVES
from relay.bounces.reading import COMPLAINTS, LONGEST_TEXT, Kind, read
from relay.dispatch.dsn import Fate, Report, notification
from tracker.bounces import SOFT_CODES, judge
from tracker.model import BounceKind, new_id

ANN = "ann@example.net"


def dsn(fields: str, subject: str = "Undelivered Mail", text: str = "Sorry.", part: str = "") -> bytes:
    """A notification with these recipients' fields."""
    mail = (
        f"From: MAILER-DAEMON@mx.test\nSubject: {subject}\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\n\n{text}\n--b\nContent-Type: message/delivery-status\n{part}\n"
        f"Reporting-MTA: dns; mx.test\n\n{fields}\n--b\nContent-Type: text/rfc822-headers\n\nSubject: Hi\n--b--\n"
    )
    return mail.encode().replace(b"\n", b"\r\n")


def arf(kind: str, agent: str = "SomeLoop/1.0") -> bytes:
    mail = (
        "From: fbl@loop.test\nSubject: FW: Spring\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\n\nAn abuse report.\n'
        f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: {agent}\nVersion: 1\n"
        "Original-Rcpt-To: ann@example.net\n--b\nContent-Type: message/rfc822\n\nSubject: Spring\n\nHi\n--b--\n"
    )
    return mail.encode().replace(b"\n", b"\r\n")


FAILED = f"Final-Recipient: rfc822; {ANN}\nAction: failed\nStatus: %s\nDiagnostic-Code: smtp; %s\n"


@pytest.mark.parametrize(
    ("status", "words", "kind", "code"),
    [
        ("5.1.1", "550 5.1.1 <ann@example.net>: User unknown", Kind.HARD, "5.1.1"),
        ("5.0.0", "550 5.1.1 no such user", Kind.HARD, "5.1.1"),
        ("5.0.0", "550 no such user here", Kind.HARD, "5.0.0"),
        ("5.0.0", "552 over quota", Kind.SOFT, "5.0.0"),
        ("5.0.0", "452-4.2.2 The email account is over quota", Kind.SOFT, "4.2.2"),
        ("5.1.1", "550 5.7.1 Blocked using Spamhaus", Kind.HARD, "5.7.1"),
        ("5.1.1", "450 4.2.1 come again", Kind.SOFT, "4.2.1"),
        ("5.1.10", "550 5.1.1 no such user", Kind.HARD, "5.1.10"),
        ("5.2.2", "552 5.2.2 mailbox full", Kind.SOFT, "5.2.2"),
        ("5.2.1", "550 5.2.1 disabled", Kind.HARD, "5.2.1"),
        ("5.7.1", "550 5.7.1 Blocked using Spamhaus", Kind.HARD, "5.7.1"),
        ("5.4.4", "host not found", Kind.HARD, "5.4.4"),
        ("5.4.1", "550 5.4.1 Recipient address rejected: Access denied", Kind.HARD, "5.4.1"),
        ("5.4.300", "550 5.4.300 Message expired", Kind.SOFT, "5.4.300"),
        ("4.4.7", "delivery time expired", Kind.SOFT, "4.4.7"),
        ("4.4.1", "connect to mx.test[192.0.2.4]:25: timed out", Kind.SOFT, "4.4.1"),
        ("5.1.1 (bad address)", "550 gone", Kind.HARD, "5.1.1"),
        ("553 too big", "553 exceeded maximum size", Kind.SOFT, "5.0.0"),
        ("5.3.0", "553 5.3.0 <ann@example.net>... Addressee unknown", Kind.HARD, "5.3.0"),
        ("5.3.0", "554 5.3.0 other trouble", Kind.HARD, "5.3.0"),
    ],
)
def test_a_failure_is_hard_or_soft_by_what_is_said(status, words, kind, code):
    found = read(dsn(FAILED % (status, words)), ANN)
    assert (found.kind, found.status) == (kind, code)
    assert found.text == words


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", Kind.HARD),
        ("Failed", Kind.HARD),
        ("failed (unrecoverable error)", Kind.HARD),
        ("delayed", Kind.DELAYED),
        ("delivered", Kind.DELIVERED),
        ("relayed", Kind.DELIVERED),
        ("expanded", Kind.DELIVERED),
    ],
)
def test_only_a_failure_is_a_bounce(action, kind):
    assert read(dsn(f"Final-Recipient: rfc822; {ANN}\nAction: {action}\nStatus: 5.1.1\n")).kind is kind


def test_of_several_recipients_ours_decides_else_the_worst():
    bob = "Final-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.1.1\n"
    good = f"Original-Recipient: rfc822;{ANN.upper()}\nFinal-Recipient: x; y\nAction: relayed\nStatus: 2.0.0\n"
    assert read(dsn(f"{bob}\n{good}"), ANN).kind is Kind.DELIVERED
    assert read(dsn(f"{good}\n{bob}"), "cat@example.net").kind is Kind.HARD
    assert read(dsn(f"{good}\n{bob}"), "bob@example.net").kind is Kind.HARD


def test_recipients_without_a_blank_line_between_them_are_told_apart():
    fields = (FAILED % ("4.0.0", "later")).replace("failed", "delayed").replace("ann@", "bob@") + FAILED % (
        "5.1.1",
        "no",
    )
    assert read(dsn(fields), ANN).kind is Kind.HARD
    assert read(dsn(fields), "bob@example.net").kind is Kind.DELAYED


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_report_may_be_encoded(encoding):
    fields = FAILED % ("5.1.1", "550 5.1.1 unknown")
    plain = f"Reporting-MTA: dns; mx.test\n\n{fields}".encode()
    body = base64.encodebytes(plain).decode() if encoding == "base64" else plain.decode().replace(":", "=3A")
    content = dsn(f"@{body}", part=f"Content-Transfer-Encoding: {encoding}\n")
    content = content.replace(b"Reporting-MTA: dns; mx.test\r\n\r\n@", b"")
    assert (read(content).kind, read(content).status) == (Kind.HARD, "5.1.1")


@pytest.mark.parametrize("ret", [None, "FULL"])
@pytest.mark.parametrize("action", ["failed", "delayed", "relayed"])
def test_our_own_notifications_are_read(action, ret):
    fate = Fate(ANN, action, 550 if action == "failed" else 450, "5.1.1", "unknown user", "mx.test", None, 0.0, 9.0)
    report = Report(
        "relay.test", new_id(), "news@example.com", 0.0, b"Subject: Hi\r\n\r\nHi\r\n", [fate], 1.0, None, ret
    )
    kinds = {"failed": Kind.HARD, "delayed": Kind.DELAYED, "relayed": Kind.DELIVERED}
    assert read(notification(report), ANN).kind is kinds[action]


@pytest.mark.parametrize("kind", ["abuse", "fraud", "virus", "opt-out", "not-spam", "auth-failure", "other", "dmarc"])
def test_a_feedback_report_is_a_complaint_where_its_type_says_so(kind):
    found = read(arf(kind))
    assert (found.kind is Kind.COMPLAINT) is (kind in COMPLAINTS)
    assert found.kind is not Kind.COMPLAINT or (found.status, found.text) == (kind, "SomeLoop/1.0")


def test_a_complaint_relayed_by_ses_is_one():
    assert read(arf("abuse", "Amazon SES Mailbox Simulator")).kind is Kind.COMPLAINT


def test_a_complaint_in_the_form_of_outlook_is_one():
    mail = (
        b"From: staff@hotmail.com\r\nSubject: complaint about message from 192.0.2.1\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n'
        b"X-HmXmrOriginalRecipient: ann@hotmail.com\r\nSubject: Spring\r\n\r\nHi\r\n--b--\r\n"
    )
    assert read(mail).kind is Kind.COMPLAINT
    assert read(mail.replace(b"staff@hotmail.com", b"staff@example.net")).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    "head",
    [
        "Subject: Out of office: Spring\nAuto-Submitted: auto-replied",
        "Subject: Automatic reply: Spring\nX-Auto-Response-Suppress: All",
        "Subject: Abwesenheitsnotiz",
        "Subject: Re: Spring\nPrecedence: auto_reply",
        "Subject: Re: Spring\nX-Autoreply: yes",
        "Subject: Please confirm your message\nAuto-Submitted: auto-replied",
    ],
)
def test_an_automatic_reply_is_no_bounce(head):
    words = "I am away and cannot read mail; my mailbox is full of it, and I have left no address. 550 5.1.1\n"
    mail = f"From: Ann <{ANN}>\n{head}\n\n{words}".encode().replace(b"\n", b"\r\n")
    assert read(mail).kind is Kind.AUTOMATIC


@pytest.mark.parametrize(
    "head",
    [
        "From: Ann <ann@example.net>\nSubject: Re: Your parcel could not be delivered",
        "From: Ann <ann@example.net>\nSubject: AW: Undelivered parcel",
        "From: Ann <ann@example.net>\nSubject: Fwd: Undelivered Mail Returned to Sender",
        "From: Ann <ann@example.net>\nSubject: Auto: Your parcel was not delivered\nAuto-Submitted: auto-replied",
        "From: Ann <ann@example.net>\nSubject: Automatic reply: Your parcel could not be delivered",
        "From: Ann <ann@example.net>\nSubject: Out of office Re: delivery problem\nAuto-Submitted: auto-replied",
        "From: Ann <ann@example.net>\nSubject: Your parcel could not be delivered\nX-Autoreply: yes",
        "From: Ann <ann@example.net>\nSubject: Your parcel could not be delivered\nPrecedence: auto_reply",
        "From: postmaster@example.net\nSubject: Out of office\nAuto-Submitted: auto-replied",
    ],
)
def test_an_answer_is_no_bounce_whatever_subject_it_answers(head):
    words = "I am away and cannot be reached; no such user.\n\n> Your parcel could not be delivered.\n"
    assert read(f"{head}\n\n{words}".encode().replace(b"\n", b"\r\n"), ANN).kind in (Kind.AUTOMATIC, Kind.UNKNOWN)


def test_a_bounce_whose_subject_names_what_it_returns_is_one_all_the_same():
    head = "From: MAILER-DAEMON@mx.test\nSubject: Undeliverable: Re: Please confirm your vacation\n"
    assert read(f"{head}\nUser unknown.\n".encode().replace(b"\n", b"\r\n"), ANN).kind is Kind.HARD


def test_a_person_who_answers_is_no_bounce():
    assert read(b"From: Ann <ann@example.net>\r\nSubject: Re: Spring\r\n\r\nThis user unknown says hi\r\n").kind is (
        Kind.UNKNOWN
    )


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("It was not delivered yet; the recipient can release it.", Kind.DELAYED),
        ("It is held in quarantine and was not delivered.", Kind.DELAYED),
        ("It was delivered to the following address: <ann@example.net>", Kind.UNKNOWN),
        ("It could not be delivered to the following address: <ann@example.net>", Kind.HARD),
    ],
)
def test_what_a_postmaster_says_in_plain_words(words, kind):
    mail = f"From: postmaster@mx.test\r\nSubject: Your mail\r\n\r\n{words}\r\n"
    assert read(mail.encode(), ANN).kind is kind


def test_a_report_of_success_in_plain_words_is_no_bounce():
    mail = b"From: MAILER-DAEMON@mx.test\r\nSubject: Successful Mail Delivery Report\r\n\r\nIt was sent.\r\n"
    assert read(mail).kind is Kind.UNKNOWN


def test_words_of_others_are_made_harmless():
    found = read(dsn(FAILED % ("5.1.1", "550 \x1b[31m\u202e" + "x" * 5000)))
    assert found.text.isprintable()
    assert len(found.text) <= LONGEST_TEXT


def test_what_is_soft_gives_up_no_address():
    for code in [*SOFT_CODES, "4.9.9"]:
        assert judge(code, "user unknown") == (BounceKind.SOFT, False)


@pytest.mark.parametrize(
    ("code", "words", "of_address"),
    [
        ("5.1.1", "", True),
        ("5.2.1", "", True),
        ("5.4.4", "", True),
        ("5.0.0", "no such user", True),
        ("5.0.0", "", True),
        ("5.0.0", "listed at rbl.test", False),
        ("5.3.0", "Addressee unknown", True),
        ("5.3.0", "", False),
        ("5.1.8", "", False),
        ("5.5.0", "550 Requested action not taken: mailbox unavailable", True),
        ("5.6.1", "", False),
        ("5.7.1", "user unknown", False),
    ],
)
def test_what_speaks_of_the_mail_or_its_sender_gives_up_no_address(code, words, of_address):
    assert judge(code, words) == (BounceKind.HARD, of_address)


# -- hostile mail ------------------------------------------------------------------------------------------------------

BIG = 2 * 1024 * 1024
HOSTILE = {
    "deep": b"".join(b'Content-Type: multipart/report; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000)),
    "many parts": b'Content-Type: multipart/report; boundary="b"\r\n\r\n'
    + b"--b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n" * 20_000,
    "many recipients": dsn((FAILED % ("5.1.1", "no") + "\n") * 50_000),
    "one line": dsn("Status: 5.1.1 " + "a" * BIG),
    "folds": dsn("Diagnostic-Code: smtp;" + "\n " * (BIG // 2)),
    "colons": dsn(":" * BIG),
    "spaces": b"From: MAILER-DAEMON@mx.test\r\nSubject: failure notice\r\n\r\n" + b"\r\n" + b" " * BIG,
    "dashes": b"From: MAILER-DAEMON@mx.test\r\n\r\n" + b"\r\n--" * (BIG // 4),
    "almost words": b"From: MAILER-DAEMON@mx.test\r\n\r\n" + b"could not " * (BIG // 10),
    "one long word": b"From: MAILER-DAEMON@mx.test\r\n\r\n" + b"deliver" * (BIG // 7),
    "another": b"From: MAILER-DAEMON@mx.test\r\n\r\n" + b"fail" * (BIG // 4),
    "tags": b"From: MAILER-DAEMON@mx.test\r\nContent-Type: text/html\r\n\r\n" + b"<" * BIG,
    "encoded words": b"From: MAILER-DAEMON@mx.test\r\nSubject: " + b"=?utf-8?q?a?=" * 100_000 + b"\r\n\r\nx",
    "header only": b"From: " + b"a" * BIG,
    "codes": dsn(FAILED % ("5.0.0", "5.1." * 100_000)),
    "broken base64": dsn("====" * 10_000, part="Content-Transfer-Encoding: base64\n"),
    "no charset": b"From: MAILER-DAEMON@mx.test\r\nContent-Type: text/plain; charset=zlib_codec\r\n\r\n\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_costs_little_and_raises_nothing(name):
    began = time.process_time()
    found = read(HOSTILE[name], ANN)
    assert time.process_time() - began < 10.0
    assert len(found.text) <= LONGEST_TEXT


def test_only_so_much_is_looked_at():
    far = dsn("x" * LONGEST + "\n\n" + FAILED % ("5.1.1", "no"), subject="Spring").replace(b"MAILER-DAEMON", b"ann")
    assert read(far).kind is not Kind.SOFT
    leaf = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    late = dsn(FAILED % ("5.1.1", "no")).replace(b"--b\r\n", leaf * MOST_LEAVES + b"--b\r\n", 1)
    assert read(late).status == "5.0.0"  # by its subject alone


PIECES = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"--b", b"--b--", b": ", b";", b"Content-Type: ", b"multipart/report", b"boundary=b",
        b"message/delivery-status", b"message/feedback-report", b"Action: failed", b"Status: 5.1.1", b"Status: ",
        b"Feedback-Type: abuse", b"From: MAILER-DAEMON", b"Subject: ", b"=?utf-8?b?", b"?=", b"base64", b"\xff\x00",
        b"Content-Transfer-Encoding: ", b"Final-Recipient: rfc822; ", b"X-Failed-Recipients: a@b.c", b"550 5.1.1",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=60).map(b"".join))
def test_whatever_the_octets_something_is_read(content):
    found = read(content, ANN)
    assert (found.kind in (Kind.HARD, Kind.SOFT, Kind.DELAYED, Kind.COMPLAINT)) is bool(found.status)
    assert found.text.isprintable()
