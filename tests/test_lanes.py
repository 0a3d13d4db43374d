"""Which lanes a configuration makes, and which stay when it is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Config, SmarthostConfig
from relay.lanes import Lanes, share
from tests.dispatch.queued import Clock, Host

USUAL, FAST, SLOW = {"host": "mx.test"}, {"host": "fast.test"}, {"host": "slow.test", "max_connections": 3}


def config(usual: dict, **senders: dict | None) -> Config:
    entries = [{"match": match, "smarthost": host} if host else {"match": match} for match, host in senders.items()]
    return Config.model_validate({"relay": {"smarthost": usual}, "senders": entries})


@pytest.fixture
def made():
    return []


@pytest.fixture
def lanes(made):
    def connect(smarthost: SmarthostConfig, connections: int) -> Host:
        made.append((smarthost.host, connections))
        return Host()

    return Lanes(connect, 1, 0, Clock())


def test_one_lane_a_smarthost_the_usual_one_first(lanes, made):
    found = lanes.update(config(USUAL, a=FAST, b=None, c=SLOW, d=FAST, e=USUAL))
    assert [(lane.host, lane.routes) for lane in found] == [
        ("mx.test", ("", "e")),
        ("fast.test", ("a", "d")),
        ("slow.test", ("c",)),
    ]
    assert made == [("mx.test", 20), ("fast.test", 20), ("slow.test", 3)]


def test_a_lane_stays_while_its_smarthost_does(lanes, made):
    usual, fast, slow = lanes.update(config(USUAL, a=FAST, c=SLOW))
    usual.heed([])
    again = lanes.update(config(USUAL, x=FAST, c={**SLOW, "max_connections": 4}))
    assert again[0] is usual
    assert again[1] is fast
    assert fast.routes == ("x",)
    assert again[2] is not slow
    assert made[3:] == [("slow.test", 4)]


@given(st.integers(1, 500), st.integers(1, 64))
def test_all_workers_together_have_what_one_would_have(most, workers):
    parts = [share(most, workers, number) for number in range(workers)]
    assert min(parts) >= 1
    assert sum(parts) == max(most, workers)
    assert max(parts) - min(parts) <= 1
