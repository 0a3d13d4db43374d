"""The queue as its operator sees it, with and without a worker that holds its files."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry, generate_latest

from relay import queueing
from relay.cli import cli
from relay.dispatch.mail import Said, State
from relay.dispatch.rows import Settled
from relay.dispatch.spool import LARGEST_INLINE, contents_of
from tests.dispatch.queued import NOW, Host, delivering, emptied, lane, mail, mails_in, soon, spool_in
from tracker import facts
from tracker.errors import SpoolError
from tracker.model import Outcome, Status

LARGE = b"Subject: large\r\n\r\n" + b"x" * LARGEST_INLINE
REPLY = Said(451, "4.2.2", "mailbox full", "mx.test", NOW)


def tracepost(folder: Path, *arguments: str) -> Result:
    """Run ``tracepost queue``; whatever goes wrong is said in a sentence."""
    file = folder / "config.yaml"
    file.write_text(f"data_dir: {folder}\nrelay:\n  smarthost: {{host: sandbox}}\n")
    answer = CliRunner().invoke(cli, ["queue", *arguments, "-c", str(file)])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer


def figures(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(queueing.SpoolCollector(folder))
    return {name: float(value) for name, value in re.findall(r"(?m)^(\w+) (\S+)$", generate_latest(registry).decode())}


@pytest.fixture
async def spool(tmp_path):
    async with spool_in(tmp_path) as spool:
        yield spool


async def test_all_files_are_shown_together_the_longest_waiting_first(tmp_path):
    mails = [mail(at=NOW + number, content=LARGE if number == 2 else b"x\r\n") for number in range(5)]
    async with spool_in(tmp_path) as one, spool_in(tmp_path) as other:
        for number in (4, 0, 2):
            await one.accept(mails[number], in_hand=number == 0)
        for number in (3, 1):
            await other.accept(mails[number], in_hand=False)
        found = queueing.queued(tmp_path)
        assert [each.mail.id for each in found] == [each.id for each in mails]
        assert [each.next_at for each in found] == [None, *(NOW + number for number in range(1, 5))]
        assert [each.mail.id for each in queueing.queued(tmp_path, limit=2)] == [each.id for each in mails[:2]]
        assert found[2].size == len(LARGE) + len(mails[2].trace)
        assert found[2].mail.content == b""


async def test_one_is_shown_with_its_content_wherever_that_lies(tmp_path, spool):
    for content in (b"x\r\n", LARGE):
        sent = mail(content=content)
        await spool.accept(sent, in_hand=True)
        found = queueing.one(tmp_path, str(sent.id))
        assert found is not None
        assert (found[0].mail.id, found[1]) == (sent.id, content)
    assert queueing.one(tmp_path, str(mail().id)) is None


async def test_the_files_of_a_service_that_has_ended_are_shown_too(tmp_path):
    sent = mail()
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=False)
    assert [each.mail.id for each in queueing.queued(tmp_path)] == [sent.id]
    assert queueing.retry(tmp_path, []) == 1
    assert queueing.remove(tmp_path, [str(sent.id)]) == ([str(sent.id)], [])


def test_where_there_is_no_spool_there_is_no_mail(tmp_path):
    assert queueing.queued(tmp_path) == []
    assert queueing.hosts(tmp_path) == []
    assert queueing.retry(tmp_path, []) == 0
    assert figures(tmp_path)["queue_messages"] == 0


async def test_a_file_that_was_just_removed_is_passed_over(tmp_path, monkeypatch):
    sent = mail()
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=False)
        there = queueing.files(tmp_path)
        monkeypatch.setattr(queueing, "files", lambda data_dir: [tmp_path / "spool" / "gone.db", *there])
        assert [each.mail.id for each in queueing.queued(tmp_path)] == [sent.id]
        assert queueing.one(tmp_path, str(sent.id)) is not None


def test_a_file_that_cannot_be_read_is_a_spool_error_and_no_obstacle_to_the_figures(tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "x.db").write_bytes(b"junk" * 1000)
    for ask in (queueing.queued, queueing.hosts, lambda folder: queueing.retry(folder, [])):
        with pytest.raises(SpoolError):
            ask(tmp_path)
    assert figures(tmp_path)["queue_messages"] == 0


# -- beside a running service ----------------------------------------------------------------------------------------


async def test_retry_makes_a_mail_due_at_once_whatever_its_host_ails(tmp_path, spool):
    host = Host(lambda address: (451, "4.2.2") if waits else (250, "2.0.0"))
    waits = True
    way = lane(host, clock=time.time)
    async with delivering(spool, way, clock=time.time):
        first, second = mail("a@x.test", at=time.time()), mail("b@x.test", at=time.time())
        for each in (first, second):
            await spool.accept(each, in_hand=False)
        await soon(lambda: all(each.mail.recipients[0].attempts and each.next_at for each in queueing.queued(tmp_path)))
        found = queueing.queued(tmp_path)
        assert all(each.next_at > time.time() + 40 for each in found)
        waits = False
        way.closed_until = time.time() + 1000
        assert queueing.retry(tmp_path, [str(second.id)]) == 1
        await soon(lambda: len(queueing.queued(tmp_path)) == 1)
        assert host.people == ["b@x.test"]
        assert queueing.retry(tmp_path, []) == 1
        await emptied(spool)
    assert host.people == ["b@x.test", "a@x.test"]


async def test_retry_leaves_what_is_in_hand(tmp_path, spool):
    held, waiting = mail(), mail()
    await spool.accept(held, in_hand=True)
    await spool.accept(waiting, in_hand=False)
    assert queueing.retry(tmp_path, [str(held.id), str(waiting.id), str(mail().id)]) == 1
    assert (await mails_in(spool))[0] == (str(held.id), None)


async def test_removed_is_gone_without_a_word_to_the_sender_and_the_store_is_told(tmp_path, spool):
    sent, stays = mail("a@x.test", "b@x.test", "c@x.test", content=LARGE), mail()
    for each in (sent, stays):
        await spool.accept(each, in_hand=True)
    await spool.settle(sent.id, [Settled(1, None, REPLY), Settled(2, State.FAILED, REPLY)])
    await spool.release(sent.id)
    await spool.tend()
    assert queueing.remove(tmp_path, [str(sent.id), str(stays.id), str(mail().id)]) == (
        [str(sent.id)],
        [str(stays.id)],
    )
    assert [id for id, _ in await mails_in(spool)] == [str(stays.id)]
    assert list(contents_of(spool.path).iterdir()) == []
    told = [facts.decode(octets) for _, octets in await spool.facts(10)]
    assert [(each.recipient, each.status) for each in told if isinstance(each, Outcome)] == [(3, Status.ERROR)]
    assert await spool.tend()
    assert spool.octets == len(stays.trace) + len(stays.content)


async def test_what_was_in_hand_when_its_worker_died_can_be_removed(tmp_path):
    sent = mail()
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True)
    assert queueing.remove(tmp_path, [str(sent.id)]) == ([str(sent.id)], [])
    async with spool_in(tmp_path) as again:
        assert again.path == spool.path
        assert await mails_in(again) == []


# -- as a person reads it, and a machine -----------------------------------------------------------------------------


async def test_the_figures_are_those_of_all_files(tmp_path):
    async with spool_in(tmp_path) as one, spool_in(tmp_path) as other:
        sent = [mail("a@x.test", "b@x.test"), mail("c@x.test")]
        await one.accept(sent[0], in_hand=False)
        await other.accept(sent[1], in_hand=True)
        await one.record([Outcome(sent[0].id, 1, Status.PENDING, NOW, "later")] * 3)
        await one.forget_facts(1)
        await other.set_host("", NOW, NOW + 60, "421 4.3.2 down")
        found = figures(tmp_path)
    assert found.pop("queue_oldest_seconds") != 0
    assert found == {
        "queue_messages": 2,
        "queue_recipients": 3,
        "queue_octets": sum(len(each.trace) + len(each.content) for each in sent),
        "queue_facts": 2,
        "notifications_dropped_total": 0,
        "smarthosts_failing": 1,
    }


async def test_the_command_lists_shows_retries_and_removes(tmp_path, spool):
    sent = mail("ann@x.test", "bob@x.test", content=LARGE)
    await spool.accept(sent, in_hand=True)
    await spool.settle(sent.id, [Settled(1, State.WAITING, REPLY, 1, NOW + 60)])
    await spool.release(sent.id)
    await spool.set_host("", NOW, NOW + 60, "421 4.3.2 going down")

    listed = tracepost(tmp_path, "list").stdout
    for words in (str(sent.id), "news@example.com", "ann@x.test: 451 4.2.2 mailbox full", "bob@x.test: not tried yet"):
        assert words in listed
    assert "421 4.3.2 going down" in listed
    (found,) = json.loads(tracepost(tmp_path, "list", "--json").stdout)
    assert (found["id"], found["size"]) == (str(sent.id), len(LARGE) + len(sent.trace))
    assert [(each["address"], each["attempts"], each["last_reply"]) for each in found["recipients"]] == [
        ("ann@x.test", 1, "451 4.2.2 mailbox full"),
        ("bob@x.test", 0, None),
    ]

    shown = tracepost(tmp_path, "show", str(sent.id).upper()).stdout
    assert "ann@x.test: 451 4.2.2 mailbox full (1 tries" in shown
    assert tracepost(tmp_path, "show", "--content", str(sent.id)).stdout_bytes == LARGE
    assert tracepost(tmp_path, "retry", str(sent.id)).stdout == "1 mail is tried again\n"
    assert tracepost(tmp_path, "remove", str(sent.id)).stdout == f"{sent.id}: removed\n"
    assert "The queue is empty." in tracepost(tmp_path, "list").stdout


def test_what_is_not_there_is_1_and_what_is_no_id_is_2(tmp_path):
    other = str(mail().id)
    for arguments, code in [
        (["show", other], 1),
        (["retry", other], 1),
        (["remove", other], 1),
        (["show", "x"], 2),
        (["retry", "../x"], 2),
        (["remove", "x"], 2),
        (["remove"], 2),
        (["list"], 0),
        (["retry"], 0),
    ]:
        answer = tracepost(tmp_path, *arguments)
        assert answer.exit_code == code, (arguments, answer)


def test_a_damaged_file_is_one_plain_sentence(tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "x.db").write_bytes(b"junk" * 1000)
    answer = tracepost(tmp_path, "list")
    assert answer.exit_code == 1
    assert "x.db: file is not a database" in answer.output
