"""``tracepost reclassify``, as a user types it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import cli
from relay.storage import STORE_FILE
from tests.tracker.facts import BROWSER, NOW, hit
from tracker.model import HitClass, Verdict, new_id
from tracker.store.sqlite import SqliteStore

MESSAGE = new_id(NOW)
HUMAN = Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1, "browser")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    store = SqliteStore(folder / STORE_FILE)
    wrong = [replace(hit(MESSAGE, n, agent="curl/8", whole=True), verdict=HUMAN) for n in range(1, 4)]
    store.apply([*wrong, hit(MESSAGE, 9, agent=BROWSER, whole=True)])
    store.close()
    return folder


def run(folder: Path, *words: str, code: int = 0) -> Result:
    file = folder.parent / "config.yaml"
    file.write_text("data_dir: data\nrelay: {smarthost: {host: sandbox}}\n")
    result = CliRunner().invoke(cli, ["reclassify", *words, "-c", str(file)])
    assert result.exit_code == code, result.output
    return result


def machine_opens(folder: Path) -> int:
    store = SqliteStore(folder / STORE_FILE)
    row = store.message(str(MESSAGE))
    store.close()
    assert row is not None
    return int(row["machine_opens"])


def test_it_shows_from_what_to_what(data: Path) -> None:
    said = run(data, "--dry-run").stdout.splitlines()
    assert said[0] == "4 hits looked at; 3 would be judged otherwise now"
    assert [line.split() for line in said[1:]] == [["from", "to", "hits"], ["human", "browser", "machine", "bot", "3"]]
    assert machine_opens(data) == 0
    assert run(data).stdout.splitlines()[0] == "4 hits looked at; 3 are judged otherwise now"
    assert machine_opens(data) == 3
    assert run(data).stdout == "4 hits looked at; 0 are judged otherwise now\n"


def test_a_period_may_be_named(data: Path) -> None:
    assert run(data, "--from", "2030-01-01").stdout.startswith("0 hits")
    assert run(data, "--to", "2020-01-01").stdout.startswith("0 hits")
    assert run(data, "--from", "2026-01-01", "--to", "2027-01-01").stdout.startswith("4 hits")


@pytest.mark.parametrize("words", [("--from", "yesterday"), ("--to", "31.1.2026")])
def test_a_wrong_date_is_said_in_a_sentence(data: Path, words: tuple[str, ...]) -> None:
    assert "from" in (error := run(data, *words, code=2).stderr) or "to" in error


def test_a_store_that_cannot_be_reached_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "data" / STORE_FILE).mkdir(parents=True)
    assert "cannot be reached" in run(tmp_path / "data", code=1).stderr
