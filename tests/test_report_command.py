"""``tracepost report``, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import cli
from relay.storage import STORE_FILE
from tests.tracker.facts import accepted, hit, outcome
from tracker.store.sqlite import SqliteStore


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\nrelay: {smarthost: {host: sandbox}}\ntracker: {timezone: Europe/Berlin}\n")
    return file


@pytest.fixture
def run(config: Path):
    def run(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["report", *map(str, words), "-c", str(config)])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def filled(tmp_path: Path) -> None:
    now = time.time() - 120
    store = SqliteStore(tmp_path / "data" / STORE_FILE)
    store.open()
    first, other = accepted(at=now), accepted(at=now, sender="other@example.com", tag="=1+1")
    store.apply(
        [first, other, outcome(first.id, at=now + 1), hit(first.id, at=now + 60), hit(first.id, 1, 1, now + 62)]
    )
    store.close()


@pytest.mark.usefixtures("filled")
def test_a_table_for_people(run):
    text = run("live").stdout
    assert text.startswith("Live report, ")
    assert "delivered                   1     25.0%  sent, less bounces that came later" in text.splitlines()
    assert "https://example.com/1?a=1" in text
    assert run("global").stdout.startswith("Global report, ")


@pytest.mark.usefixtures("filled")
def test_json_and_csv_for_programs(run):
    for kind, intervals in (("live", 24), ("global", 30)):
        report = json.loads(run(kind, "--format", "json").stdout)
        assert (report["kind"], report["totals"]["opens"], report["totals"]["clicks"]) == (kind, 1, 1)
        rows = list(csv.DictReader(io.StringIO(run(kind, "--format", "csv").stdout, newline="")))
        assert len(rows) == intervals
        assert sum(int(row["messages"]) for row in rows) == 2
    tags = run("live", "--format", "csv", "--table", "tags").stdout
    assert "\n'=1+1," in tags
    assert (
        json.loads(run("live", "--format", "json", "--sender", "Other@Example.com").stdout)["totals"]["messages"] == 1
    )
    assert json.loads(run("live", "--format", "json", "--tag", "spring").stdout)["totals"]["opens"] == 1


def test_a_period_is_taken_as_in_the_api(run):
    report = json.loads(run("global", "--from", "2026-01-31", "--to", "2026-01-31", "--format", "json").stdout)
    assert (report["from"], report["to"]) == ("2026-01-30T23:00:00.000Z", "2026-01-31T23:00:00.000Z")
    assert (report["totals"]["opens"], report["rates"]["open"]) == (0, None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["global", "--from", "2026-02-01", "--to", "2026-01-01"], "before 'to'"),
        (["global", "--from", "yesterday"], "2026-01-31"),
        (["live", "--from", "2026-01-01"], "No such option"),
        (["live", "--format", "xml"], "'xml' is not one of"),
        (["live", "--table", "links"], "--format csv"),
        (["live", "--format", "csv", "--table", "people"], "'people' is not one of"),
        (["yearly"], "No such command"),
    ],
)
def test_wrong_usage_is_2_and_one_sentence(run, words, sentence):
    assert sentence in run(*words, code=2).stderr


def test_a_store_that_cannot_be_reached_is_one_sentence(run, tmp_path: Path):
    (tmp_path / "data" / STORE_FILE).mkdir(parents=True)
    for kind in ("live", "global"):
        result = run(kind, code=1)
        assert result.stdout == ""
        assert "cannot be reached" in result.stderr
        assert result.stderr.count("\n") == 1
