"""The command, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from relay.passwords import matches
from tracker.tokens import parse_key

ROOT = Path(__file__).parents[1]
MAIL = (
    b"From: News <news@example.com>\nTo: ann@example.net\nSubject: Hello\nContent-Type: text/html\n\n"
    b'<a href="https://example.org/a">First</a> <a data-track="never" href="https://example.org/reset">Reset</a>\n'
)
CONFIG = """\
data_dir: {folder}/data
relay:
  listen: ["127.0.0.1:{port}"]
  smarthost: {{host: sandbox}}
tracker:
  listen: 127.0.0.1:0
  public_url: http://127.0.0.1:1
senders:
  - match: "*@example.com"
"""


def tracepost(*arguments: object, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relay.cli", *map(str, arguments)]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=cwd, input=given, capture_output=True, text=True, timeout=60, env=environ)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path, port=0))
    (tmp_path / "mail.eml").write_bytes(MAIL)
    return tmp_path


def test_help_names_every_command(tmp_path):
    answer = tracepost("--help", cwd=tmp_path)
    assert answer.returncode == 0
    for command in ("serve", "check", "preview", "queue", "key", "hash-password"):
        assert re.search(rf"^  {command} ", answer.stdout, re.M)


def test_wrong_usage_is_2(tmp_path):
    assert tracepost("serve", "--nonsense", cwd=tmp_path).returncode == 2
    assert tracepost("nonsense", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve", "--nonsense"], "No such option '--nonsense'."),
        (["nonsense"], "No such command 'nonsense'."),
        (["forget"], "Missing argument 'ADDR'."),
        (["serve", "--only", "nonsense"], "Invalid value for '--only': 'nonsense' is not one of 'relay', 'tracker'."),
    ],
)
def test_wrong_usage_is_told_in_one_sentence(tmp_path, arguments, sentence):
    answer = tracepost(*arguments, cwd=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", sentence + "\n")


def test_a_reader_that_goes_away_is_no_error(folder):
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as nobody:
        command = [sys.executable, "-m", "relay.cli", "queue", "list"]
        environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        answer = subprocess.run(command, cwd=folder, stdout=nobody, stderr=subprocess.PIPE, timeout=60, env=environ)
    assert (answer.returncode, answer.stderr) == (1, b"")


def test_serve_without_a_file_says_how_to_make_one(tmp_path):
    answer = tracepost("serve", cwd=tmp_path)
    assert answer.returncode == 2
    assert "config.example.yaml" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_check_shows_every_error_at_once(folder):
    (folder / "config.yaml").write_text(
        "relay:\n  lisen: [x]\n  smarthost: {host: sandbox}\ntracker:\n  timezone: Mars\n"
    )
    answer = tracepost("check", cwd=folder)
    assert answer.returncode == 1
    assert re.search(r"config\.yaml:2: relay\.lisen: .*did you mean listen\?", answer.stderr)
    assert re.search(r"config\.yaml:5: tracker\.timezone: ", answer.stderr)


def test_check_is_content_with_a_good_file(folder):
    answer = tracepost("check", cwd=folder)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_check_warns_of_a_smarthost_that_tracks_by_itself_and_is_content(folder):
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("host: sandbox", "host: smtp.mailgun.org"))
    answer = tracepost("check", cwd=folder)
    assert answer.returncode == 0
    assert "config.yaml:4: relay.smarthost.host: warning: Mailgun" in answer.stderr
    assert "X-Mailgun-Track: no" in answer.stderr
    assert "no errors" in answer.stdout


def test_check_connect_tries_what_it_would_use(folder):
    answer = tracepost("check", "--connect", cwd=folder)
    assert answer.returncode == 1
    assert "no tracker answers there" in answer.stderr


def test_preview_tells_what_would_be_done(folder):
    answer = tracepost("preview", "mail.eml", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    assert "https://example.org/a" in answer.stdout
    assert "attribute data-track" in answer.stdout
    assert not (folder / "data").exists()


def test_preview_as_json_and_as_mail(folder):
    answer = tracepost("preview", "mail.eml", "--json", "-o", "out.eml", "--recipient", "bob@example.net", cwd=folder)
    found = json.loads(answer.stdout)
    assert [(link["position"], link["type"], link["label"]) for link in found["links"]] == [
        (1, "tracked", "First"),
        (2, "never", "Reset"),
    ]
    assert (found["recipient"], found["instrumented"], found["reason"]) == ("bob@example.net", True, None)
    out = (folder / "out.eml").read_bytes()
    assert b"/c/" in out
    assert b"https://example.org/reset" in out


def test_preview_of_a_stranger_says_why_not(folder):
    (folder / "mail.eml").write_bytes(MAIL.replace(b"news@example.com", b"news@stranger.test"))
    assert "no_profile" in tracepost("preview", "mail.eml", cwd=folder).stdout


def test_preview_of_nothing_is_2(folder):
    answer = tracepost("preview", "absent.eml", cwd=folder)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_key_prints_a_signing_key(tmp_path):
    first, second = (tracepost("key", cwd=tmp_path).stdout for _ in range(2))
    assert first != second
    assert parse_key(first)


def test_hash_password_reads_one_line_and_prints_what_the_configuration_takes(folder):
    answer = tracepost("hash-password", cwd=folder, given="sécret word\nanother line\n")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert matches(answer.stdout.strip(), "sécret word")
    users = f"  auth: {{users: {{ann: '{answer.stdout.strip()}'}}}}\n"
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, port=0).replace("tracker:", f"{users}tracker:"))
    assert tracepost("check", cwd=folder).returncode == 0


def test_hash_password_of_nothing_fails(tmp_path):
    for given in ("", "\n"):
        answer = tracepost("hash-password", cwd=tmp_path, given=given)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "no password" in answer.stderr


def test_hash_password_asks_twice_on_a_terminal_without_echo(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "relay.cli", "hash-password"]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environ, start_new_session=True
    ) as running:
        os.close(theirs)
        for words in (b"secret", b"other", b"secret", b"secret"):
            shown = b""
            while not shown.rstrip().endswith(b":"):
                shown += os.read(ours, 1000)
            assert b"secret" not in shown
            os.write(ours, words + b"\n")
        assert running.stdout is not None
        assert matches(running.stdout.read().decode().strip(), "secret")
    os.close(ours)


def test_a_taken_address_is_one_plain_sentence(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (folder / "config.yaml").write_text(CONFIG.format(folder=folder, port=taken.getsockname()[1]))
        answer = tracepost("serve", cwd=folder)
    assert answer.returncode == 1
    assert "in use" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_damaged_signing_key_is_one_plain_sentence(folder):
    (folder / "data").mkdir()
    (folder / "data" / "signing.key").write_text("junk")
    for command in ("serve", "preview"):
        answer = tracepost(command, *(["mail.eml"] if command == "preview" else []), cwd=folder)
        assert answer.returncode == 1
        assert "signing.key" in answer.stderr
        assert "Traceback" not in answer.stderr
