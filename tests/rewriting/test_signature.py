"""Our signatures hold for readers that we did not write, whatever the mail looks like."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewriting.signature import sign
from tests.verifiers import ED25519, RSA, Published, signed_headers

PUBLISHED = Published({("example.com", "r"): RSA, ("example.com", "e"): ED25519})
AT = 1_790_000_000.5
MAIL = (
    b"Received: from a\r\n\tby b\r\nFrom: News  <news@example.com>\r\nTo: a@example.net,\r\n b@example.net\r\n"
    b"Subject: one\r\nsubject:two\r\nX-Other: y\r\nList-Unsubscribe: <https://x.test/u>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\n\r\n"
    b"Hello \t world  \r\n.\r\nGr\xc3\xbc\xc3\x9fe\t\r\n\r\n\r\n"
)
both = pytest.mark.parametrize("selector", ["r", "e"])


def signed(mail: bytes = MAIL, selector: str = "e") -> bytes:
    return sign(mail, PUBLISHED.identity("example.com", selector), AT)


@both
def test_dkimpy_and_opendkim_accept_it(tmp_path, selector):
    mail = signed(selector=selector)
    assert mail.endswith(MAIL)
    assert PUBLISHED.dkimpy(mail)
    assert PUBLISHED.opendkim(mail, tmp_path) == [("pass", "example.com")]
    assert signed(selector=selector) == mail
    head = mail[: -len(MAIL)]
    assert b"c=relaxed/relaxed" in head
    assert b"t=1790000000;" in head
    assert all(len(line) <= 78 for line in head.split(b"\r\n"))


@both
def test_a_changed_body_is_found_out(tmp_path, selector):
    mail = signed(selector=selector).replace(b"world", b"there")
    assert not PUBLISHED.dkimpy(mail)
    assert PUBLISHED.opendkim(mail, tmp_path) == [("fail", "example.com")]


@pytest.mark.parametrize(
    "line",
    [
        b"From: evil@example.com\r\n",
        b"Subject: three\r\n",
        b"Reply-To: evil@example.com\r\n",
        b"To: c@example.net\r\n",
        b"Cc: c@example.net\r\n",
        b"List-Unsubscribe: <https://evil.test/>\r\n",
        b"List-Unsubscribe-Post: x\r\n",
        b"MIME-Version: 2.0\r\n",
    ],
)
def test_nobody_adds_a_header_that_readers_see(line):
    head, rest = signed().split(b"Received:")
    assert PUBLISHED.dkimpy(head + b"Received:" + rest)
    assert not PUBLISHED.dkimpy(head + line + b"Received:" + rest)
    assert not PUBLISHED.dkimpy(head + b"Received:" + rest.replace(b"MIME-Version", line + b"MIME-Version"))


def test_hosts_on_the_way_may_add_theirs():
    mail = b"Received: from c\r\n\tby d\r\nX-Spam: no\r\nReturn-Path: <x@y.z>\r\n" + signed()
    mail = mail.replace(b"List-Unsubscribe: <", b"List-Unsubscribe:\r\n <").replace(b"Hello \t world", b"Hello world")
    assert PUBLISHED.dkimpy(mail)


def test_list_headers_are_covered_and_received_is_not():
    names = signed_headers(signed())
    assert {"list-unsubscribe", "list-unsubscribe-post", "from", "subject"} <= set(names)
    assert "received" not in names
    assert names.count("from") == 2
    assert names.count("subject") == 3


@pytest.mark.parametrize(
    "mail",
    [
        b"From: a@example.com\r\n\r\n",
        b"From: a@example.com\r\n",
        b"From: a@example.com\r\n\r\n\r\n\r\n",
        b"From: a@example.com\r\n\r\n \r\n\t\r\n",
        b"From: a@example.com\r\n\r\n" + b"long " * 1000 + b"\r\n",
        b"From: a@example.com\r\nResent-From: x@y.z\r\nResent-From: y@y.z\r\nList-Id: <x>\r\n\r\nx\r\n",
        b"From:\r\n a@example.com\r\nSubject:\r\n \r\n x\r\nTo:\r\n\r\nx\r\n",
        b"From: a@example.com\r\nSubject: \xc3\xbc\xff\r\n\r\n\xff\x80\r\n",
        signed(b"From: a@example.com\r\n\r\nx\r\n").replace(b"\r\nx", b"\r\nchanged since"),
    ],
)
def test_odd_mail_is_signed_as_others_read_it(tmp_path, mail):
    out = signed(mail)
    assert PUBLISHED.dkimpy(out)
    assert PUBLISHED.opendkim(out, tmp_path)[0] == ("pass", "example.com")


@pytest.mark.parametrize("body", [b"no line end", b"nul \0\r\n"])
def test_dkimpy_alone_reads_what_no_mail_should_hold(body):
    assert PUBLISHED.dkimpy(signed(b"From: a@example.com\r\n\r\n" + body))


@pytest.mark.parametrize(
    ("mail", "reason"),
    [
        (b"Subject: x\r\n\r\nx\r\n", "no From"),
        (b"", "no From"),
        (b"\r\nx\r\n", "no From"),
        (b"From: a@b.c\r\njunk\r\nSubject: x\r\n\r\nx\r\n", "lines among its headers"),
        (b"From a@b.c Mon\r\nFrom: a@b.c\r\n\r\nx\r\n", "lines among its headers"),
    ],
)
def test_what_nobody_could_verify_is_refused(mail, reason):
    with pytest.raises(ValueError, match=reason):
        signed(mail)


def test_a_long_domain_stays_within_lines():
    domain = ".".join(["d" * 60] * 4)
    published = Published({(domain, "s" * 60): ED25519})
    mail = sign(MAIL, published.identity(domain, "s" * 60), AT)
    assert published.dkimpy(mail)


NAMES = st.sampled_from(["Subject", "TO", "cc", "Date", "X-Y", "List-Id", "reply-to", "Content-Type", "Received"])
TEXT = st.text(st.sampled_from(" \t.=-aB:;<>\xe9"), max_size=30).map(lambda text: text.encode("latin-1"))
VALUES = st.lists(TEXT, min_size=1, max_size=3).map(lambda lines: b"\r\n ".join([lines[0], *map(b"x".__add__, lines)]))
LINES = st.lists(TEXT, max_size=12).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.integers(0, 8), LINES)
def test_dkimpy_accepts_whatever_was_signed(fields, place, body):
    lines = [name.encode() + b":" + value + b"\r\n" for name, value in fields]
    lines.insert(place, b"From: a@example.com\r\n")
    assert PUBLISHED.dkimpy(signed(b"".join(lines) + b"\r\n" + body))


@pytest.mark.parametrize("unit", [b" ", b"\t", b"\r\n", b" \r\n", b"x "])
def test_time_is_linear(unit):
    began = time.process_time()
    signed(b"From: a@example.com\r\nX: " + b" " * 100_000 + b"x\r\n\r\n" + unit * 4_000_000 + b"x\r\n")
    assert time.process_time() - began < 10


def test_it_goes_on_top_and_changes_nothing():
    assert re.fullmatch(rb"DKIM-Signature: v=1; (?:[^\r\n]|\r\n\t)*\r\n", signed()[: -len(MAIL)])
