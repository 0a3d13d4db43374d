"""Forgetting a person in all of ``data_dir``: queue, journal and sandbox beside the store."""

from __future__ import annotations

import asyncio
import base64
import json
import quopri
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay import forgetting
from relay.cli import cli
from relay.dispatch import sandbox
from relay.dispatch.envelope import Copy, Target
from relay.dispatch.mail import Said
from relay.dispatch.rows import Settled
from relay.dispatch.sandbox import Sandbox
from relay.dispatch.spool import LARGEST_INLINE, claim
from relay.forgetting import Forgetting, forget, mail_holds, pending, queued
from relay.storage import STORE_FILE
from tests.dispatch.queued import mail, rcpt
from tests.tracker.facts import accepted, hit, opted_out
from tracker.disk import journal
from tracker.errors import StoreError
from tracker.model import Recipient
from tracker.redaction import octets_hold
from tracker.store.base import MessageFilter, SuppressionFilter
from tracker.store.sqlite import SqliteStore

ANN, BOB = "ann.lee@example.net", "bob@example.net"
LONG = b"Dear friend, this is what you asked us for some time ago: " * 3
BODIES = [
    ANN.encode(),
    ANN.upper().encode(),
    base64.encodebytes(LONG + ANN.encode() + LONG).replace(b"\n", b"\r\n"),
    base64.encodebytes(b"x" + LONG + ANN.encode() + LONG).replace(b"\n", b"\r\n"),
    quopri.encodestring(LONG[:70] + ANN.encode() + LONG).replace(b"\n", b"\r\n"),
    b"e=3Dann.lee=40exam=\r\nple.net",
    b"https://x.test/?e=ann.lee%40example.net",
    b"To: =?utf-8?b?" + base64.b64encode(ANN.encode()) + b"?=",
]


