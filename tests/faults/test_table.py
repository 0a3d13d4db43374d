"""Each fault of a smarthost at each stage has the outcome that the documents promise."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.faults.document import DOCUMENT, written
from tests.faults.episode import FIRST, GIVE_UP_AFTER, LONGEST, TIMEOUT, Episode, run
from tests.faults.table import Case, cases

SLACK = 10.0
"""Seconds that a busy machine may add to anything."""
POLL = 1.0
"""Seconds between two looks of the service into its queue."""


@pytest.fixture(scope="module")
def queue(tmp_path_factory) -> dict[str, Episode]:
    return asyncio.run(run(tmp_path_factory.mktemp("queue"), "queue"))


@pytest.mark.parametrize("case", cases("queue"), ids=lambda case: case.name)
def test_queue(queue, case):
    episode = queue[case.name]
    assert [heard.verdict[:24] for heard in episode.heard] == ["250 2.0.0 Ok: queued as "]
    assert episode.row is not None
    if case.outcome == "passes":
        assert_passes(episode)
    elif case.outcome == "bounces":
        assert_bounces(episode)
    elif case.lasting:
        assert_waiting(episode)
        assert_tries(episode)
        assert_given_up(episode)
    else:
        assert_second_try(episode)


def assert_passes(episode: Episode) -> None:
    assert len(episode.host.received) - (episode.case.stage == "next") == len(episode.arrived) == 1
    assert not episode.notices
    assert counts(episode.row) == {"sent": 1, "delivered": 1}


def assert_bounces(episode: Episode) -> None:
    assert not episode.arrived
    assert len(episode.tries) == 1
    assert counts(episode.row) == {"bounced": 1}
    (notice,) = episode.notices
    assert notice.said == ("failed", "5.7.1", "smtp; 554 5.7.1 refused by policy")
    assert notice.recipients[0]["Remote-MTA"] == "dns; [127.0.0.1]"
    assert notice.to == b"<news@%s>" % episode.domain.encode()


def assert_waiting(episode: Episode) -> None:
    """Meanwhile, everybody who asks hears of it."""
    assert counts(episode.meanwhile) == {"pending": 1}
    assert episode.queued is not None
    assert episode.queued["id"] == episode.heard[0].queue_id
    (recipient,) = episode.queued["recipients"]
    assert (recipient["address"], recipient["state"]) == ("ann@example.net", "waiting")
    assert recipient["last_reply"].startswith(episode.case.said)
    waits = episode.case.outcome == "waits"
    assert (episode.left_alone is not None) == waits
    assert episode.case.said in (episode.left_alone or episode.case.said)
    assert (recipient["attempts"] == 0) == waits  # a host's trouble is not counted against the mail


def assert_tries(episode: Episode) -> None:
    """The smarthost sees the mail again after a pause that grows."""
    case, tries = episode.case, episode.tries
    if case.stage == "connect":
        return  # who is refused a connection is not seen
    patience = TIMEOUT * (10 if (case.stage, case.fault) == ("after", "hang") else 1 if slow(case) else 0)
    assert tries[0] < POLL + SLACK
    assert len(tries) >= (2 if patience > TIMEOUT else 3)
    for number, (earlier, later) in enumerate(itertools.pairwise(tries)):
        if case.outcome == "waits":
            shortest, longest = 0.75 * 2**number, 1.0 * 2**number
        else:
            pause = min(LONGEST, FIRST * 2**number)
            shortest, longest = 0.8 * pause, 1.2 * pause
        if number == len(tries) - 2 and case.outcome != "waits":
            shortest = 0.0  # the last try comes when the time is over, however soon after the one before
        assert shortest + patience * 0.9 <= later - earlier <= longest + patience + POLL + SLACK
    assert tries[-1] < GIVE_UP_AFTER + SLACK


def assert_given_up(episode: Episode) -> None:
    assert not episode.arrived
    assert counts(episode.row) == {"errors": 1}
    (notice,) = episode.notices
    action, status, diagnostic = notice.said
    assert (action, status) == ("failed", "4.4.7")
    assert diagnostic.startswith(f"smtp; 451 4.4.7 Given up after waiting too long: {episode.case.said}")
    assert_the_same(episode)


def assert_second_try(episode: Episode) -> None:
    """The fault held once: the mail is there once the service has tried again, and nobody was bothered."""
    assert len(episode.arrived) == 1
    assert not episode.notices
    assert counts(episode.row) == {"sent": 1, "delivered": 1}
    assert len(episode.tries) == (episode.case.stage != "connect")
    assert_the_same(episode)


def assert_the_same(episode: Episode) -> None:
    """What was sent again is what was sent before, its links too; it was sent whole only where nothing was heard
    after it, or the answer was a refusal."""
    copies = [message.content for message in episode.host.received if not message.mail.startswith(b"<>")]
    copies = copies[episode.case.stage == "next" :]
    assert len(set(copies)) <= 1
    assert (len(copies) > len(episode.arrived)) == (episode.case.stage == "after")


def slow(case: Case) -> bool:
    """It takes a timeout to notice."""
    return case.fault in ("hang", "trickle")


def counts(row: dict) -> dict[str, int]:
    """Where the one recipient of a mail stands."""
    assert row["recipients"] == 1
    names = ("sent", "delivered", "bounced", "errors", "pending", "suppressed")
    return {name: row[name] for name in names if row[name]}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> dict[str, Episode]:
    return asyncio.run(run(tmp_path_factory.mktemp("proxy"), "proxy"))


@pytest.mark.parametrize("case", cases("proxy"), ids=lambda case: case.name)
def test_proxy(proxy, case):
    """The client hears what the smarthost said; one that is to try again does so, and then the mail is there."""
    episode = proxy[case.name]
    assert not episode.notices
    first = episode.heard[0]
    assert first.closed == (case.outcome == "leaves")
    if case.outcome == "passes":
        assert first.verdict == "250 2.0.0 Ok: taken"
        assert_passes(episode)
        return
    assert len(first.replies) == replies_until(case)
    assert first.verdict.startswith(case.said)
    if case.outcome in ("refused", "failed"):
        assert len(episode.heard) == 1
        assert not episode.arrived
        assert (episode.row is not None) == (case.outcome == "failed")
        assert episode.row is None or counts(episode.row) == {"bounced": 1}
    else:
        assert [heard.verdict for heard in episode.heard[1:]] == ["250 2.0.0 Ok: taken"]
        assert len(episode.arrived) == 1
        assert counts(episode.row) == {"sent": 1, "delivered": 1}
        assert (len(episode.host.received) - (case.stage == "next") > 1) == (case.stage == "after")


def replies_until(case: Case) -> int:
    """How many replies the client gets, that to MAIL being the first: what a stage has to say, it says there."""
    return {"rcpt": 2, "data": 4, "body": 4, "after": 4}.get(case.stage, 1)


def test_the_document_prints_this_table():
    assert written(DOCUMENT.read_text()) == DOCUMENT.read_text()
