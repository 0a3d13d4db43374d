"""Which replies say that there is no such mailbox, and which never do."""

from __future__ import annotations

import pytest

from relay.dispatch.envelope import Reply, Verdict
from relay.dispatch.mailboxes import denied, denies, reported
from tracker.model import NoMailbox, new_id


@pytest.mark.parametrize("enhanced", ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"])
def test_codes_that_speak_of_the_address(enhanced: str) -> None:
    assert denies(Reply(550, enhanced, "no such user", "rcpt"))
    assert reported("failed", enhanced)
    assert reported(" Failed ", f" {enhanced} ")
    assert not reported("delayed", enhanced)


@pytest.mark.parametrize("stage", ["connect", "greeting", "ehlo", "auth", "mail", "data", "body", "after", "local"])
def test_only_what_is_said_at_rcpt_counts(stage: str) -> None:
    assert not denies(Reply(550, "5.1.1", "no such user", stage))


@pytest.mark.parametrize(
    ("code", "enhanced"),
    [
        (550, "5.0.0"),  # a bare 550 is given this
        (550, "5.1.0"),
        (550, "5.1.7"),
        (550, "5.1.8"),
        (550, "5.1.11"),
        (552, "5.2.2"),
        (550, "5.2.0"),
        (550, "5.3.0"),
        (550, "5.4.1"),
        (550, "5.5.1"),
        (550, "5.6.7"),
        (550, "5.7.1"),
        (450, "4.1.1"),
        (450, "4.2.1"),
        (250, "2.1.5"),
    ],
)
def test_other_codes_do_not(code: int, enhanced: str) -> None:
    assert not denies(Reply(code, enhanced, "no", "rcpt"))
    assert not reported("failed", enhanced)


def test_the_store_is_told_of_those_alone() -> None:
    mail = new_id()
    verdicts = [
        Verdict(1, "a@example.net", 250, "2.0.0", "ok", "after"),
        Verdict(2, "b@example.net", 550, "5.1.1", "no", "rcpt"),
        Verdict(3, "c@example.net", 550, "5.7.1", "no", "rcpt"),
    ]
    assert denied(mail, verdicts, 7.0) == [NoMailbox(mail, 2, "b@example.net", 7.0)]
