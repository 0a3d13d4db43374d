"""No mail within a mail: whatever a client, a content or a smarthost says, one mail stays one mail.

The sequences are those published as SMTP smuggling: what some server takes for the end of the data beside the one true
``<CRLF>.<CRLF>`` (RFC 5321 section 4.1.1.4).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from relay.reception.data import normalize_newlines
from tests.fakes.smarthost import Script
from tests.faults.client import reply, stuffed
from tests.faults.conftest import House, Site, open_house, soon
from tests.faults.notice import mails
from tests.faults.test_recipients import ANN, mail, tells

BARE = [
    *(b"\n.\n", b"\n.\r\n", b"\n.\r", b"\r.\r", b"\r.\r\n", b"\r.\n", b"\r\n.\n", b"\r\n.\r"),
    *(b"\n.\n\r\n", b"\r\n.\r\r\n", b"\r\n\n.\r\n\n", b"\r\n.\r\0\n", b"\n\0.\n", b"\n.\0\n", b"\r\0.\r", b"\r.\0\r"),
]
"""With a CR or LF that stands alone."""
UNUSUAL = [
    *(b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\0.\r\n", b"\r\n. \r\n", b"\r\n \b.\r\n", b"\r\n..\r\n", b"\r\n.\x0b\r\n"),
    *(b"\r\n.\x1a\r\n", b"\r\n.\xc2\x85\r\n", b"\r\n\xe2\x80\xa8.\xe2\x80\xa8\r\n", b"\r\n=2E\r\n", b"\r\n.=\r\n"),
]
"""With proper line ends."""
SOME_END = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
"""What a lax server takes for the end of the data."""


def inner(site: Site) -> bytes:
    """What follows the false end: another mail, to be taken for commands."""
    envelope = f"MAIL FROM:<evil@{site.domain}>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    return f"{envelope}Subject: inner\r\n\r\nx\r\n".encode()


def on_the_wire(sequence: bytes, site: Site) -> bytes:
    """A mail with a false end, as the octets of its data; dots that begin lines are meant as they are."""
    return mail(site, "smuggler") + b"before" + sequence + inner(site)


async def hand_in(site: Site, wire: bytes, cut: int | None = None) -> str:
    """Send these octets as data, with their end; in two pieces where ``cut`` says so. The session is in step after
    it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
    try:
        await reply(reader)
        for line in (b"EHLO c.test", f"MAIL FROM:<news@{site.domain}>".encode(), b"RCPT TO:" + ANN.encode(), b"DATA"):
            writer.write(line + b"\r\n")
            verdict = await reply(reader)
        assert verdict.startswith("354")
        writer.write(wire[:cut])
        await writer.drain()
        if cut is not None:
            await asyncio.sleep(0.02)
            writer.write(wire[cut:])
        writer.write(b"\r\n.\r\n")
        verdict = await reply(reader)
        writer.write(b"VRFY x\r\n")
        assert (await reply(reader)).startswith("252 ")
    finally:
        writer.close()
    return verdict


