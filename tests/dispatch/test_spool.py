"""The durable queue: what was accepted is there again after whatever happens to the process or the disk."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from relay.dispatch.mail import Said, State
from relay.dispatch.rows import Settled
from relay.dispatch.spool import LARGEST_INLINE, claim, contents_of
from tests.dispatch.queued import NOW, mail, mails_in, rcpt, spool_in
from tests.tracker.facts import accepted, outcome
from tracker import facts
from tracker.disk import commits
from tracker.disk.held import files_of, lock_of, locked
from tracker.errors import SpoolError

LARGE = b"x" * (LARGEST_INLINE + 1)
REPLY = Said(451, "4.2.2", "full", "mx.test", NOW)


async def leased(spool, now=NOW, routes=("",), limit=10):
    return await spool.lease(routes, now, limit)


def fail(monkeypatch, statement: str | None, after: bool = False) -> None:
    """From now on SQLite fails at a statement: before it is done, or after; None: it is well again."""
    real = sqlite3.Connection

    class Failing(real):
        prepared = False  # the tables are made; from here on it is our own work

        def execute(self, sql, *values):
            fails = self.prepared and statement is not None and sql.startswith(statement)
            if fails and not after:
                raise sqlite3.OperationalError("disk I/O error")
            found = super().execute(sql, *values)
            if fails:
                raise sqlite3.OperationalError("disk I/O error")
            self.prepared = self.prepared or sql == "COMMIT"
            return found

    def connect(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing)
        db.execute("PRAGMA journal_mode = WAL")
        return db

    monkeypatch.setattr(commits, "connect", connect)


async def failing(spool, monkeypatch, statement: str | None, after: bool = False) -> None:
    fail(monkeypatch, statement, after)
    spool._commits._drop()


async def test_a_mail_comes_back_as_it_went_in(tmp_path):
    people = (rcpt("ann@example.net", 1, NOTIFY="NEVER"), rcpt("bøb@example.net", 2, ORCPT="rfc822;b@x"))
    sent = mail(*people, options={"RET": "HDRS", "SMTPUTF8": None}, route="fast", content=b"\0\xff\r\n", recorded=True)
    async with spool_in(tmp_path, ["fast"]) as spool:
        await spool.accept(sent, in_hand=False)
    async with spool_in(tmp_path, ["fast"]) as spool:
        assert await leased(spool, routes=["fast"]) == [sent]
        assert await leased(spool, routes=["fast"]) == []


@pytest.mark.parametrize("content", [b"x\r\n", LARGE])
async def test_what_was_in_hand_is_due_again_after_a_crash(tmp_path, content):
    sent = mail(content=content)
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True)
        assert await leased(spool) == []
    async with spool_in(tmp_path) as spool:
        assert await leased(spool) == [sent]
    async with spool_in(tmp_path) as spool:
        assert await leased(spool) == [sent]


def test_a_process_that_is_killed_loses_nothing_that_it_told_of(tmp_path):
    script = f"""
import asyncio, sys
from tests.dispatch.queued import mail
from relay.dispatch.spool import claim
from pathlib import Path
async def main():
    spool = claim(Path({str(tmp_path)!r}), (), fresh=True)
    await spool.open()
    async def accept(number):
        while True:
            sent = mail(content=b"x" * (300_000 if number == 0 else 100))
            await spool.accept(sent, in_hand=bool(number % 2))
            print(sent.id, flush=True)
    await asyncio.gather(*(accept(number) for number in range(20)))
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(300)]
    process.kill()
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    ids = {line.decode().strip() for line in told if line.endswith(b"\n")}

    async def look() -> None:
        async with spool_in(tmp_path) as spool:
            found = {str(each.id): each for each in await leased(spool, limit=1_000_000)}
            assert len(ids) >= 300
            assert ids <= set(found)
            large = {id for id, each in found.items() if len(each.content) > 100}
            assert {path.name for path in contents_of(spool.path).iterdir()} == large

    asyncio.run(look())


async def test_each_outcome_is_kept_and_the_last_one_takes_the_mail_away(tmp_path):
    sent = mail("a@x.test", "b@x.test", "c@x.test")
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True)
        await spool.settle(sent.id, [Settled(1, None, REPLY), Settled(2, State.WAITING, REPLY, 1, NOW + 60)])
        await spool.settle(sent.id, [Settled(3, State.FAILED, REPLY, 1, NOW)])
        await spool.release(sent.id)
        (again,) = await leased(spool)
        assert [(each.ordinal, each.state, each.attempts, each.next_at, each.said) for each in again.recipients] == [
            (2, State.WAITING, 1, NOW + 60, REPLY),
            (3, State.FAILED, 1, NOW, REPLY),
        ]
        await spool.release(sent.id, told=[3])
        assert await mails_in(spool) == [(str(sent.id), NOW + 60)]
        assert await leased(spool, NOW + 59) == []
        assert len(await leased(spool, NOW + 60)) == 1
        await spool.settle(sent.id, [Settled(2, None, REPLY)], release=True)
        assert await mails_in(spool) == []
        assert spool.octets == 0
        assert await spool.empty()


