"""Schemathesis makes requests of what ``/api/openapi.json`` says, right ones and wrong ones, and judges each answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.tracker.facts import NOW, accepted, hit, opted_out, outcome
from tests.tracker.test_server import serving
from tests.tracker.tracked import judge
from tracker.model import Suppression
from tracker.store.sqlite import SqliteStore

described = schemathesis.openapi.from_dict(judge().document)


@described.auth()
class Key:
    """A key that may write."""

    def get(self, case: Any, context: Any) -> str:
        return "another-key"

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running tracker that has something to tell."""
    folder = tmp_path_factory.mktemp("tracker")
    with closing(SqliteStore(folder / "store.sqlite")) as store:
        message = accepted()
        people = [hit(message.id, n, n % 3, NOW + 60 * n) for n in range(1, 3)]
        store.apply([message, outcome(message.id), *people, opted_out(message.id), accepted(at=NOW + 5)])
        store.suppress([Suppression("ann@example.net")])
    with serving(folder) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def seen() -> set[tuple[str, int]]:
    """What was answered so far."""
    return set()


@described.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# No schema can say that a cursor is one of this list's, or that a row of CSV names an address: those are refused.
def test_every_answer_is_as_described(case: Any, address: str, seen: set[tuple[str, int]]) -> None:
    answer = case.call_and_validate(base_url=address, timeout=60, excluded_checks=[positive_data_acceptance])
    seen.add((case.operation.label, answer.status_code))


def test_what_it_asked_for_was_not_all_refused(seen: set[tuple[str, int]]) -> None:
    paths = ("messages", "links", "events", "suppressions")
    assert {(f"GET /api/v1/{path}", status) for path in paths for status in (200, 400)} <= seen
    assert {("GET /api/v1/messages/{id}", 404), ("POST /api/v1/suppressions", 400)} <= seen
