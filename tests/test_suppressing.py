"""Who is suppressed gets no copy and nobody is told; who wants no tracking gets a plain one; who does not exist is
remembered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.acceptance import mail_of
from relay.config import SenderConfig, load_config
from relay.dispatch.delivery import Delivery
from relay.dispatch.envelope import Copy, Target, Verdict
from relay.dispatch.errand import Retry
from relay.dispatch.lane import Lane
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.spool import Spool, claim
from relay.instrumenting import plan
from relay.preparing import prepare
from relay.reception.headers import Headers
from relay.reception.senders import SPEAKING_HEADERS, freeze, profile_for, thaw
from relay.rewriting import message
from relay.settings import Settings
from tests.tracker.facts import NOW
from tracker.facts import decode
from tracker.model import Accepted, Fact, NoMailbox, Outcome, new_id
from tracker.tokens import KEY_BYTES, Keyring, OptOut

KEYRING = Keyring([bytes(KEY_BYTES)])
ANN, BOB, CAT = "ann@example.net", "bob@example.net", "cat@example.net"
HEAD = b"From: News <news@example.com>\r\nSubject: Spring\r\n%sContent-Type: text/html\r\n\r\n"
BODY = b"<body><p>Hi <a href='https://shop.test/'>shop</a></p></body>\r\n"
UNSUBSCRIBE = b"List-Unsubscribe: <mailto:leave@example.com>\r\n"
NEWSLETTER, RECEIPT = HEAD % UNSUBSCRIBE + BODY, HEAD % b"" + BODY


class Knowing:
    """What is known, as a test says it."""

    def __init__(self, refused: Sequence[str] = (), untracked: Sequence[str] = (), gone: Sequence[str] = ()) -> None:
        self.refused, self.plain, self.gone = refused, untracked, gone

    def refusal(self, sender: str, address: str, marketing: bool) -> str | None:
        assert sender == "news@example.com"
        return "gone" if address in self.gone else "refused" if marketing and address in self.refused else None

    def untracked(self, sender: str, address: str) -> bool:
        return address in self.plain

    def saved_types(self, sender: str) -> tuple[tuple[str, str], ...]:
        return ()


class Carrier:
    """Takes every copy; refuses the addresses in ``verdicts`` so."""

    def __init__(self, **verdicts: tuple[int, str]) -> None:
        self.copies: list[Copy] = []
        self.verdicts = verdicts

    async def deliver(self, copy: Copy) -> list[Verdict]:
        self.copies.append(copy)
        return [self._verdict(target) for target in copy.targets]

    def _verdict(self, target: Target) -> Verdict:
        code, enhanced = self.verdicts.get(target.address.partition("@")[0], (250, "2.0.0"))
        return Verdict(target.ordinal, target.address, code, enhanced, "so it is", "rcpt" if code >= 400 else "after")

    async def close(self) -> None:
        pass


def mailed(content: bytes = NEWSLETTER, people: Sequence[str] = (ANN, BOB, CAT), **changes: Any) -> Mail:
    senders = [SenderConfig(match=changes.pop("match", "*@example.com"))]
    header = Headers(message.select(content, SPEAKING_HEADERS))
    reverse_path = changes.get("reverse_path", "bounce@example.com")
    profile = profile_for(senders, reverse_path, None, header, "http://t.test", KEYRING.ids[0])
    for name in ("category", "shared", "text_tracking"):
        if name in changes:
            object.__setattr__(profile, name, changes.pop(name))
    rcpts = tuple(Rcpt(number, address) for number, address in enumerate(people, 1))
    fields = {"route": "", "reverse_path": reverse_path, "options": {}, "recipients": rcpts, **changes}
    return Mail(id=new_id(NOW), profile=freeze(profile), trace=b"", content=content, accepted_at=NOW, **fields)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    found = claim(tmp_path, [], fresh=True)
    assert found is not None
    await found.open()
    yield found
    await found.close()


async def sent(
    spool: Spool, mail: Mail, knowing: Knowing, **verdicts: tuple[int, str]
) -> tuple[list[Copy], list[Fact]]:
    """Deliver one mail: the copies that went, and what the store is told. Nothing may be left in the spool, no DSN to
    anyone either."""
    carrier = Carrier(**verdicts)
    lane = Lane("host.test", carrier, [""], 10, lambda: NOW)
    settings: Any = SimpleNamespace(keyring=KEYRING)
    prepared = partial(prepare, settings=settings, known=knowing)
    delivery = Delivery("relay.test", [lane], Retry(60, 600, 6000), prepared, lambda: NOW)
    await spool.accept(mail, True)
    delivery.take(spool, mail)
    while delivery._tasks:
        await asyncio.wait(delivery._tasks)
    if not verdicts:
        assert spool.octets == 0
        assert not await spool.lease([""], NOW * 2, 10)
    await delivery.stop(1.0)
    return carrier.copies, [decode(octets) for _, octets in await spool.facts(1000)]


def reached(copies: Sequence[Copy]) -> list[str]:
    return sorted(target.address for copy in copies for target in copy.targets)


def statuses(facts: Sequence[Fact]) -> dict[int, tuple[str, str]]:
    assert isinstance(facts[0], Accepted)
    return {fact.recipient: (fact.status.value, fact.reply) for fact in facts if isinstance(fact, Outcome)}


# -- who gets no mail ------------------------------------------------------------------------------------------------


async def test_who_opted_out_gets_no_copy_of_a_newsletter(spool: Spool) -> None:
    copies, facts = await sent(spool, mailed(), Knowing(refused=[BOB]))
    assert reached(copies) == [ANN, CAT]
    assert statuses(facts)[2] == ("suppressed", "refused")
    assert [statuses(facts)[n][0] for n in (1, 3)] == ["sent", "sent"]


async def test_but_gets_a_receipt(spool: Spool) -> None:
    copies, _ = await sent(spool, mailed(RECEIPT), Knowing(refused=[BOB]))
    assert reached(copies) == [ANN, BOB, CAT]


async def test_where_everybody_opted_out_nothing_goes(spool: Spool) -> None:
    copies, facts = await sent(spool, mailed(), Knowing(refused=[ANN, BOB, CAT]))
    assert copies == []
    assert {status for status, _ in statuses(facts).values()} == {"suppressed"}


async def test_who_asked_to_be_told_of_the_delivery_is_told_of_none(spool: Spool) -> None:
    rcpts = (Rcpt(1, ANN, {"NOTIFY": "SUCCESS,FAILURE,DELAY"}),)
    copies, _ = await sent(spool, mailed(recipients=rcpts), Knowing(refused=[ANN]))
    assert copies == []


async def test_who_does_not_exist_gets_neither(spool: Spool) -> None:
    copies, facts = await sent(spool, mailed(RECEIPT), Knowing(gone=[ANN]))
    assert reached(copies) == [BOB, CAT]
    assert statuses(facts)[1] == ("suppressed", "gone")


@pytest.mark.parametrize("changes", [{"match": "*@other.example"}, {"reverse_path": ""}])
async def test_mail_that_passes_untouched_reaches_everybody(spool: Spool, changes: dict[str, str]) -> None:
    copies, _ = await sent(spool, mailed(**changes), Knowing(refused=[ANN], gone=[BOB]))
    assert reached(copies) == [ANN, BOB, CAT]


async def test_who_opts_out_while_the_mail_waits_gets_no_copy_at_the_next_try(spool: Spool) -> None:
    mail, knowing = mailed(people=[ANN]), Knowing()
    copies, _ = await sent(spool, mail, knowing, ann=(451, "4.2.0"))
    assert reached(copies) == [ANN]
    knowing.refused = [ANN]
    (again,) = await spool.lease([""], NOW * 2, 10)
    carrier = Carrier()
    settings: Any = SimpleNamespace(keyring=KEYRING)
    prepared = partial(prepare, settings=settings, known=knowing)
    lane = Lane("host.test", carrier, [""], 10, lambda: NOW)
    delivery = Delivery("relay.test", [lane], Retry(60, 600, 6000), prepared, lambda: NOW + 1000)
    delivery.take(spool, again)
    while delivery._tasks:
        await asyncio.wait(delivery._tasks)
    await delivery.stop(1.0)
    assert carrier.copies == []
    assert spool.octets == 0


async def test_nobody_is_told_of_it_though_the_mails_time_is_over(spool: Spool) -> None:
    mail, carrier = mailed(people=[ANN, BOB]), Carrier()
    settings: Any = SimpleNamespace(keyring=KEYRING, signers={})
    prepared = partial(prepare, settings=settings, known=Knowing(refused=[ANN]))
    lane = Lane("host.test", carrier, [""], 10, lambda: NOW)
    delivery = Delivery("relay.test", [lane], Retry(60, 600, 6000), prepared, lambda: NOW + 7000)
    await spool.accept(mail, True)
    delivery.take(spool, mail)
    while delivery._tasks:
        await asyncio.wait(delivery._tasks)
    await delivery.stop(1.0)
    assert reached(carrier.copies) == [BOB]
    assert spool.octets == 0
    facts = [decode(octets) for _, octets in await spool.facts(1000)]
    assert [status for status, _ in statuses(facts).values()] == ["suppressed", "sent"]


# -- who does not exist ----------------------------------------------------------------------------------------------


async def test_a_host_that_knows_no_such_mailbox_is_remembered(spool: Spool) -> None:
    mail = mailed()
    _, facts = await sent(spool, mail, Knowing(), ann=(550, "5.1.1"), bob=(550, "5.7.1"), cat=(450, "4.1.1"))
    assert [fact for fact in facts if isinstance(fact, NoMailbox)] == [NoMailbox(mail.id, 1, ANN, NOW)]


async def test_not_for_a_mail_of_our_own(spool: Spool) -> None:
    notice = Mail(new_id(NOW), "", "", {}, (Rcpt(1, ANN),), "", b"", NEWSLETTER, NOW)
    copies, facts = await sent(spool, notice, Knowing(refused=[ANN], gone=[ANN], untracked=[ANN]), ann=(550, "5.1.1"))
    assert (reached(copies), facts) == ([ANN], [])
    assert copies[0].content == NEWSLETTER


# -- who wants no tracking -------------------------------------------------------------------------------------------


async def test_who_wants_no_tracking_gets_the_mail_as_it_came(spool: Spool) -> None:
    copies, _ = await sent(spool, mailed(), Knowing(untracked=[BOB]))
    contents = {copy.targets[0].address: copy.content for copy in copies}
    assert contents[BOB] == NEWSLETTER
    for address in (ANN, CAT):
        assert b"http://t.test/c/" in contents[address]
        assert b"http://t.test/o/" in contents[address]


async def test_but_the_opt_out_link_stays_theirs(spool: Spool) -> None:
    page = "<a href='{{ unsubscribe_url }}'>no</a><a href='https://shop.test/bye' data-track='opt-out'>bye</a>"
    content = NEWSLETTER.replace(b"</p>", page.encode() + b"</p>")
    copies, _ = await sent(spool, mailed(content, [ANN, BOB]), Knowing(untracked=[BOB]))
    plain = next(copy.content for copy in copies if copy.targets[0].address == BOB)
    (token,) = re.findall(rb"http://t\.test/u/([\w-]+)", plain)
    assert KEYRING.open(OptOut, token.decode()).address == BOB
    assert plain == content.replace(b"{{ unsubscribe_url }}", b"http://t.test/u/" + token)


async def test_links_in_the_text_are_plain_too(spool: Spool) -> None:
    content = NEWSLETTER.replace(b"text/html", b"text/plain").replace(BODY, b"See https://shop.test/ here\r\n")
    copies, _ = await sent(spool, mailed(content, [ANN, BOB], text_tracking=True), Knowing(untracked=[BOB]))
    contents = {copy.targets[0].address: copy.content for copy in copies}
    assert contents[BOB] == content
    assert b"http://t.test/c/" in contents[ANN]


async def test_a_shared_copy_goes_apart_from_the_plain_one(spool: Spool) -> None:
    copies, _ = await sent(spool, mailed(shared=True), Knowing(untracked=[BOB]))
    shared = {tuple(target.address for target in copy.targets): copy.content for copy in copies}
    assert shared.keys() == {(ANN, CAT), (BOB,)}
    assert shared[BOB,] == NEWSLETTER
    assert b"http://t.test/c/" in shared[ANN, CAT]


def test_one_copy_for_all_is_plain_where_one_of_them_wants_no_tracking() -> None:
    mail = mailed(shared=True)
    settings: Any = SimpleNamespace(keyring=KEYRING)
    prepared = prepare(mail, settings, Knowing(untracked=[BOB]))
    targets = tuple(Target(each.ordinal, each.address) for each in mail.recipients)
    assert not prepared.alike(targets)
    assert prepared.alike(targets[:1])
    assert prepared.copy(targets).content == NEWSLETTER


# -- categories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "asked", "expected"),
    [
        (NEWSLETTER, None, "marketing"),
        (RECEIPT, None, "transactional"),
        (NEWSLETTER, "auto", "marketing"),
        (RECEIPT, "marketing", "marketing"),
        (NEWSLETTER, "transactional", "transactional"),
        (HEAD % b"" + b"<a href='https://x.test/' data-track='opt-out'>x</a>\r\n", None, "marketing"),
        (HEAD % b"" + b"<a href='https://x.test/' data-track='never'>x</a>\r\n", None, "transactional"),
        (RECEIPT.replace(b"<p>", b"List-Unsubscribe: x<p>"), None, "transactional"),
    ],
)
def test_a_mail_is_marketing_where_one_can_opt_out_of_it(content: bytes, asked: str | None, expected: str) -> None:
    profile = profile_for(
        [SenderConfig(match="*")],
        "a@b.c",
        None,
        Headers(message.select(content, SPEAKING_HEADERS)),
        "http://t.test",
        KEYRING.ids[0],
    )
    object.__setattr__(profile, "category", asked)
    assert plan(content, profile, KEYRING).category == expected


# -- saved types -----------------------------------------------------------------------------------------------------


def test_the_types_saved_for_the_sender_are_frozen_with_the_mail(tmp_path: Path) -> None:
    class Typed(Knowing):
        def saved_types(self, sender: str) -> tuple[tuple[str, str], ...]:
            assert sender == "news@example.com"
            return (("https://shop.test/*", "never"),)

    file = tmp_path / "config.yaml"
    file.write_text("relay: {smarthost: {host: sandbox}}\nsenders: [{match: '*'}]\n")
    settings = Settings(load_config(file, {}), KEYRING, "relay.test")
    submission: Any = SimpleNamespace(
        content=NEWSLETTER,
        mail_from="bounce@example.com",
        user=None,
        rcpt_tos=(ANN,),
        rcpt_options=({},),
        mail_options={},
        helo="client.test",
        peer="192.0.2.1",
        smtputf8=False,
        esmtp=True,
        tls=False,
    )
    mail = mail_of(submission, settings, Typed(), NOW)
    assert thaw(mail.profile).saved == (("https://shop.test/*", "never"),)
    assert thaw(mail_of(submission, settings, Knowing(), NOW).profile).saved == ()
