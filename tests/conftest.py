"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tracker.store.sqlite import SqliteStore

# The verdict on a tree is the same whenever it is made and however slow the machine is: the examples are those of the
# test's own text, and none of them is timed. ``make long`` makes others.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("others", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real mails and test vectors, kept beside the repository."""
    if not CORPUS.is_dir():
        pytest.skip("../shared/corpus is absent")
    return CORPUS


@pytest.fixture(autouse=True)
def _no_store_is_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test has opened: Python 3.13 warns of a database that is left to be collected."""
    made: list[SqliteStore] = []
    make = SqliteStore.__init__

    def noted(self: SqliteStore, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        made.append(self)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "__init__", noted)
        yield
    for store in made:
        store.close()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With NO_SKIP a skipped test fails the run: where everything is installed, nothing may be left out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIP") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("a test was skipped where none may be (NO_SKIP is set)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