async def test_a_notice_is_kept_with_the_word_that_its_sender_was_told(tmp_path):
    sent, notice = mail("a@x.test", "b@x.test"), mail("news@example.com", reverse_path="", profile="", recorded=True)
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True)
        await spool.settle(sent.id, [Settled(1, State.FAILED, REPLY)])
        await spool.release(sent.id, told=[1], warned=[2], notice=notice)
        # a second time, as after a commit that came through though it was said to have failed
        await spool.release(sent.id, told=[1], warned=[2], notice=replace(notice, id=mail().id))
        assert [id for id, _ in await mails_in(spool)] == [str(sent.id), str(notice.id)]
        found = {each.id: each for each in await leased(spool)}
        assert [each.warned for each in found[sent.id].recipients] == [True]


async def test_facts_are_told_in_order_and_kept_until_taken(tmp_path):
    sent = mail()
    first, second = accepted(sent.id), outcome(sent.id)
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True, facts=[first])
        await spool.settle(sent.id, [Settled(1, None, REPLY)], [second], release=True)
    async with spool_in(tmp_path) as spool:
        told = await spool.facts(10)
        assert [facts.decode(octets) for _, octets in told] == [first, second]
        assert not await spool.empty()
        await spool.forget_facts(told[0][0])
        assert [facts.decode(octets) for _, octets in await spool.facts(10)] == [second]
        await spool.forget_facts(told[1][0])
        assert await spool.empty()


async def test_only_what_is_due_and_goes_by_these_routes_is_taken_the_longest_due_first(tmp_path):
    mails = [mail(at=NOW + number, route=route) for number, route in enumerate(["", "b", "", "c", "b"])]
    async with spool_in(tmp_path, ["b", "c"]) as spool:
        for each in reversed(mails):
            await spool.accept(each, in_hand=False)
        assert await leased(spool, NOW - 1, ["", "b", "c"]) == []
        assert [each.id for each in await leased(spool, NOW + 9, ["b"])] == [mails[1].id, mails[4].id]
        assert [each.id for each in await leased(spool, NOW + 9, ["", "c"], 2)] == [mails[0].id, mails[2].id]


async def test_of_a_host_that_is_away_only_what_can_be_done_without_it_is_taken(tmp_path):
    known, older, unknown, other = (mail(recorded=True), mail(at=NOW - 99, recorded=True), mail(), mail(route="b"))
    async with spool_in(tmp_path, ["b"]) as spool:
        for each in (known, older, unknown, other):
            await spool.accept(each, in_hand=False)
        found = await spool.lease_idle([""], NOW, NOW - 50, 10)
        assert [each.id for each in found] == [older.id, unknown.id]
        for each in found:
            await spool.put_off(each.id, NOW + 300)
        assert await spool.lease_idle([""], NOW + 299, NOW - 50, 10) == []
        assert len(await spool.lease_idle([""], NOW + 300, NOW - 50, 10)) == 2


async def test_a_route_that_is_gone_is_the_usual_way(tmp_path):
    sent = mail(route="gone")
    async with spool_in(tmp_path, ["gone", "stays"]) as spool:
        for each in (sent, mail(route="stays")):
            await spool.accept(each, in_hand=False)
    async with spool_in(tmp_path, ["stays"]) as spool:
        (found,) = await leased(spool)
        assert (found.id, found.route) == (sent.id, "")


async def test_a_route_that_goes_while_a_mail_arrives_is_the_usual_way(tmp_path):
    async with spool_in(tmp_path, ["gone"]) as spool:
        arriving = asyncio.create_task(spool.accept(mail(route="gone", content=LARGE), in_hand=False))
        await asyncio.sleep(0)
        await spool.reroute([])
        await arriving
        assert [each.route for each in await leased(spool)] == [""]
        await spool.reroute(["new"])
        await spool.accept(mail(route="new"), in_hand=False)
        assert [each.route for each in await leased(spool, routes=["new"])] == ["new"]


async def test_its_weight_is_known_at_any_time(tmp_path):
    weights: list[int] = []
    sent, large = mail("a@x.test"), mail("b@x.test", content=LARGE)
    notice = mail("news@example.com", reverse_path="", content=b"n" * 5000)
    size = len(sent.trace) + len(sent.content)
    async with spool_in(tmp_path, weigh=weights.append) as spool:
        await spool.accept(sent, in_hand=True)
        assert spool.octets == sum(weights) == size
        await spool.accept(large, in_hand=True)
        assert spool.octets == size + len(large.trace) + len(large.content)
        await spool.settle(large.id, [Settled(1, None, REPLY)], release=True)
        await spool.settle(sent.id, [Settled(1, State.FAILED, REPLY)])
        await spool.release(sent.id, told=[1], notice=notice)
        assert spool.octets == sum(weights) == len(notice.trace) + 5000
    weights.clear()
    async with spool_in(tmp_path, weigh=weights.append) as spool:
        assert spool.octets == sum(weights) == len(notice.trace) + 5000


