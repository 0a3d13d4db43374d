"""Bounces at the door, from the client's side: who is let in, what is kept before 250, what the sender hears."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from functools import partial

import pytest

from relay.acceptance import Acceptance
from relay.bounces import desk as desks
from relay.bounces.address import Returning, fill
from relay.bounces.desk import Desk, finder
from relay.bounces.door import BounceDoor
from relay.config import Config
from relay.dispatch.delivery import Delivery
from relay.dispatch.errand import Retry
from relay.dispatch.smarthost import Smarthost
from relay.dispatch.spool import claim
from relay.lanes import Lanes
from relay.preparing import prepare
from relay.proxying import Proxy
from relay.queueing import as_text, queued
from relay.reception.scoreboard import Scoreboard
from relay.reception.session import MOST_RETURNING
from relay.reception.smtpd import Queueing, SmtpServer
from relay.settings import Settings
from tests.bounces.test_variants import ANN, FAILED, arf, dsn
from tests.fakes.smarthost import FakeSmarthost, Script
from tests.reception.test_auth import BOB, USERS
from tests.reception.test_smtpd import codes, talk
from tests.test_preparing import Nobody
from tracker.errors import SpoolError, StoreError
from tracker.facts import decode
from tracker.model import BounceKind, Complained, NoMailbox, Returned, Unwanted, new_id
from tracker.tokens import KEY_BYTES, Keyring

FORM = "bounces+{token}@bounces.test"
RING = Keyring([b"k" * KEY_BYTES])
HARD = dsn(FAILED % ("5.1.1", "550 5.1.1 no such user"))
APP = "app@example.com"


class Origins:
    """Where mails came from, as a test says it."""

    def __init__(self, reverse_path: str | None = APP) -> None:
        self.rows: dict[str, dict] = {}
        self.reverse_path = reverse_path
        self.trouble: Exception | None = None

    def origin(self, message: str, recipient: int):
        if self.trouble is not None:
            raise self.trouble
        return self.rows.get(message)

    def know(self) -> Returning:
        """A copy that was sent."""
        copy = Returning(new_id(), 1)
        row = {"sender": "news@example.com", "reverse_path": self.reverse_path, "address": ANN}
        self.rows[str(copy.message)] = row
        return copy


class Running:
    """A door and what stands behind it."""

    def __init__(self, door, spool, host, origins, board) -> None:
        self.door, self.spool, self.host, self.origins, self.board = door, spool, host, origins, board

    async def send(self, content: bytes, *people: str, sender: str = "", before: bytes = b"") -> list[str]:
        """The codes of the replies to one mail, from that to MAIL on."""
        rcpts = "".join(f"RCPT TO:<{each}>\r\n" for each in people)
        octets = b"EHLO me\r\n" + before + f"MAIL FROM:<{sender}>\r\n{rcpts}DATA\r\n".encode()
        answer = await talk(self.door, octets + content + b".\r\n")
        return codes(answer)[1 + before.count(b"\r\n") :]

    async def told(self) -> list:
        return [decode(octets) for _, octets in await self.spool.facts(1000)]

    async def emptied(self, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while self.spooled():
                await asyncio.sleep(0.05)

    def spooled(self) -> int:
        with closing(sqlite3.connect(self.spool.path)) as db:
            return db.execute("SELECT count(*) FROM messages").fetchone()[0]


@asynccontextmanager
async def running(tmp_path, host, origins=None, relay=None, senders=None, give_up=60.0):
    smarthost = {"host": "127.0.0.1", "port": host.port, "tls": "none", "timeout": "5s"}
    config = Config(
        data_dir=tmp_path,
        relay={"listen": ["127.0.0.1:0"], "smarthost": smarthost, "allow_networks": ["192.0.2.0/24"], **(relay or {})},
        senders=senders or [{"match": "*", "bounces": {"address": FORM}}],
    )
    settings = Settings(config, RING, "relay.test")
    routes = [each.route for each in config.senders if each.smarthost is not None]
    spool = claim(tmp_path, routes, fresh=True)
    await spool.open()
    board = Scoreboard(1)
    seat = board.seat(0)
    lanes = Lanes(lambda each, most: Smarthost(each, "relay.test", connections=most), 1, 0, time.time)
    delivery = Delivery(
        "relay.test",
        lanes.update(config),
        Retry(0.1, 0.5, give_up),
        partial(prepare, settings=settings, known=Nobody()),
        time.time,
        dropped=seat.add_dropped,
    )
    origins = origins or Origins()
    about = (settings, spool, delivery)
    if config.relay.delivery == "proxy":
        inner = partial(Proxy, *about, Nobody(), time.time)
    else:
        inner = partial(Queueing, Acceptance(*about, seat, Nobody(), time.time).accept)
    desk, find = Desk(*about, seat, origins, time.time, patience=0.3), finder(settings)
    door = SmtpServer(
        config.relay, "relay.test", lambda: BounceDoor(inner(), find, desk.take), seat, lambda each: bool(find(each))
    )
    delivery.start([spool])
    await door.start()
    try:
        yield Running(door, spool, host, origins, board)
    finally:
        await door.stop()
        await delivery.stop(1.0)
        await spool.close()


TRUSTING = {"allow_networks": ["127.0.0.0/8"]}


def address_of(copy: Returning) -> str:
    return fill(FORM, copy, RING)


@pytest.mark.parametrize("mode", ["queue", "proxy"])
async def test_anyone_may_return_a_mail_and_its_sender_hears_of_it(tmp_path, mode):
    async with FakeSmarthost() as host, running(tmp_path, host, relay={"delivery": mode}) as there:
        copy = there.origins.know()
        assert await there.send(HARD, address_of(copy).upper()) == ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]
        await there.emptied()
        returned, gone = await there.told()
        assert (returned.message, returned.recipient, returned.kind) == (copy.message, 1, BounceKind.HARD)
        assert (returned.status, returned.reply) == ("5.1.1", "550 5.1.1 no such user")
        assert gone == NoMailbox(copy.message, 1, ANN, returned.at)
        (mail,) = host.messages
        assert (mail.mail.split(b" ")[0], mail.recipients) == (b"<>", [f"<{APP}>".encode()])
        trace, received, rest = mail.content.partition(b"From: MAILER-DAEMON@mx.test")
        assert received + rest == HARD
        assert trace.startswith(b"Received: from me ([127.0.0.1])\r\n\tby relay.test (Tracepost) with ESMTP id ")
        assert trace.count(b"\r\n") == 3
        assert host.connections == 1


async def test_a_stranger_may_write_to_nobody_else(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        address = address_of(there.origins.know())
        replies = await there.send(HARD, "ann@example.net", address, "bounces@bounces.test", sender="x@y.test")
        assert replies == ["250 2.1.0", "530 5.7.0", "250 2.1.5", "530 5.7.0", "354", "250 2.0.0"]
        await there.emptied()
        assert [each.recipients for each in host.messages] == [[f"<{APP}>".encode()]]


@pytest.mark.parametrize("relay", [{}, TRUSTING], ids=["stranger", "trusted"])
async def test_a_forged_token_counts_nothing_and_goes_nowhere(tmp_path, relay):
    async with FakeSmarthost() as host, running(tmp_path, host, relay=relay) as there:
        address = address_of(there.origins.know())
        forged = address.replace("+", "+a", 1)
        other = fill(FORM, Returning(new_id(), 1), Keyring([b"x" * KEY_BYTES]))
        replies = await there.send(HARD, forged, other, "bounces+x@BOUNCES.test")
        assert replies[:4] == ["250 2.1.0", "550 5.1.1", "550 5.1.1", "550 5.1.1"]
        assert replies[4] == "503 5.5.1"
        assert (await there.told(), there.spooled(), host.messages) == ([], 0, [])


@pytest.mark.parametrize("mode", ["queue", "proxy"])
async def test_each_recipient_is_judged_by_itself(tmp_path, mode):
    relay = {"delivery": mode, **TRUSTING}
    async with FakeSmarthost() as host, running(tmp_path, host, relay=relay) as there:
        address = address_of(there.origins.know())
        for sender in ("", "news@example.com"):
            host.messages.clear()
            replies = await there.send(HARD, address, "ann@example.net", "bob@example.net", sender=sender)
            assert replies == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0"]
            await there.emptied()
            people = sorted(each for mail in host.messages for each in mail.recipients)
            assert people == [b"<ann@example.net>", f"<{APP}>".encode(), b"<bob@example.net>"]
        assert {fact.recipient for fact in await there.told() if isinstance(fact, Returned)} == {1}


async def test_a_smarthost_that_wants_no_null_reverse_path_stops_no_bounce(tmp_path):
    script = {"mail": Script("550 5.7.1 no", when=lambda line: b"<>" in line, times=1)}
    relay = {"delivery": "proxy", **TRUSTING}
    async with FakeSmarthost(script=script) as host, running(tmp_path, host, relay=relay) as there:
        address = address_of(there.origins.know())
        assert (await there.send(HARD, "ann@example.net", address))[:3] == ["250 2.1.0", "550 5.7.1", "250 2.1.5"]
        assert [type(fact) for fact in await there.told()] == [Returned, NoMailbox]


async def test_a_few_bounce_addresses_are_enough(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        people = [address_of(there.origins.know()) for _ in range(MOST_RETURNING + 1)]
        replies = await there.send(HARD, *people)
        assert replies[1:-2] == ["250 2.1.5"] * MOST_RETURNING + ["452 4.5.3"]
        assert replies[-1] == "250 2.0.0"
        await there.emptied()
        assert len(host.messages) == MOST_RETURNING


async def test_one_address_in_several_letter_cases_is_one(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        address = address_of(there.origins.know())
        replies = await there.send(HARD, address, address.upper(), address.title(), address.swapcase())
        assert replies == ["250 2.1.0", *["250 2.1.5"] * 4, "354", "250 2.0.0"]
        await there.emptied()
        assert len(host.messages) == 1
        assert [type(fact) for fact in await there.told()] == [Returned, NoMailbox]


async def test_a_report_of_another_address_says_nothing_of_who_exists(tmp_path):
    """An alias or a list whose one member is gone, say: its mail came back, yet it is not shut off for every sender."""
    other = dsn((FAILED % ("5.1.1", "550 5.1.1 no such user")).replace(ANN, "gone@elsewhere.test"))
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        assert (await there.send(other, address_of(there.origins.know())))[-1] == "250 2.0.0"
        returned, unwanted = await there.told()
        assert (returned.kind, returned.status) == (BounceKind.HARD, "5.1.1")
        assert (type(unwanted), unwanted.address, unwanted.sender) == (Unwanted, ANN, "news@example.com")


@pytest.mark.parametrize("field", ["Original-Recipient: rfc822; %s", "X-Nothing: %s"])
async def test_who_is_named_at_all_or_nobody_is_gives_up_the_address(tmp_path, field):
    named = FAILED.replace("Final-Recipient", "X-Other") if field.startswith("X") else FAILED.replace(ANN, "x@y.test")
    content = dsn(field % ANN.upper() + "\n" + named % ("5.1.1", "550 5.1.1 no such user"))
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        assert (await there.send(content, address_of(there.origins.know())))[-1] == "250 2.0.0"
        assert [type(fact) for fact in await there.told()] == [Returned, NoMailbox]


async def test_limits_hold_for_bounces_too(tmp_path):
    relay = {"max_message_size": "20KB", "limits": {"spool": "30KB", "memory": "10MB"}}
    async with FakeSmarthost() as host, running(tmp_path, host, relay=relay) as there:
        address = address_of(there.origins.know())
        assert (await there.send(HARD + b"x" * 20_000 + b"\r\n", address))[-1] == "552 5.3.4"
        assert (await there.send(HARD.replace(b"\r\n", b"\n", 1), address))[-1] == "550 5.6.11"
        assert (await there.send(b"Received: x\r\n" * 51 + HARD, address))[-1] == "554 5.4.6"
        there.board.seat(0).add_spool(29_900)
        assert (await there.send(HARD, address))[-1] == "452 4.3.1"
        assert (await there.told(), host.messages) == ([], [])


async def test_while_the_store_is_away_the_client_keeps_the_bounce(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        address = address_of(there.origins.know())
        there.origins.trouble = StoreError("away")
        assert (await there.send(HARD, address))[-1] == "451 4.3.0"
        there.origins.trouble = None
        assert (await there.send(HARD, address))[-1] == "250 2.0.0"


async def test_a_mail_that_the_store_has_not_heard_of_is_waited_for(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        copy = there.origins.know()
        row = there.origins.rows.pop(str(copy.message))
        assert (await there.send(HARD, address_of(copy)))[-1] == "451 4.3.0"
        sending = asyncio.create_task(there.send(HARD, address_of(copy)))
        await asyncio.sleep(0.05)
        there.origins.rows[str(copy.message)] = row
        assert (await sending)[-1] in ("250 2.0.0", "451 4.3.0")
        assert (await there.send(HARD, address_of(copy)))[-1] == "250 2.0.0"


async def test_of_a_mail_long_forgotten_the_bounce_is_counted_and_goes_nowhere(tmp_path):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        copy = Returning(new_id(time.time() - desks.YOUNG - 60), 1)
        assert (await there.send(HARD, address_of(copy)))[-1] == "250 2.0.0"
        assert [type(fact) for fact in await there.told()] == [Returned]
        assert (there.spooled(), host.messages) == (0, [])


@pytest.mark.parametrize("to", ["", None, fill(FORM, Returning(new_id(), 3), RING), "bounces+forged@bounces.test"])
async def test_where_nobody_is_to_hear_the_bounce_is_only_counted(tmp_path, to):
    async with FakeSmarthost() as host, running(tmp_path, host, Origins(to)) as there:
        assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "250 2.0.0"
        assert [type(fact) for fact in await there.told()] == [Returned, NoMailbox]
        assert (there.spooled(), host.messages) == (0, [])


async def test_a_spool_that_cannot_be_written_leaves_the_bounce_with_its_client(tmp_path, monkeypatch):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:

        async def full(*args, **named):
            raise SpoolError("no")

        monkeypatch.setattr(there.spool, "accept", full)
        assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "451 4.3.0"
        assert await there.told() == []


async def test_what_cannot_be_passed_on_ends_without_a_word_to_anyone(tmp_path):
    refusing = Script("550 5.1.1 no such sender", when=lambda line: b"app@" in line)
    async with FakeSmarthost(script={"rcpt": refusing}) as host, running(tmp_path, host) as there:
        assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "250 2.0.0"
        await there.emptied()
        assert there.board.dropped == 1
        assert [type(fact) for fact in await there.told()] == [Returned, NoMailbox]
        assert host.messages == []


async def test_what_is_put_off_for_too_long_is_dropped_too(tmp_path):
    waiting = Script("450 4.2.0 later", when=lambda line: b"app@" in line)
    async with FakeSmarthost(script={"rcpt": waiting}) as host, running(tmp_path, host, give_up=1.0) as there:
        assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "250 2.0.0"
        await there.emptied()
        assert (there.board.dropped, host.messages) == (1, [])


async def test_it_goes_by_the_smarthost_of_its_sender(tmp_path):
    async with FakeSmarthost() as usual, FakeSmarthost() as own:
        smarthost = {"host": "127.0.0.1", "port": own.port, "tls": "none"}
        senders = [
            {"match": "*@example.org", "bounces": {"address": FORM}},
            {"match": "*@example.com", "bounces": {"address": FORM}, "smarthost": smarthost},
        ]
        async with running(tmp_path, usual, senders=senders) as there:
            assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "250 2.0.0"
            await there.emptied()
            assert (len(usual.messages), len(own.messages)) == (0, 1)


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (dsn(FAILED % ("5.4.1", "550 5.4.1 Access denied")), [Returned, Unwanted]),
        (dsn(FAILED % ("5.7.1", "550 5.7.1 blocked")), [Returned]),
        (dsn(FAILED % ("5.2.2", "552 5.2.2 full")), [Returned]),
        (dsn((FAILED % ("4.4.1", "timed out")).replace("failed", "delayed")), [Returned]),
        (dsn((FAILED % ("2.0.0", "250 Ok")).replace("failed", "relayed")), []),
        (arf("abuse"), [Complained, Unwanted]),
        (arf("not-spam"), []),
        (b"From: ann@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nAway\r\n", []),
        (b"From: ann@example.net\r\nSubject: Re: Spring\r\n\r\nThank you\r\n", [Returned]),
        (b"\r\n", [Returned]),
    ],
)
async def test_whatever_it_says_it_is_passed_on(tmp_path, content, kinds):
    async with FakeSmarthost() as host, running(tmp_path, host) as there:
        assert (await there.send(content, address_of(there.origins.know()), sender="ann@example.net"))[
            -1
        ] == "250 2.0.0"
        await there.emptied()
        facts = await there.told()
        assert [type(fact) for fact in facts] == kinds
        assert all(fact.sender == "news@example.com" for fact in facts if isinstance(fact, Unwanted))
        (mail,) = host.messages
        assert mail.content.endswith(content)
        assert mail.mail.split(b" ")[0] == b"<>"


async def test_an_account_with_senders_of_its_own_may_return_mail(tmp_path):
    relay = {"auth": {"users": {"bob": USERS["bob"]}}}
    async with FakeSmarthost() as host, running(tmp_path, host, relay=relay) as there:
        login = b"AUTH PLAIN " + BOB + b"\r\n"
        assert (await there.send(HARD, address_of(there.origins.know()), before=login))[-1] == "250 2.0.0"


async def test_the_queue_shows_what_waits_to_be_passed_on(tmp_path):
    waiting = Script("450 4.2.0 later", when=lambda line: b"app@" in line)
    async with FakeSmarthost(script={"rcpt": waiting}) as host, running(tmp_path, host) as there:
        assert (await there.send(HARD, address_of(there.origins.know())))[-1] == "250 2.0.0"
        async with asyncio.timeout(20):
            while not host.acted:
                await asyncio.sleep(0.05)
        (found,) = queued(tmp_path)
        assert "\nWhat        a mail that came back\n" in as_text(found)
        assert (found.mail.reverse_path, found.mail.recipients[0].address) == ("", APP)
