"""What docs/webhooks.md says is what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.webhooks.notices import notice
from tracker.units import format_duration
from tracker.webhooks import mailgun, postmark, sendgrid
from tracker.webhooks.client import CONNECT_SECONDS, LARGEST_ANSWER, WHOLE_SECONDS
from tracker.webhooks.deliveries import FAILING, HOLD
from tracker.webhooks.delivering import Limits
from tracker.webhooks.formats import FORMATS
from tracker.webhooks.names import NAMES, SYNONYMS
from tracker.webhooks.schedule import LONGEST_RETRY_AFTER, SCHEDULES, SPREAD

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
WORDS = " ".join(TEXT.split())


def table(first: str) -> list[list[str]]:
    rows = re.search(rf"^\| {first} \|.*\n\| --- .*\n((?:\|.*\n)+)", TEXT, re.M)
    assert rows
    return [[cell.strip().strip("`") for cell in row.split("|")[1:-1]] for row in rows[1].splitlines()]


def test_the_table_of_events_is_the_codes() -> None:
    services = (mailgun.EVENTS, postmark.RECORDS, sendgrid.EVENTS)
    said = {row[0]: row[2:] for row in table("event")}
    assert list(said) == list(NAMES)
    assert said == {name: [words.get(name, "") for words in services] for name in NAMES}
    for synonym, name in SYNONYMS.items():
        assert f"`{synonym}` for `{name}`" in WORDS


def test_the_table_of_waits_is_the_codes() -> None:
    assert table("format") == [[name, ", ".join(format_duration(wait) for wait in SCHEDULES[name])] for name in FORMATS]


def section(name: str) -> str:
    return TEXT.split(f"### {name}\n")[1].split("\n## ")[0].split("\n### ")[0]


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in ("Client", "OS", "Geo", "geolocation", "flags", "domain", "envelope", "url_offset"):
                yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_every_field_is_named() -> None:
    for name, form in FORMATS.items():
        told = [form.payload([notice(each, metadata={})]) for each in NAMES if form.told(each)]
        missing = {key for payload in told for key in keys(payload)} - set(re.findall(r"[\w-]+", section(name)))
        assert not missing, (name, missing)


def test_every_field_of_the_standard_format_stands_with_its_events() -> None:
    said: dict[str, set[str]] = {}
    for names, of, _ in table("field"):
        for field in re.findall(r"\w+", names):
            said[field] = set(NAMES) if of == "all" else set(re.findall(r"\w+", of))
    true: dict[str, set[str]] = {}
    for name in NAMES:
        for field in FORMATS["standard"].payload([notice(name)])["data"]:
            true.setdefault(field, set()).add(name)
    assert said == true


def test_the_numbers_in_the_text_are_the_codes() -> None:
    usual = Limits()
    for sentence in (
        f"none within {WHOLE_SECONDS:g} s, no connection within {CONNECT_SECONDS:g} s",
        f"at most {LARGEST_ANSWER // 1024} KiB are read",
        f"An array of up to {FORMATS['sendgrid'].BATCH} events",
    ):
        assert sentence in WORDS
    assert (FAILING, HOLD, SPREAD, LONGEST_RETRY_AFTER) == (5, 900, 0.2, 6 * 3600)
    for words in ("five times in a row", "quarter of an hour", "up to a fifth longer", "for six hours at most"):
        assert words in WORDS
    assert (usual.settling, usual.probe, usual.held, usual.concurrency, usual.rows) == (2, 60, 100, 10, 1000)
    assert (usual.lease, usual.age) == (60, 7 * 86400)
