"""What the documents say is held equal to what the code does."""

from __future__ import annotations

import re
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from relay.cli import cli
from relay.personal import PERSONAL
from relay.queueing import SpoolCollector
from relay.reception.senders import OWN_HEADERS
from relay.reception.vendors import VENDORS
from relay.rewriting.marks import LABELS, MARKS
from relay.rewriting.placeholders import OPT_OUT, SPELLINGS
from tests.tracker.tracked import judge
from tracker.hits.recorder import Metrics
from tracker.reading import reasons
from tracker.reading.postmark import STATS
from tracker.reading.reports import COUNTS, RATES, TABLES
from tracker.roller import Roller
from tracker.store.sqlite import SqliteStore
from tracker.webhooks.metrics import WebhooksCollector

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
    Roller(SqliteStore(ROOT), registry)
    registry.register(SpoolCollector(ROOT))
    registry.register(WebhooksCollector(SqliteStore(ROOT / "none").deliveries(), list, time.time))
    names = {metric.name for metric in registry.collect()}
    assert {re.sub(r"_total$", "", name) for name in re.findall(r"^\| `(\w+)` \|", README, re.M)} == names


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


LINKS = (ROOT / "docs" / "links.md").read_text()


def table(columns, text=LINKS):
    """The rows of a table of a document, by the names of its first columns; code marks taken off."""
    rows = re.search(rf"^\| {columns} \|.*\n\| --- .*\n((?:\|.*\n)+)", text, re.M)[1].splitlines()
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    return [[re.sub(r"`", "", cell.strip()).replace("\\|", "|") for cell in row] for row in cells]


def test_the_table_of_attributes_is_the_codes():
    said = [
        [name, mark.service, ", ".join(mark.values) if mark.values else "by being there"]
        for name, mark in MARKS.items()
    ]
    assert table("attribute") == said
    assert all(f"`{name}" in LINKS for name in LABELS)


def test_the_tables_of_placeholders_are_the_codes():
    meaning = {True: "the opt-out page", False: "the web copy"}
    assert table(r"placeholder \| from") == [
        [spelling, service, meaning[name == OPT_OUT]] for spelling, (service, name) in SPELLINGS.items()
    ]
    assert [row[0] for row in table(r"placeholder \| stands for")] == [f"{{{{ {name} }}}}" for name in PERSONAL]


def test_the_table_of_headers_is_the_codes():
    assert table("service") == [
        [vendor.name, ", ".join(vendor.headers), ", ".join(vendor.hosts)] for vendor in VENDORS if vendor.headers
    ]
    assert all(f"`{name}" in LINKS for vendor in VENDORS for name in vendor.heard)
    migrating = (ROOT / "docs" / "migrating.md").read_text()
    assert all(re.search(rf"^## {vendor.name}", migrating, re.M) for vendor in VENDORS if vendor.headers)


def test_every_number_is_defined_once():
    numbers = (ROOT / "docs" / "numbers.md").read_text()
    assert sorted(name for row in table("column", numbers) for name in row[0].split(", ")) == sorted(COUNTS)
    words = {"both": "recipients who opened and clicked", "tried": "targeted less suppressed"}
    for name in ("open_tracked", "click_tracked"):
        words[f"attributed_{name}"] = f"{name}, of mail whose hits name a recipient"
    rates = [[name, words.get(part, part), words.get(base, base)] for name, (part, base) in RATES.items()]
    assert table("rate", numbers) == rates
    assert [row[0] for row in table("table", numbers)] == list(TABLES)


def test_every_path_of_postmark_s_is_documented():
    drop_in = (ROOT / "docs" / "drop-in.md").read_text()
    assert [row[0].replace("(nothing)", "") for row in table("path under `/stats/outbound`", drop_in)] == list(STATS)


def test_the_document_of_the_api_names_every_request_and_status():
    requests = {
        (path, method.upper()): each for path, all in judge().document["paths"].items() for method, each in all.items()
    }
    text = (ROOT / "docs" / "api.md").read_text()
    named = [tuple(reversed(row[0].split())) for row in table("request", text)]
    assert sorted(named) == sorted(requests)
    statuses = {status for each in requests.values() for status in each["responses"] if status >= "400"}
    assert {row[0] for row in table("status", text)} == statuses | {"405"}


def test_the_tables_of_reasons_are_the_codes():
    inspecting = (ROOT / "docs" / "inspecting.md").read_text()
    for reason, found in [*reasons.MAILS.items(), *reasons.LINKS.items()]:
        if reason not in ("default", "saved", "scheme +notrack"):
            assert f"| `{reason}` | {found.why} | {found.todo} |" in inspecting