# -- large contents --------------------------------------------------------------------------------------------------


async def test_a_large_content_lies_in_a_file_while_its_mail_is_here(tmp_path):
    small, large = mail(content=LARGE[1:]), mail(content=LARGE)
    async with spool_in(tmp_path) as spool:
        folder = contents_of(spool.path)
        await spool.accept(small, in_hand=True)
        assert not folder.exists()
        await spool.accept(large, in_hand=True)
        assert [path.name for path in folder.iterdir()] == [str(large.id)]
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / str(large.id)).stat().st_mode & 0o077 == 0
        await spool.settle(large.id, [Settled(1, None, REPLY)], release=True)
        assert list(folder.iterdir()) == []


async def test_orphans_go_when_the_file_is_opened(tmp_path):
    sent = mail(content=LARGE)
    async with spool_in(tmp_path) as spool:
        await spool.accept(sent, in_hand=True)
        (contents_of(spool.path) / str(mail().id)).write_bytes(b"its mail was never taken")
    async with spool_in(tmp_path) as spool:
        assert [path.name for path in contents_of(spool.path).iterdir()] == [str(sent.id)]
        assert await leased(spool) == [sent]


async def test_a_content_that_cannot_be_read_holds_up_no_other_mail(tmp_path):
    bad, *good = (mail(content=LARGE) for _ in range(4))
    async with spool_in(tmp_path) as spool:
        for each in (bad, *good):
            await spool.accept(each, in_hand=False)
        path = contents_of(spool.path) / str(bad.id)
        path.rename(path.with_name("elsewhere"))
        assert await leased(spool) == good
        assert await leased(spool, NOW + 200) == []
        path.with_name("elsewhere").rename(path)
        assert await leased(spool, NOW + 400) == [bad]


async def test_nor_does_it_where_the_disk_fails_just_then(tmp_path, monkeypatch):
    bad, good = mail(content=LARGE), mail(content=b"x\r\n")
    async with spool_in(tmp_path) as spool:
        for each in (bad, good):
            await spool.accept(each, in_hand=False)
        path = contents_of(spool.path) / str(bad.id)
        path.rename(path.with_name("elsewhere"))
        read = spool._contents.read

        def read_and_break(id: UUID) -> bytes:
            fail(monkeypatch, "BEGIN")
            spool._commits._db.close()
            return read(id)

        monkeypatch.setattr(spool._contents, "read", read_and_break)
        assert await leased(spool) == [good]
        monkeypatch.undo()
        path.with_name("elsewhere").rename(path)
        await spool.tend()
        assert await leased(spool) == [bad]


# -- a disk that fails -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x\r\n", LARGE])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
async def test_a_mail_that_the_disk_did_not_take_is_not_there_and_the_next_one_is(
    tmp_path, monkeypatch, statement, content
):
    async with spool_in(tmp_path) as spool:
        await failing(spool, monkeypatch, statement)
        with pytest.raises(SpoolError):
            await spool.accept(mail(content=content), in_hand=False)
        assert spool.octets == 0
        await failing(spool, monkeypatch, None)
        await spool.tend()
        assert not contents_of(spool.path).exists() or not list(contents_of(spool.path).iterdir())
        sent = mail(content=content)
        await spool.accept(sent, in_hand=False)
        assert await leased(spool) == [sent]


@pytest.mark.parametrize("in_hand", [True, False])
async def test_a_mail_that_was_refused_does_not_go_out_though_the_disk_took_it(tmp_path, monkeypatch, in_hand):
    async with spool_in(tmp_path) as spool:
        kept = mail()
        await spool.accept(kept, in_hand=True)
        await failing(spool, monkeypatch, "COMMIT", after=True)
        with pytest.raises(SpoolError):
            await spool.accept(mail(content=LARGE), in_hand=in_hand)
        await failing(spool, monkeypatch, None)
        assert len(await mails_in(spool)) == 2
        await spool.tend()
        assert await mails_in(spool) == [(str(kept.id), None)]
        assert spool.octets == len(kept.trace) + len(kept.content)
        assert list(contents_of(spool.path).iterdir()) == []


async def test_a_mail_that_was_taken_in_hand_by_nobody_is_due_again(tmp_path, monkeypatch):
    held, lost = mail(), mail()
    async with spool_in(tmp_path) as spool:
        await spool.accept(held, in_hand=True)
        await spool.accept(lost, in_hand=False)
        await failing(spool, monkeypatch, "COMMIT", after=True)
        with pytest.raises(SpoolError):
            await leased(spool)
        await failing(spool, monkeypatch, None)
        assert await leased(spool) == []
        await spool.tend()
        assert await leased(spool) == [lost]


