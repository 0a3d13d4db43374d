"""Which smarthost a sender's mail goes to."""

from __future__ import annotations

import pytest

from relay.config import Config, route_at_mail, route_to
from tests.config.conftest import Load

TEXT = """
relay: {smarthost: {host: main.test}}
senders:
  - {match: {user: ann}, smarthost: {host: ann.test, port: 26}}
  - {match: "*@News.example.com", smarthost: {host: news.test}}
  - match: "*@example.com"
"""


@pytest.fixture
def config(load: Load) -> Config:
    return load(TEXT)


@pytest.mark.parametrize(
    ("route", "host"),
    [
        ("user:ann", "ann.test"),
        ("*@News.example.com", "news.test"),
        ("*@example.com", "main.test"),
        ("*@gone.test", "main.test"),
        ("user:bob", "main.test"),
        (None, "main.test"),
    ],
)
def test_an_entry_has_its_own_smarthost_or_that_of_all(config: Config, route: str | None, host: str) -> None:
    assert route_to(config, route).host == host


def test_a_smarthost_of_its_own_has_its_own_defaults(config: Config) -> None:
    assert (route_to(config, "user:ann").port, route_to(config, "*@News.example.com").port) == (26, 587)


@pytest.mark.parametrize(
    ("reverse_path", "user", "route"),
    [
        ("a@example.com", "ann", "user:ann"),
        ("A@news.EXAMPLE.com", None, "*@News.example.com"),
        ("a@example.com", "Ann", "*@example.com"),
        ("a@stranger.test", None, None),
        ("", None, None),
        ("", "ann", "user:ann"),
    ],
)
def test_the_route_at_mail(config: Config, reverse_path: str, user: str | None, route: str | None) -> None:
    assert route_at_mail(config, reverse_path, user) == route


def test_of_two_entries_with_one_match_the_first_holds(load: Load) -> None:
    config = load(
        "relay: {smarthost: {host: main.test}}\n"
        "senders: [{match: 'a@*'}, {match: 'a@*', smarthost: {host: late.test}}]\n"
    )
    assert route_to(config, route_at_mail(config, "a@b.test", None)).host == "main.test"
