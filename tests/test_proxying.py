"""Proxy delivery from the client's side of the door to the smarthost's, in one process so that time can be short."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from functools import partial

import pytest

from relay.config import Config
from relay.dispatch.delivery import Delivery
from relay.dispatch.errand import Retry
from relay.dispatch.smarthost import Smarthost
from relay.dispatch.spool import claim
from relay.lanes import Lanes
from relay.preparing import prepare
from relay.proxying import Proxy
from relay.reception.smtpd import SmtpServer
from relay.settings import Settings
from tests.fakes.smarthost import FakeSmarthost, Script
from tests.reception.test_smtpd import codes, talk
from tests.test_suppressing import Knowing
from tracker.errors import SpoolError
from tracker.facts import decode
from tracker.model import Accepted, Outcome
from tracker.tokens import KEY_BYTES, Keyring

HTML = (
    b"From: news@example.com\r\nMessage-ID: <m@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b'Content-Type: text/html\r\n\r\n<a href="https://example.org/">x</a>'
    b'<a data-track="opt-out" href="https://example.org/stop">y</a>\r\n'
)
ANN = base64.b64encode(b"\0ann\0secret")


class Running:
    """A door, what stands behind it, and what it has to tell the store."""

    def __init__(self, door, spool, host):
        self.door, self.spool, self.host = door, spool, host

    async def send(self, *people: str, content: bytes = HTML, parameters: str = "", before: bytes = b"") -> list[str]:
        """The codes of the replies to one mail, from that to MAIL on."""
        rcpts = "".join(f"RCPT TO:<{each}>{parameters}\r\n" for each in people)
        octets = b"EHLO me\r\n" + before + b"MAIL FROM:<news@example.com>\r\n" + rcpts.encode() + b"DATA\r\n"
        answer = await talk(self.door, octets + content + b".\r\n")
        return codes(answer)[1 + before.count(b"\r\n") :]

    async def told(self) -> tuple[list[Accepted], list[str]]:
        """What the store is told: mails, and the status and ordinal of each outcome."""
        facts = [decode(octets) for _, octets in await self.spool.facts(1000)]
        outcomes = sorted(f"{fact.recipient} {fact.status}" for fact in facts if isinstance(fact, Outcome))
        return [fact for fact in facts if isinstance(fact, Accepted)], outcomes

    async def emptied(self, seconds: float = 60.0) -> None:
        """Wait until no mail is in the spool."""
        async with asyncio.timeout(seconds):
            while self.spooled():
                await asyncio.sleep(0.05)

    def spooled(self) -> int:
        with closing(sqlite3.connect(self.spool.path)) as db:
            return db.execute("SELECT count(*) FROM messages").fetchone()[0]


@asynccontextmanager
async def proxy(tmp_path, host: FakeSmarthost, relay: dict | None = None):
    smarthost = {"host": "127.0.0.1", "port": host.port, "tls": "none", "timeout": "5s"}
    config = Config(
        data_dir=tmp_path,
        relay={"listen": ["127.0.0.1:0"], "delivery": "proxy", "smarthost": smarthost, **(relay or {})},
        tracker={"public_url": "https://track.test"},
        senders=[{"match": "*"}],
    )
    settings = Settings(config, Keyring([b"k" * KEY_BYTES]), "relay.test")
    spool = claim(tmp_path, [], fresh=True)
    await spool.open()
    lanes = Lanes(lambda each, most: Smarthost(each, "relay.test", connections=most), 1, 0, time.time)
    retry = Retry(0.2, 1.0, 60.0)
    delivery = Delivery(
        "relay.test", lanes.update(config), retry, partial(prepare, settings=settings, known=Knowing()), time.time
    )
    door = SmtpServer(config.relay, "relay.test", partial(Proxy, settings, spool, delivery, Knowing(), time.time))
    delivery.start([spool])
    await door.start()
    try:
        yield Running(door, spool, host)
    finally:
        await door.stop()
        await delivery.stop(1.0)
        await spool.close()


async def test_each_gets_a_copy_of_its_own_and_the_client_one_answer(tmp_path):
    async with FakeSmarthost() as host, proxy(tmp_path, host) as running:
        assert await running.send("a@x.test", "b@x.test") == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0"]
        assert sorted(each.recipients for each in host.messages) == [[b"<a@x.test>"], [b"<b@x.test>"]]
        assert len({each.content for each in host.messages}) == 2
        assert running.spooled() == 0
        (mail,), outcomes = await running.told()
        assert ([each.address for each in mail.recipients], outcomes) == (
            ["a@x.test", "b@x.test"],
            ["1 sent", "2 sent"],
        )


async def test_who_is_refused_at_rcpt_is_told_so_and_counted(tmp_path):
    refusing = Script("550 5.1.1 unknown", when=lambda line: b"b@" in line)
    async with FakeSmarthost(script={"rcpt": refusing}) as host, proxy(tmp_path, host) as running:
        replies = await running.send("a@x.test", "b@x.test", "c@x.test")
        assert replies == ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "354", "250 2.0.0"]
        (mail,), outcomes = await running.told()
        assert [each.address for each in mail.recipients] == ["a@x.test", "c@x.test", "b@x.test"]
        assert outcomes == ["1 sent", "2 sent", "3 bounced"]
        assert running.spooled() == 0


async def test_what_is_deferred_while_others_went_is_spooled_and_goes_later(tmp_path):
    script = {"after": Script("451 4.7.1 grey", times=1)}
    async with FakeSmarthost(script=script) as host, proxy(tmp_path, host, {"retry": RETRY}) as running:
        assert (await running.send("a@x.test", "b@x.test"))[-1] == "250 2.0.0"
        await running.emptied()
        assert sorted(each.recipients for each in host.messages) == [[b"<a@x.test>"], [b"<b@x.test>"]]
        _, outcomes = await running.told()
        assert sorted(each[2:] for each in outcomes) == ["pending", "sent", "sent"]


RETRY = {"first": "1s", "longest": "1s", "give_up_after": "1m"}


async def test_who_is_refused_for_good_while_others_went_is_told_of_by_a_dsn(tmp_path):
    script = {"after": Script("554 5.7.1 no", times=1)}
    async with FakeSmarthost(script=script) as host, proxy(tmp_path, host) as running:
        assert (await running.send("a@x.test", "b@x.test"))[-1] == "250 2.0.0"
        await running.emptied()
        (notice,) = [each for each in host.messages if each.mail.startswith(b"<>")]
        assert notice.recipients == [b"<news@example.com>"]
        assert b"Status: 5.7.1" in notice.content
        _, outcomes = await running.told()
        assert sorted(each[2:] for each in outcomes) == ["bounced", "sent"]


@pytest.mark.parametrize(
    ("act", "reply", "mails"), [("554 5.7.1 no", "554 5.7.1", 1), ("451 4.7.1 grey", "451 4.7.1", 0)]
)
@pytest.mark.parametrize("people", [("a@x.test",), ("a@x.test", "b@x.test")])
async def test_where_nobody_got_it_the_client_hears_why_and_nobody_else(tmp_path, act, reply, mails, people):
    async with FakeSmarthost(script={"after": Script(act)}) as host, proxy(tmp_path, host) as running:
        assert (await running.send(*people))[-1] == reply
        assert running.spooled() == 0
        known, outcomes = await running.told()
        assert len(known) == mails
        assert outcomes == [f"{number} bounced" for number in range(1, len(people) + 1)] * mails


@pytest.mark.parametrize("people", [("a@x.test",), ("a@x.test", "b@x.test")])
@pytest.mark.parametrize(("act", "notices"), [("250 2.0.0 slowly taken", 0), ("554 5.7.1 no, after all", 1)])
async def test_what_takes_too_long_is_ours_and_is_sent_once(tmp_path, monkeypatch, people, act, notices):
    monkeypatch.setattr("relay.proxying.PATIENCE", 0.3)
    async with (
        FakeSmarthost(script={"after": Script(act, times=len(people))}) as host,
        proxy(tmp_path, host) as running,
    ):
        host.delays["after"] = 1.5
        assert (await running.send(*people))[-1] == "250 2.0.0"
        assert running.spooled() == 1
        await running.emptied()
        mails = [each for each in host.messages if not each.mail.startswith(b"<>")]
        assert len(mails) == (0 if notices else len(people))
        assert len(host.messages) - len(mails) == notices
        _, outcomes = await running.told()
        assert outcomes == [f"{number} {'bounced' if notices else 'sent'}" for number in range(1, len(people) + 1)]


async def test_success_is_told_where_the_smarthost_does_not(tmp_path):
    async with FakeSmarthost() as host, proxy(tmp_path, host) as running:
        assert (await running.send("a@x.test", parameters=" NOTIFY=SUCCESS"))[-1] == "250 2.0.0"
        await running.emptied()
        (notice,) = [each for each in host.messages if each.mail.startswith(b"<>")]
        assert b"Action: relayed" in notice.content


async def test_a_full_disk_costs_a_notice_and_no_second_copy(tmp_path, monkeypatch):
    async def fail(*_):
        raise SpoolError("full")

    async with FakeSmarthost() as host, proxy(tmp_path, host) as running:
        monkeypatch.setattr(running.spool, "accept", fail)
        assert (await running.send("a@x.test", parameters=" NOTIFY=SUCCESS"))[-1] == "250 2.0.0"
        host.script["after"] = Script("554 5.7.1 no", times=1)
        assert (await running.send("a@x.test", "b@x.test"))[-1] == "451 4.3.0"


async def test_passthrough_uses_the_clients_login_in_its_session_alone(tmp_path):
    users = {b"ann": ANN}
    host = FakeSmarthost(users=users)
    async with host, proxy(tmp_path, host, {"auth": {"passthrough": True}}) as running:
        login = b"AUTH PLAIN " + ANN + b"\r\n"
        assert (await running.send("a@x.test", "b@x.test", before=login))[-1] == "250 2.0.0"
        (message,) = host.messages
        assert message.recipients == [b"<a@x.test>", b"<b@x.test>"]
        assert b'href="https://example.org/stop"' in message.content
        assert b"https://track.test/c/" in message.content
        (mail,), outcomes = await running.told()
        assert [(each.url, each.tracked, each.reason) for each in mail.links][1] == (
            "https://example.org/stop",
            False,
            "shared_copy",
        )
        assert not mail.attributed
        assert outcomes == ["1 sent", "2 sent"]
        logins = sum(line.startswith(b"AUTH") for line in host.commands)
        assert (await running.send("a@x.test"))[-1] == "250 2.0.0"
        assert sum(line.startswith(b"AUTH") for line in host.commands) == logins == 1


async def test_passthrough_gives_the_smarthosts_word_on_a_login(tmp_path):
    host = FakeSmarthost(users={b"ann": ANN}, script={"auth": Script("535 5.7.8 not this one")})
    async with host, proxy(tmp_path, host, {"auth": {"passthrough": True}}) as running:
        answer = await asyncio.wait_for(talk(running.door, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\nQUIT\r\n"), 60)
        assert b"535 5.7.8 not this one\r\n" in answer


async def test_passthrough_spools_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("relay.proxying.PATIENCE", 0.1)
    host = FakeSmarthost(users={b"ann": ANN}, script={"after": Script("250 2.0.0 taken")})
    async with host, proxy(tmp_path, host, {"auth": {"passthrough": True}}) as running:
        host.delays["after"] = 0.5
        login = b"AUTH PLAIN " + ANN + b"\r\n"
        assert (await running.send("a@x.test", "b@x.test", before=login))[-1] == "250 2.0.0"
        assert len(host.messages) == 1
        assert running.spooled() == 0
