"""What the dashboard is shown of the relay: the queue of all spool files, and where its links lead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from relay import beside
from relay.config import load_config
from relay.dispatch.mail import Said
from tests.dispatch.queued import NOW, mail, spool_in
from tests.tracker.tracked import KEYRING
from tracker.errors import SpoolError
from tracker.model import new_id
from tracker.reading.queue_page import rows_of
from tracker.tokens import Click, Open


def test_without_a_spool_there_is_no_queue(tmp_path: Path) -> None:
    assert beside.queue_state(tmp_path, 10, None) is None


async def test_all_files_are_shown_together_the_longest_waiting_first(tmp_path: Path) -> None:
    mails = [mail(at=NOW + number) for number in range(7)]
    async with spool_in(tmp_path) as one, spool_in(tmp_path) as other:
        for number, each in enumerate(mails):
            await (one, other)[number % 2].accept(each, in_hand=number == 0)
        state = beside.queue_state(tmp_path, 3, None)
        assert state is not None
        assert (state.mails, state.oldest_at, len(state.page)) == (7, NOW, 3)
        assert state.octets == sum(each.size for each in beside.queue_state(tmp_path, 9, None).page)  # type: ignore[union-attr]
        seen, after = [], None
        while True:
            found = beside.queue_state(tmp_path, 3, after)
            assert found is not None
            seen += [each.id for each in found.page]
            after = found.next
            if after is None:
                break
        assert seen == [str(each.id) for each in mails]
        assert (state.page[0].next_at, state.page[1].next_at) == (None, NOW + 1)
        for bad in ("", "7", "[1]", '["a", 1.0]', "[1.0, 2.0]"):
            with pytest.raises(ValueError):  # noqa: PT011
                beside.queue_state(tmp_path, 3, bad)


async def test_each_recipient_says_where_it_stands(tmp_path: Path) -> None:
    said = Said(451, "4.2.2", "mailbox full", "mx.test", NOW)
    first = mail(at=NOW)
    people = tuple(replace(each, attempts=3, said=said, next_at=NOW + 60) for each in first.recipients)
    async with spool_in(tmp_path) as spool:
        await spool.accept(replace(first, recipients=people), in_hand=False)
        state = beside.queue_state(tmp_path, 9, None)
    assert state is not None
    (row, *_) = rows_of(state)
    assert (row["tries"], row["reply"], row["state"]) == (3, "451 4.2.2 mailbox full", "waiting")


def test_a_damaged_spool_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "1.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SpoolError):
        beside.queue_state(tmp_path, 9, None)


def test_where_a_click_leads_is_in_the_link_alone() -> None:
    message = new_id(NOW)
    url = f"https://track.test/c/{KEYRING.seal(Click(message, 1, 2, 'https://x.test/?a=1'))}"
    assert beside.target(KEYRING, url) == "https://x.test/?a=1"
    for other in (url[:-1], f"https://track.test/o/{KEYRING.seal(Open(message, 1))}", "https://x.test/", "", "/c/"):
        assert beside.target(KEYRING, other) is None


def test_the_sandbox_is_there_where_some_mail_goes_to_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for relay, senders, there in (
        ("sandbox", "", True),
        ("smtp.test", "", False),
        ("smtp.test", "senders: [{match: '*', smarthost: {host: sandbox}}]", True),
    ):
        file.write_text(f"relay: {{smarthost: {{host: {relay}}}}}\n{senders}\n")
        config = load_config(file, {})
        found = beside.beside(config, KEYRING, lambda config=config: config)
        assert (found.inbox is not None) == there
        assert found.configuration is not None
        assert found.configuration().version
