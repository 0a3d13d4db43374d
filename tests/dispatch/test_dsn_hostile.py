"""Nothing that others wrote, in a mail, an address or a reply, bends a notification."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.dispatch.dsn import Fate, notification
from tests.dispatch.notified import HEADER, ID, MAIL, fate, read, report

RELAXED = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
ALWAYS = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
SOMETIMES = {"In-Reply-To", "References", "Content-Transfer-Encoding"}


@pytest.mark.parametrize(
    "end", ["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1c", "\0"]
)
def test_no_line_end_gets_through(end):
    words = f"no{end}Subject: x{end}--{ID.hex}.0--{end}Action: relayed{end}"
    of = report(
        fate(text=words, address=words, remote=words, enhanced=words, orcpt=words),
        reverse_path=words,
        envid=words,
        ret=words,
        content=b"Subject: x\r\n" + words.encode() + MAIL,
    )
    found = read(of)
    assert found.mail.get_all("Subject") == ["Undelivered Mail Returned to Sender"]
    assert found.recipients[0].get_all("Action") == ["failed"]
    assert found.recipients[0].keys() == [
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    ]
    assert len(found.text.splitlines()) == found.text.count("\r\n")


def test_encoded_words_cannot_break_the_text():
    subject = b"Subject: =?utf-8?q?a=0D=0A=0D=0A--x=E2=80=AEb?=\r\n\r\n"
    assert "  Subject: a --x b\r\n" in read(report(content=subject)).text
    for broken in (b"=?nonsense?q?x?=", b"=?utf-8?b?=====?=", b"=?utf-8?q?=FF?=", b"=?utf-8?b?x?="):
        assert "  Subject: " in read(report(content=b"Subject: " + broken + b"\r\n\r\n")).text


def test_the_boundary_is_not_in_the_mail():
    content = MAIL + b"".join(b"--%b.%d\r\n" % (ID.hex.encode(), number) for number in range(12))
    assert read(report(content=content, ret="FULL")).returned == content


def test_long_words_are_bounded():
    long = "ö" * 5000
    found = read(report(fate(text=long, address=long, remote="x" * 5000, orcpt="rfc822;" + long), reverse_path=long))
    assert found.recipients[0]["Original-Recipient"] is None
    told = read(report(fate(text="word " * 5000)))
    assert max(map(len, notification(report(fate(text="word " * 5000))).split(b"\r\n"))) <= 78
    assert len(told.recipients[0]["Diagnostic-Code"]) < 1500


PIECES = ["\r\n", "\r", "\n", "\0", "--", ID.hex, ".0", ";", "<", ">", ":", " ", "\t", "a", "=?utf-8?q?", "?=", "\x85"]
WORDS = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=20).map("".join) | st.text(max_size=2000)
OCTETS = st.lists(st.sampled_from([piece.encode() for piece in PIECES]) | st.binary(max_size=50), max_size=30)
CONTENTS = st.tuples(st.sampled_from([b"", HEADER, MAIL]), OCTETS.map(b"".join)).map(b"".join)
FATES = st.builds(
    Fate,
    address=WORDS,
    action=st.sampled_from(["failed", "delayed", "relayed"]),
    code=st.integers(200, 599),
    enhanced=st.sampled_from(["5.1.1", "4.0.0", "2.0.0"]) | WORDS,
    text=WORDS,
    remote=st.none() | WORDS,
    orcpt=st.none() | WORDS,
    last_attempt=st.floats(0, 4e9),
    retry_until=st.none() | st.floats(0, 4e9),
)


@RELAXED
@given(
    fates=st.lists(FATES, min_size=1, max_size=4),
    content=CONTENTS,
    reverse_path=WORDS.filter(bool),
    envid=st.none() | WORDS,
    ret=st.sampled_from([None, "FULL", "HDRS"]),
)
def test_whatever_others_write_three_parts_come_out(fates, content, reverse_path, envid, ret):
    found = read(report(*fates, content=content, reverse_path=reverse_path, envid=envid, ret=ret))
    assert sorted({*found.mail.keys(), *SOMETIMES}) == sorted({*ALWAYS, *SOMETIMES})
    assert len(set(found.mail.keys())) == len(found.mail)
    assert [recipient["Action"] for recipient in found.recipients] == [each.action for each in fates]
    assert all(len(set(recipient.keys())) == len(recipient) for recipient in found.recipients)
    if found.kind in ("message/rfc822", "message/global"):
        assert found.returned == content