@pytest.mark.parametrize("sequence", BARE + UNUSUAL, ids=repr)
async def test_a_client_we_trust_hands_in_one_mail(house, sequence):
    async with house.site() as site:
        wire = on_the_wire(sequence, site)
        verdict = await hand_in(site, wire, wire.index(b"before") + 6 + len(sequence) // 2)
        assert verdict.startswith("250 ")
        await soon(lambda: mails(site.host))
        await site.done()
    (message,) = site.host.messages
    assert message.recipients == [ANN.encode()]
    assert not any(b"evil@" in line or b"victim@" in line for line in site.host.commands)
    tail = normalize_newlines(wire[wire.index(b"before") :].replace(b"\r\n.", b"\r\n"))
    assert tail.rstrip(b"\r\n") in message.content
    passed_on = stuffed(message.content) + b".\r\n"
    assert [found.end() for found in SOME_END.finditer(passed_on)] == [len(passed_on)]


@pytest.fixture(scope="module")
def strict_house(tmp_path_factory) -> Iterator[House]:
    """With ``bare_newlines: reject``."""
    with open_house(tmp_path_factory.mktemp("strict"), "queue", "bare_newlines: reject\n") as house:
        yield house


@pytest.fixture(scope="module")
def locked_house(tmp_path_factory) -> Iterator[House]:
    """Where nobody is trusted."""
    with open_house(tmp_path_factory.mktemp("locked"), "queue", "allow_networks: []\n") as house:
        yield house


async def test_bare_newlines_are_refused_where_so_configured(strict_house):
    async with strict_house.site() as site:
        for sequence in BARE:
            assert (await hand_in(site, on_the_wire(sequence, site))).startswith("550 5.6.11 "), sequence
        for sequence in UNUSUAL:
            assert (await hand_in(site, on_the_wire(sequence, site))).startswith("250 "), sequence
        await soon(lambda: len(mails(site.host)) == len(UNUSUAL))
        await site.done()
    assert len(site.host.messages) == len(UNUSUAL)
    assert not any(b"evil@" in line or b"victim@" in line for line in site.host.commands)


async def test_whom_we_do_not_trust_sends_neither_mail_nor_inner_mail(locked_house):
    async with locked_house.site() as site:
        for sequence in BARE + UNUSUAL:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
            head = f"EHLO c.test\r\nMAIL FROM:<news@{site.domain}>\r\nRCPT TO:{ANN}\r\nDATA\r\n".encode()
            writer.write(head + on_the_wire(sequence, site) + b"\r\n.\r\nQUIT\r\n")
            heard = (await reader.read()).decode()
            writer.close()
            assert heard.count("530 5.7.0 ") == 2, heard  # Ann, and the victim
            assert "\r\n354" not in heard
            assert heard.endswith("221 2.0.0 Bye\r\n")
        assert not await site.queue()
    assert not site.host.connections


async def test_commands_after_the_data_are_the_clients_own(house):
    async with house.site() as site:
        envelope = f"MAIL FROM:<news@{site.domain}>\r\nRCPT TO:{ANN}\r\nDATA\r\n".encode()
        first, second = mail(site, "first"), mail(site, "second")
        reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
        octets = b"EHLO c.test\r\n" + envelope + first + b".\r\n" + envelope + second + b".\r\nNOOP\r\nQUIT\r\n"
        writer.write(octets)
        heard = [await reply(reader) for _ in range(12)]
        writer.close()
        await soon(lambda: len(mails(site.host)) == 2)
        await site.done()
    assert [each[:3] for each in heard] == ["220", "250", *["250", "250", "354", "250"] * 2, "250", "221"]
    subjects = sorted(re.findall(rb"\r\nSubject: (\w+)", b"".join(each.content for each in site.host.messages)))
    assert subjects == [b"first", b"second"]


@pytest.mark.parametrize(
    "command",
    [
        b"MAIL FROM:<news@{0}\rRCPT TO:<victim@example.net>>",
        b"MAIL FROM:<news@{0}\nRCPT TO:<victim@example.net>>",
        b'MAIL FROM:<"a\rb"@{0}>',
        b'MAIL FROM:<"a\0b"@{0}>',
        b"MAIL FROM:<news@{0}> ENVID=a\rRCPT",
        b"MAIL FROM:<news@{0}> ENVID=a\x0bb",
        b"MAIL FROM:<news@{0}> AUTH=<>\n",
    ],
    ids=repr,
)
async def test_no_command_holds_another(house, command):
    async with house.site() as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
        writer.write(b"EHLO c.test\r\n" + command.replace(b"{0}", site.domain.encode()) + b"\r\nNOOP\r\nQUIT\r\n")
        heard = [await reply(reader) for _ in range(5)]
        writer.close()
    assert heard[2][0] == "5"
    assert heard[3:] == ["250 2.0.0 Ok", "221 2.0.0 Bye"]
    assert not site.host.connections


async def test_encoded_newlines_in_parameters_stay_encoded(house):
    """They go on as they came to a smarthost with DSN; a notification of ours leaves them out."""
    orcpt = "rfc822;annie+0D+0AX-Injected:+20yes@example.com"
    options = f"NOTIFY=SUCCESS ORCPT={orcpt}"
    async with house.site() as site:
        await site.submit(mail(site, "plain"), " ENVID=a+0D+0AX-Injected:+20yes", [f"{ANN} {options}"])
        await soon(lambda: site.notices)
        await site.done()
    (notice,) = site.notices
    assert notice.about["Original-Envelope-Id"] is None
    assert notice.recipients[0]["Original-Recipient"] is None
    assert b"\nX-Injected" not in site.host.messages[-1].content
    async with house.site(extensions=("DSN",)) as site:
        await site.submit(mail(site, "theirs"), " ENVID=a+0D+0AX-Injected:+20yes", [f"{ANN} {options}"])
        await soon(lambda: mails(site.host))
    (message,) = mails(site.host)
    assert message.mail.endswith(b" ENVID=a+0D+0AX-Injected:+20yes")
    assert message.recipients == [f"{ANN} {options}".encode()]


HOSTILE = [
    "550 5.7.1 no\r250 2.1.5 Ok",
    "550 5.7.1 no\n250 2.1.5 Ok",
    "550-5.7.1 no\r\n250 2.1.5 Ok",
    "550 5.7.1 no\r\n250 2.1.5 Ok\r\n354 go on",
    "550 5.7.1 no\0\x0b\x1b[2J\u2028X-Injected: yes\u202e",
    "550-5.7.1 one\r\n550-5.7.1 \r\n550 5.7.1 X-Injected: yes",
    "250-2.1.5 Ok\r\n550 5.7.1 no",
]


@pytest.mark.parametrize("said", HOSTILE, ids=repr)
async def test_what_a_smarthost_says_stays_one_reply(proxy_house, said):
    async with proxy_house.site(script={"rcpt": Script(said)}) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.service.smtp_port)
        writer.write(f"EHLO c.test\r\nMAIL FROM:<news@{site.domain}>\r\nRCPT TO:{ANN}\r\nVRFY x\r\nDATA\r\n".encode())
        heard = [await reply(reader) for _ in range(6)]
        writer.close()
    assert heard[3][:9] in ("550 5.7.1", "550-5.7.1", "451 4.5.0")
    assert heard[3].isprintable()
    assert [each[:9] for each in heard[4:]] == ["252 2.5.0", "503 5.5.1"]
    assert not site.host.messages


