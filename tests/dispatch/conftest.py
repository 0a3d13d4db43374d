"""What the tests of the smarthost client share."""

from __future__ import annotations

import pytest

from tests.fakes.smarthost import FakeSmarthost


@pytest.fixture(params=["pipelined", "stepwise"])
def both_ways(request, monkeypatch):
    """The smarthost offers PIPELINING, and then it does not."""
    defaults = {"pipelining": request.param == "pipelined"}
    made = FakeSmarthost.__init__
    monkeypatch.setattr(FakeSmarthost, "__init__", lambda self, **given: made(self, **{**defaults, **given}))
