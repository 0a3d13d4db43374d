"""Environment variables, files of secrets, and that no secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.conftest import Load, Problems
from tracker.tokens import KEY_BYTES, format_key

KEYS = [format_key(bytes([n]) * KEY_BYTES) for n in range(2)]
SMARTHOST = "relay: {smarthost: {host: a.test, username: u}}"


def test_variables_override_the_file(load: Load) -> None:
    environ = {
        "TRACEPOST_RELAY__LISTEN": "0.0.0.0:25,[::1]:26",
        "TRACEPOST_RELAY__MAX_MESSAGE_SIZE": "1MB",
        "TRACEPOST_RELAY__MAX_RECIPIENTS": "7",
        "TRACEPOST_RELAY__HOSTNAME": "12345",
        "TRACEPOST_TRACKER__ADMIN_LISTEN": "null",
        "TRACEPOST_TRACKER__API_KEYS": "[{key: abc, access: read}, def]",
        "TRACEPOST_SENDERS": "[{match: '*@x.test', open_tracking: false}]",
        "TRACEPOST_SENDERS__0__CLICK_TRACKING": "false",
        "HOME": "/",
    }
    config = load("relay: {max_recipients: 3, smarthost: {host: sandbox}}", environ)
    assert [str(address) for address in config.relay.listen] == ["0.0.0.0:25", "[::1]:26"]
    assert (config.relay.max_message_size, config.relay.max_recipients) == (1_000_000, 7)
    assert config.relay.hostname == "12345"
    assert config.tracker.admin_listen is None
    assert [(key.key, key.access) for key in config.tracker.api_keys] == [("abc", "read"), ("def", "write")]
    assert not config.senders[0].open_tracking
    assert not config.senders[0].click_tracking


def test_a_glob_is_no_yaml_alias(load: Load) -> None:
    assert (
        load("", {"TRACEPOST_SENDERS": "[]", "TRACEPOST_SENDERS__0__MATCH": "*@x.test"}).senders[0].match == "*@x.test"
    )


def test_a_single_ipv6_address_is_no_yaml_list(load: Load) -> None:
    assert str(load("", {"TRACEPOST_RELAY__LISTEN": "[::1]:2525"}).relay.listen[0]) == "[::1]:2525"


@pytest.mark.parametrize("password", ["{x", "*a", "12", "null", " x # y", "a: b", "[a]", "true"])
def test_secrets_are_taken_as_they_stand(load: Load, password: str) -> None:
    found = load(SMARTHOST, {"TRACEPOST_RELAY__SMARTHOST__PASSWORD": password}).relay.smarthost.password
    assert found is not None
    assert found.get_secret_value() == password


def test_unknown_and_wrong_variables(problems: Problems) -> None:
    found = problems(
        "",
        {
            "TRACEPOST_RELAY__LISTN": "x",
            "TRACEPOST_RELAY__BARE_NEWLINES": "rejct",
            "TRACEPOST_RELAY__SMARTHOST": "{host",
            "TRACEPOST_SENDERS__3__MATCH": "x",
            "TRACEPOST_TRACKER__PRIVACY": "{ipp: full}",
        },
    )
    assert sorted(found) == [
        "TRACEPOST_RELAY__BARE_NEWLINES: must be normalize or reject (did you mean reject?)",
        "TRACEPOST_RELAY__LISTN: unknown variable (did you mean TRACEPOST_RELAY__LISTEN?)",
        "TRACEPOST_RELAY__SMARTHOST: is not a value in YAML",
        "TRACEPOST_SENDERS__3__MATCH: there is no item 3; the first free one is 0",
        "TRACEPOST_TRACKER__PRIVACY: tracker.privacy.ipp: unknown key (did you mean ip?)",
    ]


def test_kubernetes_variables_are_not_ours(load: Load) -> None:
    load(
        "", {"TRACEPOST_SERVICE_HOST": "10.0.0.1", "TRACEPOST_PORT": "tcp://10.0.0.1:25", "TRACEPOST_PORT_25_TCP": "x"}
    )


def test_secrets_from_files(load: Load, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n".join(KEYS) + "\n")
    (tmp_path / "password").write_text(" s p \r\n")
    (tmp_path / "api").write_text("abc\ndef\n")
    text = "signing_keys_file: keys\nrelay: {smarthost: {host: a.test, username: u, password_file: password}}"
    config = load(text, {"TRACEPOST_TRACKER__API_KEYS_FILE": "api"})
    assert [key.get_secret_value() for key in config.signing_keys] == KEYS
    assert config.relay.smarthost.password is not None
    assert config.relay.smarthost.password.get_secret_value() == " s p "
    assert [key.key for key in config.tracker.api_keys] == ["abc", "def"]


def test_problems_with_files_are_located(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bad").write_text("abc\n")
    text = """\
    signing_keys_file: bad
    relay:
      smarthost:
        host: a.test
        username: u
        password: x
        password_file: y
    tracker:
      api_keys_file: empty
      webhooks:
      - url: https://a.test/x?y=z
        secret_file: none
    """
    assert [each for each in problems(text) if "not built" not in each] == [
        "config.yaml:1: signing_keys[0]: a signing key is 64 bytes in base64; `tracepost key` makes one",
        "config.yaml:7: relay.smarthost.password_file: must not be given together with password",
        "config.yaml:9: tracker.api_keys_file: empty: is empty",
        "config.yaml:12: tracker.webhooks[0].secret_file: none: no such file or directory",
    ]


def test_a_variable_overrides_either_form_of_a_secret(load: Load, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from file")
    text = "relay: {smarthost: {host: a.test, username: u, password_file: gone}}"
    for environ in ({"TRACEPOST_RELAY__SMARTHOST__PASSWORD": "x"}, {"TRACEPOST_RELAY__SMARTHOST__PASSWORD_FILE": "p"}):
        assert load(text, environ).relay.smarthost.password is not None
    config = load(text.replace("_file: gone", ": x"), {"TRACEPOST_RELAY__SMARTHOST__PASSWORD_FILE": "p"})
    assert config.relay.smarthost.password is not None
    assert config.relay.smarthost.password.get_secret_value() == "from file"


def test_nothing_secret_shows(load: Load, problems: Problems) -> None:
    text = f"""
    signing_keys: [{KEYS[1]}]
    relay: {{smarthost: {{host: a.test, username: u, password: hunter2}}}}
    tracker: {{api_keys: [{{key: opensesame}}]}}
    """
    config = load(text)
    for shown in (repr(config), str(config), repr(config.tracker.api_keys[0])):
        assert not any(secret in shown for secret in (KEYS[1], "hunter2", "opensesame"))
    wrong = """
    signing_keys: [hunter2]
    relay: {smarthost: {host: a.test, username: u, password: [hunter2]}}
    tracker: {api_keys: [{key: [hunter2]}], store: "mysql://u:hunter2@h"}
    """
    assert "hunter2" not in "\n".join(problems(wrong))


def test_relative_paths_start_at_the_file(load: Load, tmp_path: Path) -> None:
    assert load("").data_dir == tmp_path / "data"
    assert load("data_dir: x/y").data_dir == tmp_path / "x/y"
    assert load("data_dir: /x").data_dir == Path("/x")
