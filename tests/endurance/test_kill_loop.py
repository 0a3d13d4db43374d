"""Ended without warning, amid mail, and started anew: nothing that was acknowledged is lost."""

from __future__ import annotations

import pytest

from tests.endurance.kill_loop import Case, kill_loop

WAYS = [(victim, workers) for victim in ("worker", "supervisor", "all") for workers in (1, 2)]


@pytest.mark.parametrize(
    ("victim", "workers", "rounds"),
    [("worker", 1, 3), ("worker", 2, 4), ("tracker", 1, 1), ("supervisor", 2, 1), ("all", 1, 1), ("all", 2, 1)],
)
async def test_nothing_acknowledged_is_lost(victim, workers, rounds, tmp_path):
    case = await kill_loop(Case(victim, workers, rounds), tmp_path)
    assert case.good, case
    assert case.acknowledged >= 20 * rounds
    assert case.told
    if victim == "worker":
        assert max(case.served) < 5


@pytest.mark.long
@pytest.mark.parametrize(("victim", "workers"), WAYS)
async def test_nothing_acknowledged_is_lost_in_many_rounds(victim, workers, tmp_path):
    case = await kill_loop(Case(victim, workers, 35), tmp_path)
    assert case.good, case
