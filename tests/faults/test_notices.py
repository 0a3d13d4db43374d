"""What senders hear, and from whom: notifications asked for, forbidden, impossible; what they return."""

from __future__ import annotations

import asyncio
import time

import pytest

from relay.config import SmarthostConfig
from relay.dispatch import errand
from relay.dispatch.delivery import Delivery
from relay.dispatch.errand import Retry
from relay.dispatch.lane import Lane
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.smarthost import Smarthost
from relay.dispatch.spool import claim
from relay.preparing import PreparedMail
from tests.fakes.smarthost import FakeSmarthost, Script
from tests.faults.conftest import soon
from tests.faults.notice import mails, notices
from tests.faults.test_recipients import ANN, mail, tells
from tracker.model import new_id

REFUSING = {"rcpt": Script("550 5.7.1 unknown here", when=lambda line: b"ann@" in line)}
DSN = ("8BITMIME", "SMTPUTF8", "DSN", "SIZE 99000000")


async def test_nobody_hears_of_a_failure_who_asked_not_to(queue_house):
    async with queue_house.site(script=REFUSING) as site:
        await site.submit(mail(site, "never"), people=[f"{ANN} NOTIFY=NEVER"])
        row = await site.row("never")
        await site.done()
    assert not site.notices
    assert tells(row, recipients=1, bounced=1)


async def test_success_is_told_where_the_smarthost_will_not(house):
    async with house.site() as site:
        await site.submit(
            mail(site, "success"), " ENVID=QQ314159", [f"{ANN} NOTIFY=SUCCESS ORCPT=rfc822;annie@example.com"]
        )
        row = await site.row("success")
        await soon(lambda: site.notices)
        await site.done()
    (notice,) = site.notices
    assert notice.said == ("relayed", "2.0.0", "smtp; 250 2.0.0 Ok: taken")
    assert notice.about["Original-Envelope-Id"] == "QQ314159"
    assert notice.recipients[0]["Original-Recipient"] == "rfc822;annie@example.com"
    assert notice.kind == "text/rfc822-headers"
    assert tells(row, recipients=1, sent=1, delivered=1)


async def test_a_smarthost_with_dsn_is_left_to_tell_of_success(house):
    options = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;annie@example.com"
    async with house.site(extensions=DSN) as site:
        await site.submit(mail(site, "theirs"), " RET=HDRS ENVID=QQ314159", [f"{ANN} {options}"])
        await site.row("theirs")
        await site.done()
    assert not site.notices
    (message,) = mails(site.host)
    assert message.recipients == [f"{ANN} {options}".encode()]
    assert message.mail.split()[-2:] == [b"RET=HDRS", b"ENVID=QQ314159"]


async def test_a_refusal_is_told_also_where_the_smarthost_has_dsn(queue_house):
    async with queue_house.site(extensions=DSN, script=REFUSING) as site:
        await site.submit(mail(site, "refused"), people=[f"{ANN} NOTIFY=FAILURE"])
        await site.row("refused")
        await site.done()
    assert len(site.notices) == 1  # it never took the mail, so the notification is ours
    assert site.notices[0].to == f"<news@{site.domain}> NOTIFY=NEVER".encode()


@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
async def test_what_is_returned_is_what_came(queue_house, ret):
    async with queue_house.site(script=REFUSING) as site:
        name = f"ret-{ret.lower()}"
        person = f"{ANN} NOTIFY=FAILURE ORCPT=rfc822;annie+2Bnews@example.com"
        await site.submit(mail(site, name), f" RET={ret} ENVID=A+2BB", [person])
        await site.row(name)
        await site.done()
    (notice,) = site.notices
    assert notice.about["Original-Envelope-Id"] == "A+B"
    assert notice.recipients[0]["Original-Recipient"] == "rfc822;annie+news@example.com"
    whole = mail(site, name)
    if ret == "FULL":
        assert notice.kind == "message/rfc822"
        assert notice.returned.endswith(b"\r\n" + whole)  # as it came: without our links
    else:
        assert notice.kind == "text/rfc822-headers"
        assert notice.returned.endswith(b"\r\n" + whole.split(b"\r\n\r\n")[0] + b"\r\n")
    assert notice.returned.startswith(b"Received: from client.test ")


async def test_nobody_is_told_of_mail_with_a_null_reverse_path(queue_house):
    async with queue_house.site(script=REFUSING) as site:
        await site.submit_null(mail(site, "null"))
        row = await site.row("null")
        await site.done()
    assert not site.host.messages
    assert tells(row, recipients=1, bounced=1)
    assert [line for line in site.host.commands if line.startswith(b"MAIL")] == [site.host.commands[1]]


async def test_a_notification_that_bounces_ends_quietly(queue_house):
    async with queue_house.site(script={"rcpt": Script("550 5.7.1 nobody is known here")}) as site:
        await site.submit(mail(site, "twice"))
        row = await site.row("twice")
        await site.done()
        await asyncio.sleep(1.0)
    senders = [line.split()[1] for line in site.host.commands if line.startswith(b"MAIL")]
    assert senders == [f"FROM:<news@{site.domain}>".encode(), b"FROM:<>"]
    assert tells(row, recipients=1, bounced=1)


async def test_a_notification_is_tried_again_like_any_mail(queue_house):
    later = Script("451 4.3.0 later", when=lambda line: b"<>" in line, times=2)
    async with queue_house.site(script={**REFUSING, "mail": later}) as site:
        await site.submit(mail(site, "notice"))
        await soon(lambda: site.notices)
        await site.done()
    assert len(site.notices) == 1


async def test_a_delay_is_told_once_to_those_who_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(errand, "DELAY_AFTER", 0.5)
    deferring = Script("451 4.2.2 mailbox full", when=lambda line: b"<>" not in line, times=3)
    async with FakeSmarthost(script={"mail": deferring}) as host:
        carrier = Smarthost(SmarthostConfig(host="127.0.0.1", port=host.port, tls="none"), "relay.test")
        lane = Lane("smarthost.test", carrier, [""], 4, time.time)
        spool = claim(tmp_path, [], fresh=True)
        assert spool is not None
        await spool.open()
        delivery = Delivery(
            "relay.test", [lane], Retry(0.2, 0.2, 60.0), lambda each: PreparedMail(each, None, None, None), time.time
        )
        delivery.start([spool])
        now = time.time()
        people = tuple(
            Rcpt(number, f"{notify}@example.net", {"NOTIFY": notify}, next_at=now)
            for number, notify in enumerate(("DELAY,FAILURE", "FAILURE"), 1)
        )
        waiting = Mail(new_id(now), "", "news@example.com", {}, people, "", b"", b"Subject: x\r\n\r\nx\r\n", now, True)
        await spool.accept(waiting, True)
        delivery.take(spool, waiting)
        await soon(lambda: mails(host))
        await soon(spool.empty)
        await delivery.stop(1.0)
        await spool.close()
    (notice,) = notices(host)
    assert notice.said == ("delayed", "4.2.2", "smtp; 451 4.2.2 mailbox full")
    assert [each["Final-Recipient"] for each in notice.recipients] == ["rfc822; DELAY,FAILURE@example.net"]
    assert notice.recipients[0]["Will-Retry-Until"]
    (message,) = mails(host)
    assert len(message.recipients) == 2
