"""The dashboard's colours can be told apart by everybody (WCAG 2.2, 1.4.3 and 1.4.11), in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLE = (Path(__file__).parents[2] / "tracker" / "reading" / "static" / "style.css").read_text()
LIGHT, DARK = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)) for block in STYLE.split("@media", 2)[:2])
GROUNDS = ("ground", "surface", "sunken")
TEXTS = [
    *((text, ground) for text in ("ink", "soft", "accent") for ground in GROUNDS),
    *(("accent-ink", "accent"), ("accent", "accent-soft"), ("good", "good-soft"), ("good", "ground")),
    *(("wait", "wait-soft"), ("bad", "bad-soft"), ("wait", "surface"), ("bad", "surface"), ("soft", "wait-soft")),
    *(("ink", ground) for ground in ("wait-soft", "bad-soft", "good-soft")),
]
EDGES = [(each, "surface") for each in ("edge", "sent", "opened", "clicked", "machine", "accent", "bad")]


def shine(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: str, other: str) -> float:
    low, high = sorted((shine(one), shine(other)))
    return (high + 0.05) / (low + 0.05)


def test_both_modes_have_every_colour() -> None:
    assert set(LIGHT) == set(DARK)
    assert {name for pair in TEXTS + EDGES for name in pair} <= set(LIGHT)


@pytest.mark.parametrize("mode", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_its_ground(mode: dict[str, str]) -> None:
    assert [pair for pair in TEXTS if ratio(mode[pair[0]], mode[pair[1]]) < 4.5] == []


@pytest.mark.parametrize("mode", [LIGHT, DARK], ids=["light", "dark"])
def test_edges_of_controls_and_series_of_charts(mode: dict[str, str]) -> None:
    assert [pair for pair in EDGES if ratio(mode[pair[0]], mode[pair[1]]) < 3] == []