@pytest.mark.parametrize("said", HOSTILE, ids=repr)
async def test_what_a_smarthost_says_stays_one_field(queue_house, said):
    refusing = Script(said, when=lambda line: b"ann@" in line, times=1)
    async with queue_house.site(script={"rcpt": refusing}) as site:
        await site.submit(mail(site, "hostile"))
        row = await site.row("hostile")
        await site.done()
    assert tells(row, recipients=1, bounced=1) == (len(site.notices) == 1)
    assert tells(row, recipients=1, sent=1, delivered=1) == (len(mails(site.host)) == 1)
    for notice in site.notices:
        assert notice.said[:2] == ("failed", "5.7.1")
        assert notice.said[2].isprintable()
        assert b"\nX-Injected" not in site.host.messages[-1].content


async def test_our_own_line_breaks_end_no_data(house):
    """Where a rewritten line would pass 998 octets, a space in its tag becomes CRLF: what follows may be a dot."""
    async with house.site() as site:
        tag = '<a href="https://example.org/" title="' + "t" * 300 + '" ' + ". " * 300 + ">x</a>"
        assert len(tag) < 998
        content = mail(site, "dots").replace(b'<a href="https://example.org/">', tag.encode())
        await site.submit(content)
        await site.row("dots")
        await soon(lambda: mails(site.host))
    (message,) = site.host.messages
    assert b"http://track.test/c/" in message.content
    assert b". >x</a></a>" in message.content
    assert b"\r\n. " in message.content
    passed_on = stuffed(message.content) + b".\r\n"
    assert [found.end() for found in SOME_END.finditer(passed_on)] == [len(passed_on)]
