"""What goes to a host by what it offers: 7-bit forms, originals within SIZE, SMTPUTF8, DSN."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.config import SmarthostConfig
from relay.dispatch.envelope import Copy, Target
from relay.dispatch.loading import SEVEN_BIT, UNSIGNED, UNSIGNED_BY_SIZE, WITHOUT_TRACKING, size_limit
from relay.dispatch.smarthost import Smarthost
from tests.dispatch.test_smarthost import CONTENT, connected, copy
from tests.fakes.smarthost import FakeSmarthost, Script

pytestmark = pytest.mark.usefixtures("both_ways")

EIGHT_BIT = CONTENT + b"\xe4\r\n"
SHORT = b"Subject: short\r\n\r\nshort\r\n"
LONG = b"Subject: long\r\n\r\n" + b"long\r\n" * 100


def question_marks(content: bytes) -> bytes | None:
    return bytes(octet if octet < 128 else ord("?") for octet in content) if b"signed" not in content else None


def converting(host: FakeSmarthost) -> Smarthost:
    settings = SmarthostConfig(host="127.0.0.1", port=host.port, tls="none", timeout="2s")
    return Smarthost(settings, "relay.test", to_seven_bit=question_marks)


async def test_8_bit_mail_goes_in_a_7_bit_form_where_there_is_one():
    async with FakeSmarthost(extensions=()) as host:
        client = converting(host)
        (verdict,) = await client.deliver(copy(content=EIGHT_BIT))
        assert verdict.sent
        (verdict,) = await client.deliver(copy(content=EIGHT_BIT + b"signed\r\n"))
        assert (verdict.code, verdict.enhanced) == (554, "5.6.3")
        await client.close()
    assert host.messages[0].content == CONTENT + b"?\r\n"
    assert host.messages[0].mail == b"<a@example.com>"
    assert len(host.messages) == 1


async def test_the_original_goes_where_it_alone_has_a_7_bit_form():
    async with FakeSmarthost(extensions=()) as host:
        client = converting(host)
        (verdict,) = await client.deliver(replace(copy(content=EIGHT_BIT + b"signed\r\n"), original=SHORT))
        assert verdict.sent
        assert verdict.text.endswith(SEVEN_BIT)
        await client.close()
    assert host.messages[0].content == SHORT


async def test_8_bit_mail_goes_as_it_is_where_that_is_taken():
    async with FakeSmarthost(extensions=("8BITMIME",)) as host:
        client = converting(host)
        assert (await client.deliver(copy(content=EIGHT_BIT)))[0].sent
        assert (await client.deliver(copy(content=CONTENT)))[0].sent
        await client.close()
    assert host.messages[0].content == EIGHT_BIT
    assert [message.mail for message in host.messages] == [b"<a@example.com> BODY=8BITMIME", b"<a@example.com>"]


async def test_8_bit_headers_alone_make_no_8_bit_mail():
    mail = b"Subject: \xe4\r\n\r\nascii\r\n"
    async with FakeSmarthost(extensions=()) as host, connected(host) as client:
        assert (await client.deliver(copy(content=mail)))[0].sent
    assert host.messages[0].content == mail


@pytest.mark.parametrize("content", [b"\r\n\xe4\r\n", b"\r\n", b"", b"Subject: x\r\n"])
async def test_mail_without_headers_or_body_is_told_apart(content):
    async with FakeSmarthost(extensions=()) as host, connected(host) as client:
        (verdict,) = await client.deliver(copy(content=content))
    assert verdict.sent == content.isascii()


async def test_the_original_goes_where_the_content_is_over_size():
    async with FakeSmarthost(extensions=("SIZE 100",)) as host, connected(host) as client:
        (verdict,) = await client.deliver(replace(copy(content=LONG), original=SHORT))
        assert verdict.sent
        assert verdict.text == f"Ok: taken {WITHOUT_TRACKING}"
        host.script["after"] = Script("250 2.0.0 " + "x" * 1000)
        (verdict,) = await client.deliver(replace(copy(content=LONG), original=SHORT))
        assert verdict.text.endswith(WITHOUT_TRACKING)
    assert [message.content for message in host.messages] == [SHORT, SHORT]
    assert host.messages[0].mail == b"<a@example.com> SIZE=%d" % len(SHORT)


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", "SIZE 100000", "SIZE x", "X"])
async def test_the_content_goes_where_no_size_speaks_against_it(offer):
    async with FakeSmarthost(extensions=(offer,)) as host, connected(host) as client:
        (verdict,) = await client.deliver(replace(copy(content=LONG), original=SHORT))
    assert verdict.text == "Ok: taken"
    assert host.messages[0].content == LONG


async def test_where_both_are_over_size_the_host_says_so():
    host = FakeSmarthost(extensions=("SIZE 10",), script={"mail": Script("552 5.3.4 too large")})
    async with host, connected(host) as client:
        (verdict,) = await client.deliver(replace(copy(content=LONG), original=SHORT))
    assert verdict.reply == "552 5.3.4 too large"


async def test_size_and_7_bit_forms_go_together():
    long = LONG + b"\xe4\r\n"
    async with FakeSmarthost(extensions=("SIZE 100",)) as host:
        client = converting(host)
        (verdict,) = await client.deliver(replace(copy(content=long), original=SHORT + b"\xe4\r\n"))
        await client.close()
    assert verdict.sent
    assert host.messages[0].content == SHORT + b"?\r\n"


@pytest.mark.parametrize(
    ("offers", "most"),
    [
        ({}, float("inf")),
        ({"size": ""}, float("inf")),
        ({"size": "0"}, float("inf")),
        ({"size": "-1"}, float("inf")),
        ({"size": "٣"}, float("inf")),
        ({"size": " 12 "}, 12),
    ],
)
def test_a_limit_is_read_or_there_is_none(offers, most):
    assert size_limit(offers) == most


async def test_who_cannot_be_named_is_refused_alone():
    async with FakeSmarthost(extensions=("8BITMIME",)) as host, connected(host) as client:
        verdicts = await client.deliver(copy("ü@example.net", "c@example.net", "d\r\nRSET@example.net"))
    assert [verdict.reply.split(" ")[:2] for verdict in verdicts] == [
        ["554", "5.6.7"],
        ["250", "2.0.0"],
        ["554", "5.1.3"],
    ]
    assert host.messages[0].recipients == [b"<c@example.net>"]
    assert b"RSET@example.net>" not in host.commands


async def test_a_reverse_path_or_header_that_cannot_be_handed_on_stops_the_mail():
    header = "Subject: ü\r\n\r\nx\r\n".encode()
    async with FakeSmarthost(extensions=("8BITMIME",)) as host, connected(host) as client:
        for mail in (
            copy(mail_from="ü@example.com"),
            copy(content=header, SMTPUTF8=None),
            copy(mail_from="a@b.c>\r\nRCPT TO:<x@y.z"),
        ):
            (verdict,) = await client.deliver(mail)
            assert verdict.code == 554
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 1


async def test_dsn_is_in_the_hands_of_a_host_that_offers_it():
    wanted = Copy("a@b.c", (Target(1, "d@e.f", {"NOTIFY": "SUCCESS"}),), CONTENT, {"ENVID": "x+2By"})
    async with FakeSmarthost(extensions=("DSN",)) as host, connected(host) as client:
        (verdict,) = await client.deliver(wanted)
        assert verdict.dsn
        host.script["rcpt"] = Script("550 5.1.1 no")
        (verdict,) = await client.deliver(wanted)
        assert verdict.dsn
    assert b"ENVID=x+2By" in host.messages[0].mail
    async with FakeSmarthost(extensions=()) as host, connected(host) as client:
        (verdict,) = await client.deliver(wanted)
    assert not verdict.dsn
    (verdict,) = await client.deliver(wanted)  # nobody is there
    assert not verdict.dsn


# -- the signature on top ---------------------------------------------------------------------------------------------


def stamped(content: bytes) -> bytes | None:
    return b"Signature: %d\r\n" % sum(content) + content if b"unsignable" not in content else None


def holds(content: bytes) -> bool:
    """Whether the signature was the last thing that was done."""
    line, _, rest = content.partition(b"\r\n")
    return line == b"Signature: %d" % sum(rest)


@pytest.mark.parametrize("extensions", [(), ("8BITMIME",)])
async def test_what_goes_is_signed_in_the_form_in_which_it_goes(extensions):
    async with FakeSmarthost(extensions=extensions) as host:
        client = converting(host)
        (verdict,) = await client.deliver(replace(copy(content=EIGHT_BIT), sign=stamped))
        transaction = await client.begin("a@example.com", {})
        await transaction.recipient(Target(1, "b@example.net"))
        reply = await transaction.data(EIGHT_BIT, sign=stamped)
        await client.close()
    assert verdict.text == reply.text == "Ok: taken"
    for message in host.messages:
        assert holds(message.content)
        assert message.content.isascii() == (not extensions)
    assert len(host.messages) == 2


async def test_what_cannot_be_signed_goes_unsigned_and_says_so():
    mail = CONTENT + b"unsignable\r\n"
    async with FakeSmarthost() as host, connected(host) as client:
        (verdict,) = await client.deliver(replace(copy(content=mail), sign=stamped))
    assert verdict.sent
    assert verdict.text == f"Ok: taken {UNSIGNED}"
    assert host.messages[0].content == mail


@pytest.mark.parametrize(
    ("size", "content", "note"),
    [
        (1000, LONG, ""),
        (620, LONG, WITHOUT_TRACKING),
        (len(SHORT) + 10, LONG, f"{WITHOUT_TRACKING} {UNSIGNED_BY_SIZE}"),
        (len(SHORT) + 10, None, UNSIGNED_BY_SIZE),
    ],
)
async def test_neither_tracking_nor_the_signature_makes_a_mail_too_large(size, content, note):
    mail = copy(content=SHORT) if content is None else replace(copy(content=content), original=SHORT)
    async with FakeSmarthost(extensions=(f"SIZE {size}",)) as host, connected(host) as client:
        (verdict,) = await client.deliver(replace(mail, sign=stamped))
    assert verdict.text == f"Ok: taken {note}".strip()
    assert len(host.messages[0].content) <= size
    assert holds(host.messages[0].content) == (UNSIGNED_BY_SIZE not in note)
    assert host.messages[0].content.endswith(SHORT if note else LONG)


async def test_the_original_in_seven_bits_is_signed_too():
    mail = replace(copy(content=EIGHT_BIT + b"signed\r\n"), original=SHORT, sign=stamped)
    async with FakeSmarthost(extensions=()) as host:
        client = converting(host)
        (verdict,) = await client.deliver(mail)
        await client.close()
    assert verdict.text == f"Ok: taken {SEVEN_BIT}"
    assert host.messages[0].content == stamped(SHORT)