def held(folder: Path) -> list[str]:
    """The files that hold the address, in whatever form."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and octets_hold(path.read_bytes(), ANN)]


@pytest.fixture
def store(tmp_path: Path):
    store = SqliteStore(tmp_path / STORE_FILE)
    yield store
    store.close()


@pytest.fixture
async def spool(tmp_path: Path):
    spool = claim(tmp_path, (), fresh=True)
    await spool.open()
    yield spool
    await spool.close()


async def goes_out(spool, sent) -> None:
    """The smarthost takes a mail."""
    done = [
        Settled(each.ordinal, None, Said(250, "2.0.0", f"Ok {each.address}", None, 0.0)) for each in sent.recipients
    ]
    await spool.settle(sent.id, done, release=True)


@pytest.mark.parametrize("body", BODIES)
def test_a_mail_that_names_her_is_known_by_any_encoding(body: bytes) -> None:
    assert mail_holds(b"Subject: x\r\n\r\n" + body + b"\r\n", ANN)
    assert not mail_holds(b"Subject: x\r\n\r\n" + body + b"\r\n", BOB)


@pytest.mark.parametrize(
    "sent",
    [
        mail(ANN.upper()),
        mail(BOB, ANN),
        mail(BOB, reverse_path=ANN),
        mail(BOB, profile='{"subject": "for Ann.Lee@example.net"}'),
        mail(BOB, trace=b"Received: for <ann.lee@example.net>\r\n"),
        *(mail(BOB, content=b"Subject: x\r\n\r\n" + body) for body in BODIES),
        mail(BOB, content=b"x" * LARGEST_INLINE + ANN.encode()),
        mail(ANN, content=b"x" * (LARGEST_INLINE + 1)),
    ],
    ids=range(15),
)
async def test_mail_in_the_queue_goes_first_and_then_she_is_forgotten(tmp_path, spool, store, sent) -> None:
    await spool.accept(mail(BOB), in_hand=False)
    await spool.accept(sent, in_hand=False)
    found = await asyncio.to_thread(forget, tmp_path, store, ANN)
    assert (found.done, found.queued) == (False, 1)
    assert list(pending(tmp_path).values()) == [ANN]
    service = Forgetting(tmp_path, store)
    await asyncio.to_thread(service.round)
    await asyncio.to_thread(service.round)
    assert len(pending(tmp_path)) == 1
    await goes_out(spool, sent)
    await asyncio.to_thread(service.round)
    assert pending(tmp_path) == {}
    assert held(tmp_path) == []
    assert queued(tmp_path, BOB)


async def test_what_the_queue_let_go_of_stands_in_no_free_page(tmp_path, spool, store) -> None:
    for number in range(40):
        sent = mail(ANN, BOB, content=f"To: {ANN}\r\n\r\n{ANN} {number}\r\n".encode() * 300)
        await spool.accept(sent, in_hand=False, facts=[accepted(sent.id, recipients=(Recipient(1, ANN),))])
        await goes_out(spool, sent)
    rest = mail(BOB)
    await spool.accept(rest, in_hand=False)
    assert (await asyncio.to_thread(forget, tmp_path, store, ANN)).done
    assert held(tmp_path) == []
    with closing(sqlite3.connect(spool.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # whoever holds the file goes on with it
    await spool.accept(mail(BOB), in_hand=False)
    assert len(await spool.facts(100)) == 40
    assert str(rest.id) in await spool._ask(lambda db: {id for (id,) in db.execute("SELECT id FROM messages")})


async def test_what_waits_for_the_store_loses_her_and_what_she_said_is_told(tmp_path, spool, store) -> None:
    own = journal.claim(tmp_path, fresh=True)
    assert own is not None
    await own.open()
    message = accepted(recipients=(Recipient(1, ANN), Recipient(2, BOB)), subject=f"For {ANN}")
    await spool.record([message])
    url = "https://x.test/?e=ann.lee%40example.net"
    await own.append([hit(message.id, 1, 1, url=url), opted_out(message.id, address=ANN), hit(message.id, 2)])
    assert held(tmp_path)
    found = await asyncio.to_thread(forget, tmp_path, store, ANN.title())
    assert found.done
    assert held(tmp_path) == []
    assert [entry["address"] for entry in store.suppressions(SuppressionFilter(address=ANN), 10).rows] == [None]
    for source in (spool, own):
        facts = await source.facts(10)
        await asyncio.to_thread(store.apply, [forgetting.codec.decode(octets) for _, octets in facts])
    await own.close()
    row = store.message(str(message.id))
    assert row is not None
    assert (row["subject"], row["recipients"], row["clicks"], row["opens"], row["opt_outs"]) == (
        "For forgotten",
        2,
        1,
        1,
        1,
    )
    assert [each["address"] for each in store.recipients(str(message.id))] == [None, BOB]
    assert held(tmp_path) == []


async def test_the_sandbox_keeps_no_mail_that_names_her(tmp_path, store) -> None:
    box = Sandbox(tmp_path)
    for body in BODIES:
        await box.deliver(Copy("news@example.com", (Target(1, BOB),), b"Subject: x\r\n\r\n" + body))
    await box.deliver(Copy("news@example.com", (Target(1, ANN),), b"Subject: x\r\n\r\nhi\r\n"))
    await box.deliver(Copy("news@example.com", (Target(1, BOB),), b"Subject: x\r\n\r\nhi bob\r\n"))
    assert (await asyncio.to_thread(forget, tmp_path, store, ANN)).done
    left = sorted(path.suffix for path in (tmp_path / sandbox.FOLDER).iterdir())
    assert left == [".eml", ".json"]
    assert held(tmp_path) == []


async def test_while_the_store_is_away_the_note_stays(tmp_path, spool) -> None:
    (tmp_path / STORE_FILE).mkdir()
    store = SqliteStore(tmp_path / STORE_FILE)
    with pytest.raises(StoreError):
        await asyncio.to_thread(forget, tmp_path, store, ANN)
    with pytest.raises(StoreError):
        await asyncio.to_thread(forget, tmp_path, store, ANN.upper())
    assert list(pending(tmp_path).values()) == [ANN]
    assert next(iter(pending(tmp_path))).stat().st_mode & 0o077 == 0
    service = Forgetting(tmp_path, store)
    await asyncio.to_thread(service.round)
    assert len(pending(tmp_path)) == 1
    (tmp_path / STORE_FILE).rmdir()
    await asyncio.to_thread(service.round)
    assert pending(tmp_path) == {}
    assert held(tmp_path) == []
    store.close()


async def test_a_note_that_cannot_be_read_holds_up_no_service(tmp_path, store) -> None:
    (tmp_path / forgetting.FOLDER).mkdir()
    for name, text in (("1.json", "{"), ("2.json", "[]"), ("3.json", json.dumps({"address": ANN}))):
        (tmp_path / forgetting.FOLDER / name).write_text(text)
    await asyncio.to_thread(Forgetting(tmp_path, store).round)
    assert [path.name for path in sorted((tmp_path / forgetting.FOLDER).iterdir())] == ["1.json", "2.json"]


def test_by_command(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("data_dir: data\nrelay: {smarthost: {host: sandbox}}\n")
    store = SqliteStore(tmp_path / "data" / STORE_FILE)
    store.open()
    store.apply([accepted(recipients=(Recipient(1, ANN),)), accepted(recipients=(Recipient(1, BOB),))])

    def run(address: str, code: int) -> str:
        result = CliRunner().invoke(cli, ["forget", address, "-c", str(config)])
        assert result.exit_code == code, result.output
        assert ANN not in result.output.lower()
        return result.output

    assert run(ANN.upper(), 0) == "forgotten; messages that it had got: 1\n"
    assert run(ANN, 0) == "forgotten; messages that it had got: 0\n"
    assert held(tmp_path / "data") == []
    assert "Give a mail address" in run("nobody", 2)
    assert len(store.messages(MessageFilter(recipient=BOB), 10).rows) == 1
    store.close()

    async def wait() -> None:
        spool = claim(tmp_path / "data", (), fresh=True)
        assert spool is not None
        await spool.open()
        await spool.accept(replace(mail(), recipients=(rcpt(ANN),)), in_hand=False)
        await spool.close()

    asyncio.run(wait())
    assert "mails still queued that name it: 1" in run(ANN, 1)
