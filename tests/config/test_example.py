"""The example is the manual: it loads, and shows every key with its true default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from relay.config import Config, load_config
from relay.unbuilt import NOT_BUILT
from tracker.shape import describe
from tracker.tree import read_yaml

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def whole() -> dict[str, Any]:
    """The example with the keys that are commented out."""
    return read_yaml(re.sub(r"(?m)^( +)#(?=\w)", r"\1", EXAMPLE.read_text()), "example").data


def leaves(data: Any, path: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        return {name: leaf for key, each in data.items() for name, leaf in leaves(each, f"{path}.{key}").items()}
    return {path.removeprefix("."): data}


def test_it_loads_and_tracks_the_sample_mail() -> None:
    config = load_config(EXAMPLE, {})
    assert config.relay.smarthost.host == "sandbox"
    assert config.data_dir == EXAMPLE.parent / "data"
    assert [(sender.match, sender.open_tracking, sender.click_tracking) for sender in config.senders] == [
        ("*@example.com", True, True)
    ]


def test_every_key_stands_there_in_order_with_its_default() -> None:
    shown, true = whole(), describe(Config)
    (shown_sender,), (true_sender,) = shown.pop("senders"), true.pop("senders")
    true["relay"]["smarthost"]["host"], true_sender["match"] = "sandbox", "*@example.com"
    true["tracker"]["api_keys"] = true["tracker"]["webhooks"] = []
    true["signing_keys"] = list(true["signing_keys"])
    assert list(leaves(shown).items()) == list(leaves(true).items())
    assert list(shown_sender.items()) == [
        (key, [] if isinstance(value, list) else value) for key, value in true_sender.items()
    ]


def test_what_is_not_built_is_commented_out_and_nothing_else() -> None:
    live = read_yaml(EXAMPLE.read_text(), "example").data
    hidden = {f"#{key}" for key in leaves(whole())} - {f"#{key}" for key in leaves(live)}
    (sender,), (live_sender,) = whole()["senders"], live["senders"]
    hidden |= {f"#senders.*.{key}" for key in set(sender) - set(live_sender)}
    assert hidden == {f"#{key}" for key in NOT_BUILT}


def test_every_key_has_its_purpose_on_its_line() -> None:
    for line in EXAMPLE.read_text().splitlines():
        if re.match(r" *#?[\w-][^#]*:", line.removeprefix("  - ")) and not line.startswith("# "):
            assert re.search(r"  # \S", line), line
        assert len(line) <= 120, line
