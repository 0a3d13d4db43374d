"""Labelled hits through a running tracker: machines are known, people left alone, whatever is kept of agents."""

from __future__ import annotations

from tests.tracker.replay.replaying import agents, lines, recall, replayed, report, wronged


async def test_machines_are_known_and_people_left_alone() -> None:
    wanted = lines()
    assert len(wanted) >= 400
    assert len({line.agent for line in wanted}) >= 30
    taken = await replayed(wanted)
    print(report(taken))
    assert len(taken) == len(wanted)
    sent = [each for each in taken if agents()[each.line.agent][0] == "as sent"]
    for all_of_them in (taken, sent):
        assert recall(all_of_them) >= 0.95
        assert wronged(all_of_them) <= 0.01
    assert all(each.reason and each.kind for each in taken)
    without = await replayed(wanted, "none")
    assert [(each.cls, each.kind) for each in without] == [(each.cls, each.kind) for each in taken]
