"""What is wrong is said first, and only where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tracker.reading.troubles import troubles
from tracker.store.base import COLUMNS

NOTHING = dict.fromkeys(COLUMNS, 0)
QUIET = NOTHING | {"targeted": 1000, "delivered": 990, "bounced": 5}


def found(
    day: Mapping[str, int] = QUIET,
    before: Mapping[str, int] = QUIET,
    readiness: Mapping[str, bool] = {"smtp": True},
    **figures: float,
) -> list[tuple[str, bool]]:
    return [(each.title, each.bad) for each in troubles(day, before, readiness, figures)]


def test_all_is_well() -> None:
    assert found() == found(NOTHING, NOTHING, {}) == []
    assert found(queue_messages=3, queue_oldest_seconds=1800, smarthosts_failing=0, journal_facts=0) == []


@pytest.mark.parametrize(
    ("figures", "title"),
    [
        ({"hits_lost_total": 1}, "1 hit lost."),
        ({"journal_facts": 1500}, "1\u202f500 hits wait in the journal."),
        ({"smarthosts_failing": 1, "queue_messages": 12}, "A smarthost fails."),
        ({"webhooks_stopped": 1}, "1 webhook has stopped."),
        ({"webhooks_waiting": 2}, "2 events wait for a webhook."),
        ({"queue_oldest_seconds": 7000, "queue_messages": 1}, "The oldest mail has waited for 116 minutes."),
        ({"queue_oldest_seconds": 90_000}, "The oldest mail has waited for 25 hours."),
        ({"queue_oldest_seconds": 260_000}, "The oldest mail has waited for 3 days."),
    ],
)
def test_the_service_and_its_queue(figures: dict[str, float], title: str) -> None:
    assert [each for each, _ in found(**figures)] == [title]


def test_what_is_not_ready_is_named() -> None:
    assert found(readiness={"smtp": False, "store": True}) == [("The service is not ready.", True)]


@pytest.mark.parametrize(
    ("day", "before", "told"),
    [
        ((100, 4), (1000, 0), False),  # a few are no trouble, whatever their rate
        ((100, 5), (1000, 5), True),
        ((100, 5), (1000, 30), False),  # not more than twice what is usual
        ((100, 7), (1000, 30), True),
        ((1000, 20), (1000, 1), False),  # not over two in a hundred
        ((50, 50), (0, 0), True),
    ],
)
def test_more_bounces_than_usual(day: tuple[int, int], before: tuple[int, int], told: bool) -> None:
    rows = [QUIET | {"targeted": targeted, "bounced": bounced} for targeted, bounced in (day, before)]
    assert (("More bounces than usual.", False) in found(*rows)) is told


def test_the_worst_comes_first() -> None:
    day = QUIET | {"errors": 2, "complaints": 2}
    assert found(day, journal_facts=4, smarthosts_failing=2) == [
        ("A smarthost fails.", True),
        ("2 recipients were given up in the last 24 hours.", True),
        ("2 complaints of spam.", True),
        ("4 hits wait in the journal.", False),
    ]
