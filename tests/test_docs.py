"""What the documents say is held equal to what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from relay.cli import cli
from relay.queueing import SpoolCollector
from relay.reception.senders import OWN_HEADERS
from tracker.hits.recorder import Metrics

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_names_every_command_and_no_other():
    assert set(re.findall(r"^\| `tracepost ([\w-]+)", README, re.M)) == set(cli.commands)


def test_the_readme_names_every_header_that_is_built():
    assert set(re.findall(r"`(X-Track-[A-Za-z]+)", README)) == set(OWN_HEADERS)


def test_the_readme_starts_with_make_run_and_then_make_test():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    assert blocks[:2] == ["make run\n", "make test\n"]
    for target in ("run", "test"):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_readme_names_every_metric():
    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(SpoolCollector(ROOT))
    names = {metric.name for metric in registry.collect()}
    assert {re.sub(r"_total$", "", name) for name in re.findall(r"^\| `(\w+)` \|", README, re.M)} == names


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
