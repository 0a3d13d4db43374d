"""What is not built is refused, and nothing else is."""

from __future__ import annotations

import pytest

from relay.unbuilt import NOT_BUILT
from tests.config.conftest import Load, Problems

VALUES = {
    "tracker.workers": "0",
    "tracker.store": "postgresql://u@h/d",
    "senders.*.opt_out_url": "https://a.test/?b=c",
}


@pytest.mark.parametrize("key", NOT_BUILT)
def test_refused(problems: Problems, key: str) -> None:
    *way, name = key.split(".")
    text = f"{name}: {VALUES[key]}"
    for part in reversed(way):
        text = f"[{{match: '*', {text}}}]" if part == "*" else f"{part}: {{{text}}}" if part != "senders" else text
        text = f"senders: {text}" if part == "senders" else text
    text = text.replace("relay: {", "relay: {smarthost: {host: sandbox}, ")
    shown = key.replace(".*", "[0]")
    assert any(f"config.yaml:1: {shown}: " in each and "not built yet" in each for each in problems(text)), text


def test_defaults_written_out_are_accepted(load: Load) -> None:
    load(
        """
        relay:
          smarthost: {host: sandbox}
          workers: 1
          delivery: queue
          retry: {first: 60s, longest: 240m, give_up_after: 120h}
          limits: {connections: 5, memory: 1GB}
        tracker: {store: sqlite, admin_listen: "127.0.0.1:1", timezone: Europe/Berlin}
        senders: [{match: "*", tracking_url: "https://t.test", honor_vendor_headers: false, category: auto}]
        """
    )
