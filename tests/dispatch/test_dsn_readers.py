"""A bounce reader that others use (Mailman's) finds in our notifications who failed."""

from __future__ import annotations

import email

import pytest
from flufl.bounce import all_failures

from relay.dispatch.dsn import notification
from tests.dispatch.notified import fate, report


def failures(*fates, **given) -> tuple[set[bytes], set[bytes]]:
    """Whom the reader takes for failing for now, and for good."""
    temporary, permanent = all_failures(email.message_from_bytes(notification(report(*fates, **given))))
    return set(temporary), set(permanent)


@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
def test_a_failed_recipient_is_found(ret):
    assert failures(fate(), ret=ret) == (set(), {b"bob@example.net"})


def test_each_recipient_is_found_by_its_fate():
    fates = (
        fate(address="failed@example.net"),
        fate("delayed", 451, "4.2.0", address="delayed@example.net", retry_until=1.71e9),
        fate("relayed", 250, "2.0.0", address="relayed@example.net"),
        fate(address="other@example.net", code=552, enhanced="5.2.2"),
    )
    assert failures(*fates) == ({b"delayed@example.net"}, {b"failed@example.net", b"other@example.net"})


def test_the_address_that_the_sender_knew_is_found():
    assert failures(fate(orcpt="rfc822;alias+2Bx@example.com"))[1] == {b"alias+x@example.com"}


def test_what_was_relayed_is_no_bounce():
    assert failures(fate("relayed", 250, "2.0.0")) == (set(), set())


def test_hostile_words_make_nobody_fail():
    words = "no\r\n\r\nFinal-Recipient: rfc822; victim@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    content = b"Subject: " + words.encode() + b"\r\n\r\n"
    assert failures(fate(text=words, remote=words), envid=words, content=content) == (set(), {b"bob@example.net"})
