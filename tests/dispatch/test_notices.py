"""The notification as the spool takes it."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace

from relay.dispatch.mail import Said, State
from relay.dispatch.notices import notice_for
from tests.dispatch.queued import CONTENT, DAY, NOW, mail, rcpt

SAID = Said(550, "5.1.1", "unknown here", "mx.test", NOW + 5)


def fields(notice) -> list[email.message.Message]:
    """The blocks of the delivery report: about the mail, then one a recipient."""
    report = email.message_from_bytes(notice.content, policy=email.policy.default)
    return list(report.get_payload(1).get_payload())


def notice(*people, now=NOW + 9, **options):
    sent = mail(*people, options=options, route="fast")
    return sent, notice_for(sent, sent.recipients, "relay.test", now, NOW + 5 * DAY)


def test_it_goes_to_the_sender_by_the_same_way_from_nobody_and_asks_for_nothing():
    failed = replace(rcpt("ann@example.net"), state=State.FAILED, said=SAID)
    sent, made = notice(failed, ENVID="x42")
    assert (made.reverse_path, made.route, made.profile, made.recorded) == ("", "fast", "", True)
    assert [(each.address, dict(each.options)) for each in made.recipients] == [
        ("news@example.com", {"NOTIFY": "NEVER"})
    ]
    assert made.accepted_at == made.recipients[0].next_at == NOW + 9
    assert made.id != sent.id
    about, person = fields(made)
    assert about["Original-Envelope-Id"] == "x42"
    assert (person["Final-Recipient"], person["Action"], person["Status"]) == (
        "rfc822; ann@example.net",
        "failed",
        "5.1.1",
    )
    assert person["Remote-MTA"] == "dns; mx.test"


def test_all_are_in_one_mail_each_with_its_own_fate():
    people = [
        replace(rcpt("a@x.test", 1, ORCPT="rfc822;z@x.test"), state=State.FAILED, said=SAID),
        replace(rcpt("b@x.test", 2), state=State.RELAYED, said=Said(250, "2.0.0", "Ok", "mx.test", NOW)),
        replace(rcpt("c@x.test", 3), state=State.WAITING, said=Said(451, "4.2.2", "full", None, NOW)),
        replace(rcpt("d@x.test", 4), state=State.FAILED),
    ]
    _, made = notice(*people)
    _, a, b, c, d = fields(made)
    assert [each["Action"] for each in (a, b, c, d)] == ["failed", "relayed", "delayed", "failed"]
    assert [each["Status"] for each in (a, b, c, d)] == ["5.1.1", "2.0.0", "4.2.2", "4.4.7"]
    assert a["Original-Recipient"] == "rfc822;z@x.test"
    assert c["Will-Retry-Until"]
    assert not any(each["Will-Retry-Until"] for each in (a, b, d))
    assert d["Remote-MTA"] is None


def test_the_mail_itself_comes_back_where_that_was_asked_for():
    failed = replace(rcpt("ann@example.net"), state=State.FAILED, said=SAID)
    _, whole = notice(failed, RET="FULL")
    _, header = notice(failed, RET="HDRS")
    assert b"Received: from test\r\n" + CONTENT in whole.content
    assert b"Hello" not in header.content
    assert b"Subject: Spring" in header.content


def test_smtputf8_is_asked_for_where_it_is_needed():
    _, plain = notice(replace(rcpt("ann@example.net"), state=State.FAILED, said=SAID))
    _, other = notice(replace(rcpt("bøb@example.net"), state=State.FAILED, said=SAID))
    assert dict(plain.options) == {}
    assert dict(other.options) == {"SMTPUTF8": None}