async def test_a_content_that_arrives_meanwhile_is_no_orphan(tmp_path, monkeypatch):
    async with spool_in(tmp_path) as spool:
        spool._doubt = True
        keep, sent = spool._contents.keep, mail(content=LARGE)
        tending: list[asyncio.Task] = []

        def keep_and_tend(id: UUID, content: bytes) -> None:
            keep(id, content)
            tending.append(asyncio.run_coroutine_threadsafe(spool.tend(), loop))
            tending[0].result(5)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(spool._contents, "keep", keep_and_tend)
        await spool.accept(sent, in_hand=False)
        assert await leased(spool) == [sent]


def test_a_full_disk_is_a_spool_error_and_passes_without_a_restart(tmp_path):
    """In a process of its own, whose files may grow to a few megabytes only."""
    script = f"""
import asyncio, resource, signal
from pathlib import Path
from tests.dispatch.queued import mail, mails_in
from relay.dispatch.spool import claim, contents_of
from tracker.errors import SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(octets):
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))
async def main():
    spool = claim(Path({str(tmp_path)!r}), (), fresh=True)
    await spool.open()
    limit(4_000_000)
    taken, refused = [], 0
    for number in range(100):
        each = mail(content=b"x" * 200_000 if number % 10 else b"x" * 8_000_000)
        try:
            await spool.accept(each, in_hand=False)
            taken.append(str(each.id))
        except SpoolError:
            refused += 1
    assert refused > 20 and taken, (refused, len(taken))
    limit(resource.RLIM_INFINITY)
    each = mail()
    await spool.accept(each, in_hand=False)
    await spool.tend()
    taken.append(str(each.id))
    assert [id for id, _ in await mails_in(spool)] == taken
    assert not list(contents_of(spool.path).iterdir())
    await spool.close()
asyncio.run(main())
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2], timeout=60)


# -- the folder ------------------------------------------------------------------------------------------------------


async def test_a_file_is_held_by_one_and_adopted_once_its_holder_is_gone(tmp_path):
    async with spool_in(tmp_path) as first:
        await first.accept(mail(), in_hand=True)
        assert claim(tmp_path, (), fresh=False) is None
        async with spool_in(tmp_path) as second:
            assert second.path != first.path
    async with spool_in(tmp_path) as one, spool_in(tmp_path) as other:
        assert {one.path, other.path} == {first.path, second.path}
        assert len(await leased(one)) + len(await leased(other)) == 1


async def test_a_file_carried_here_from_elsewhere_is_adopted(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    sent = [mail(), mail(content=LARGE)]
    async with spool_in(there) as spool:
        for each in sent:
            await spool.accept(each, in_hand=True)
    (here / "spool").mkdir(parents=True)
    for path in (there / "spool").iterdir():
        if path.suffix != ".lock":
            path.rename(here / "spool" / path.name)
    async with spool_in(here) as spool:
        assert await leased(spool) == sent


async def test_an_empty_file_is_removed_whole(tmp_path):
    async with spool_in(tmp_path) as spool:
        sent = mail(content=LARGE)
        await spool.accept(sent, in_hand=True)
        await spool.settle(sent.id, [Settled(1, None, REPLY)], release=True)
        await spool.remove()
        assert list((tmp_path / "spool").iterdir()) == []
        with pytest.raises(SpoolError):
            await spool.empty()


def test_a_lock_whose_name_was_removed_is_none(tmp_path, monkeypatch):
    path = tmp_path / "x.db"
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        lock_of(path).unlink()
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    assert locked(path) is None
    monkeypatch.undo()
    lock = locked(path)
    assert lock is not None
    assert locked(path) is None
    lock.close()


def test_a_folder_that_cannot_be_made_is_a_spool_error(tmp_path):
    (tmp_path / "spool").write_text("a file stands here")
    with pytest.raises(SpoolError):
        claim(tmp_path, (), fresh=True)


async def test_it_is_nobody_elses_to_read(tmp_path):
    async with spool_in(tmp_path) as spool:
        await spool.accept(mail(), in_hand=True)
        assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
        assert any(path.exists() for path in files_of(spool.path))


async def test_what_another_program_wrote_is_noticed_once(tmp_path):
    async with spool_in(tmp_path) as spool:
        sent = mail()
        await spool.accept(sent, in_hand=False)
        assert not await spool.tend()
        assert not await spool.tend()
        db = commits.connect(spool.path)
        db.execute("DELETE FROM messages")
        db.close()
        assert await spool.tend()
        assert spool.octets == 0
        assert not await spool.tend()
