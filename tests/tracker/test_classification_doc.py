"""docs/classification.md is held equal to the rules."""

from __future__ import annotations

import re
from pathlib import Path

from tracker.hits.agents import DEVICES
from tracker.hits.judging import BURST_LINKS, BURST_SECONDS, REPEAT_SECONDS
from tracker.hits.rules import RULES, SIGNAL_HEADERS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "classification.md").read_text()


def test_every_rule_is_in_the_table() -> None:
    rows = re.search(r"^\| rule \|.*\n\| --- .*\n((?:\|.*\n)+)", DOCUMENT, re.M)
    assert rows is not None
    said = [[cell.strip().replace("\\|", "|") for cell in row.strip("|").split(" | ")] for row in rows[1].splitlines()]
    assert said == [[f"`{rule.name}`", rule.cls.value, rule.kind, rule.reason, rule.source] for rule in RULES]


def test_headers_devices_and_numbers_are_the_codes() -> None:
    flat = " ".join(DOCUMENT.split())
    order = re.search(r"in the order ([^.]*)\.", flat)
    assert order is not None
    assert tuple(name.lower() for name in re.findall(r"`([\w-]+)`", order[1])) == SIGNAL_HEADERS
    assert f"the device ({', '.join(DEVICES)})" in flat
    assert (BURST_LINKS, BURST_SECONDS, REPEAT_SECONDS) == (5, 1.0, 10.0)
    assert "Five or more distinct links of one copy within a second" in flat
    assert "within 10 s of the last counted hit" in flat
