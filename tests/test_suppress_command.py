"""``tracepost suppress``, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import cli
from relay.storage import STORE_FILE
from tests.tracker.facts import NOW, no_mailbox
from tracker.model import new_id
from tracker.store.sqlite import SqliteStore

ANN, BOB, SHOP = "ann@example.net", "bob@example.net", "shop@example.com"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\nrelay: {smarthost: {host: sandbox}}\n")
    return file


@pytest.fixture
def run(config: Path):
    def run(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["suppress", *map(str, words), "-c", str(config)])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_an_address_is_added_listed_and_removed(run):
    assert run("list").stdout == "There is no such entry on the list.\n"
    assert run("add", ANN, "--sender", SHOP.upper(), "--reason", "by phone").stdout == f"{ANN}: added\n"
    assert run("add", ANN, "--kind", "tracking").stdout == f"{ANN}: added\n"
    assert run("add", ANN.upper(), "--kind", "tracking").stdout == f"{ANN.upper()}: is on the list already\n"
    lines = run("list").stdout.splitlines()
    assert [line[21:] for line in lines] == [
        "tracking  ANN@EXAMPLE.NET  every sender  added by hand",
        f"mail      {ANN}  {SHOP}  by phone",
    ]
    assert run("remove", ANN).stdout == f"{ANN}: 2 entries removed\n"
    assert "there is no such entry" in run("remove", ANN, code=1).stderr


def test_what_is_listed_and_removed_may_be_narrowed(run):
    for words in ([ANN], [ANN, "--sender", SHOP], [BOB, "--sender", SHOP, "--kind", "tracking"]):
        run("add", *words)

    def listed(*words: str) -> list[tuple[str, str]]:
        return sorted((row["address"], row["sender"] or "") for row in json.loads(run("list", "--json", *words).stdout))

    assert len(listed()) == 3
    assert listed(ANN) == listed("--kind", "mail")
    assert listed("--sender", SHOP) == [(ANN, SHOP), (BOB, SHOP)]
    assert listed("--sender", "*") == [(ANN, "")]
    assert listed("--kind", "tracking") == [(BOB, SHOP)]
    assert run("remove", ANN, "--sender", "*").stdout == f"{ANN}: removed\n"
    run("remove", ANN, "--kind", "tracking", code=1)
    assert len(listed()) == 2


def test_the_list_goes_out_as_csv_and_in_again(run, tmp_path: Path):
    run("add", ANN, "--reason", '=1+1, "so"')
    run("add", "+tag@example.net", "--sender", SHOP)
    with_one_gone = SqliteStore(tmp_path / "data" / STORE_FILE)
    with_one_gone.apply([no_mailbox(new_id(NOW), address="gone@example.net")])
    with_one_gone.close()
    out = run("export").stdout_bytes
    assert out.startswith(b"address,sender,kind,reason,since\r\n")
    (tmp_path / "list.csv").write_bytes(out)
    assert run("import", tmp_path / "list.csv").stdout == "0 added, 3 were on the list already\n"
    for address in (ANN, "+tag@example.net", "gone@example.net"):
        run("remove", address)
    assert run("import", tmp_path / "list.csv").stdout == "3 added, 0 were on the list already\n"
    assert sorted(run("export").stdout_bytes.splitlines()) == sorted(out.splitlines())


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["add", "nobody"], 2, "mail address"),
        (["add", ANN, "--sender", "shop"], 2, "'sender'"),
        (["list", "--sender", "shop"], 2, "'sender'"),
        (["add", ANN, "--kind", "paper"], 2, "'paper' is not one of"),
        (["add"], 2, "Missing argument"),
        (["remove", "nobody"], 2, "mail address"),
        (["import", "absent.csv"], 2, "absent.csv"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run, words, code, sentence):
    assert sentence in run(*words, code=code).stderr


def test_a_file_with_a_wrong_row_changes_nothing(run, tmp_path: Path):
    (tmp_path / "list.csv").write_text("address\nann@example.net\nnobody\n")
    assert "Row 3" in run("import", tmp_path / "list.csv", code=1).stderr
    assert "no such entry" in run("list").stdout


def test_a_store_that_cannot_be_reached_is_no_traceback(run, tmp_path: Path):
    (tmp_path / "data" / STORE_FILE).mkdir(parents=True)
    for words in (["list"], ["add", ANN], ["remove", ANN], ["export"]):
        assert "cannot be reached" in run(*words, code=1).stderr
