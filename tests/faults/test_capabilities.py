"""What goes to a smarthost that offers less than the mail asks for."""

from __future__ import annotations

import email

import pytest

from tests.fakes.smarthost import Script
from tests.faults.notice import mails
from tests.faults.test_recipients import ANN, mail, tells

ALL = ("8BITMIME", "SMTPUTF8", "DSN", "SIZE 99000000")
SIGNED = (
    "From: news@{domain}\r\nMessage-ID: <{name}@{domain}>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b\r\n\r\n'
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
    "--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
)


def without(*names: str) -> tuple[str, ...]:
    """What a smarthost offers that lacks these."""
    return tuple(each for each in ALL if each.split()[0] not in names)


async def test_eight_bit_mail_is_re_encoded_for_a_host_without_8bitmime(house):
    async with house.site(extensions=without("8BITMIME", "SMTPUTF8")) as site:
        eight_bit = mail(site, "eight", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n", "Grüße")
        await site.submit(eight_bit, " BODY=8BITMIME")
        row = await site.row("eight")
        (message,) = mails(site.host)
    assert not eight_bit.isascii()
    assert message.content.isascii()
    assert b"BODY=" not in message.mail
    text = email.message_from_bytes(message.content).get_payload(decode=True).decode()
    assert "Grüße</a>" in text
    assert "http://track.test/c/" in text
    assert tells(row, recipients=1, sent=1, delivered=1)


async def test_signed_eight_bit_mail_is_returned_where_it_cannot_go(queue_house):
    async with queue_house.site(extensions=without("8BITMIME", "SMTPUTF8")) as site:
        await site.submit(SIGNED.format(domain=site.domain, name="signed").encode(), " BODY=8BITMIME")
        row = await site.row("signed")
        await site.done()
    (notice,) = site.notices
    assert notice.said[:2] == ("failed", "5.6.3")
    assert not mails(site.host)
    assert tells(row, recipients=1, bounced=1)


@pytest.mark.parametrize("lacking", [(), ("SMTPUTF8",), ("8BITMIME", "SMTPUTF8")], ids=repr)
@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
@pytest.mark.parametrize("kind", ["signed", "utf8 address", "utf8 header", "utf8 everywhere"])
async def test_the_sender_hears_of_it_whatever_the_host_lacks(queue_house, lacking, ret, kind):
    """A notification returns what came; that must not keep it from going."""
    refusing = Script("550 5.7.1 unknown here", when=lambda line: b"news@" not in line)
    async with queue_house.site(extensions=without(*lacking), script={"rcpt": refusing}) as site:
        content = SIGNED.format(domain=site.domain, name="told").encode()
        if kind != "signed":
            content = mail(site, "told", "" if kind == "utf8 address" else "X-Note: Grüße\r\n", "Grüße")
        person = ANN if kind in ("signed", "utf8 header") else "<bøb@example.net>"
        await site.submit(content, f" BODY=8BITMIME SMTPUTF8 RET={ret}", [person])
        await site.row("told")
        await site.done()
    (notice,) = site.notices
    assert notice.said[0] == "failed"
    (message,) = site.host.messages
    assert message.content.isascii() or "8BITMIME" not in lacking


async def test_a_notification_too_large_to_return_all_returns_the_header(queue_house):
    refusing = Script("550 5.7.1 unknown here", when=lambda line: b"news@" not in line)
    async with queue_house.site(script={"rcpt": refusing}) as site:
        content = mail(site, "told", text="words\r\n" * 1000)
        site.host.extensions = ("8BITMIME", f"SIZE {len(content) + 200}")
        await site.submit(content, " RET=FULL")
        await site.row("told")
        await site.done()
    (notice,) = site.notices
    assert notice.kind == "text/rfc822-headers"
    assert b"Subject: told\r\n" in notice.returned
    assert b"Its header is attached." in site.host.messages[0].content


async def test_through_the_proxy_signed_eight_bit_mail_is_refused_where_it_cannot_go(proxy_house):
    async with proxy_house.site(extensions=without("8BITMIME", "SMTPUTF8")) as site:
        heard = await site.submit(SIGNED.format(domain=site.domain, name="signed").encode(), " BODY=8BITMIME")
        row = await site.row("signed")
    assert heard.verdict.startswith("554 5.6.3 ")
    assert not site.host.messages
    assert tells(row, recipients=1, bounced=1)


async def test_an_address_that_needs_smtputf8_is_returned_where_it_is_lacking(queue_house):
    async with queue_house.site(extensions=without("SMTPUTF8")) as site:
        await site.submit(mail(site, "utf8"), " SMTPUTF8", [ANN, "<bøb@example.net>"])
        row = await site.row("utf8")
        await site.done()
    (notice,) = site.notices
    assert notice.said[:2] == ("failed", "5.6.7")
    assert "Final-Recipient: utf-8; bøb@example.net".encode() in site.host.messages[-1].content
    (message,) = mails(site.host)
    assert message.recipients == [ANN.encode()]
    assert tells(row, recipients=2, sent=1, delivered=1, bounced=1)


async def test_through_the_proxy_an_address_that_needs_smtputf8_is_refused_where_it_is_lacking(proxy_house):
    async with proxy_house.site(extensions=without("SMTPUTF8")) as site:
        heard = await site.submit(mail(site, "utf8"), " SMTPUTF8", [ANN, "<bøb@example.net>"])
        row = await site.row("utf8")
    assert [each[:9] for each in heard.replies[1:3]] == ["250 2.1.5", "553 5.6.7"]
    assert heard.verdict == "250 2.0.0 Ok: taken"
    assert tells(row, recipients=2, sent=1, delivered=1, bounced=1)


async def test_smtputf8_that_is_asked_for_and_not_needed_costs_nothing(house):
    async with house.site(extensions=without("SMTPUTF8")) as site:
        await site.submit(mail(site, "unneeded"), " SMTPUTF8")
        await site.row("unneeded")
    assert len(mails(site.host)) == 1


@pytest.mark.parametrize("declared", [True, False], ids=["with SIZE", "without"])
async def test_the_original_goes_where_the_copy_is_too_large(house, declared):
    async with house.site() as site:
        original = mail(site, "large", text="words\r\n" * 300)
        site.host.extensions = ("8BITMIME", f"SIZE {len(original) + 300}")  # and what goes on top of it
        await site.submit(original, f" SIZE={len(original)}" if declared else "")
        row = await site.row("large")
        about = site.service.web.get(f"/api/v1/messages/{row['id']}").json()
    (message,) = mails(site.host)
    assert message.content.endswith(original)
    assert tells(row, recipients=1, sent=1, delivered=1)
    assert about["recipients_detail"][0]["reply"].endswith("(without tracking: over the smarthost's SIZE)")
