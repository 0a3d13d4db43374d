"""Every problem at once, where it stands, with a guess."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relay.config import Config, check_wings, load_config
from tests.config.conftest import Load, Problems
from tracker.errors import ConfigError
from tracker.tokens import KEY_BYTES, format_key

HASH = "'$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo'"


def test_all_problems_at_once_in_order(problems: Problems) -> None:
    text = """\
    data_dirr: x
    relay:
      lisen: x
      smarthost: {host: sandbox, tls: startls}
      retry: {first: 90}
      bare_newlines: normalise
    senders:
      - mach: "*"
      - match: 5
      - match: "*"
        open_tracking: no
        dkim: {domain: x.test}
        category: marketing
    """
    assert problems(text, {"TRACEPOST_RELAY__MAX_RECIPIENTS": "many"}) == [
        "config.yaml:1: data_dirr: unknown key (did you mean data_dir?)",
        "config.yaml:3: relay.lisen: unknown key (did you mean listen?)",
        "config.yaml:4: relay.smarthost.tls: must be starttls, implicit, opportunistic or none"
        " (did you mean starttls?)",
        "config.yaml:5: relay.retry.first: a duration needs a unit: 90s, 90m, 90h or 90d?",
        "config.yaml:6: relay.bare_newlines: must be normalize or reject (did you mean normalize?)",
        "config.yaml:8: senders[0].match: is required",
        "config.yaml:8: senders[0].mach: unknown key (did you mean match?)",
        'config.yaml:9: senders[1].match: must be a glob such as "*@example.com", or {user: NAME}',
        "config.yaml:11: senders[2].open_tracking: must be true or false",
        "config.yaml:12: senders[2].dkim.selector: is required",
        "config.yaml:12: senders[2].dkim.key_file: is required",
        "TRACEPOST_RELAY__MAX_RECIPIENTS: must be a whole number",
    ]


def test_what_depends_on_the_whole_is_said_beside_single_errors(problems: Problems) -> None:
    found = problems("relay:\n  max_recipients: x\n  retry: {first: 5h}\n  smarthost: {host: sandbox}\n")
    assert "config.yaml:2: relay.max_recipients: must be a whole number" in found
    assert "config.yaml:3: relay.retry.first: must not be longer than relay.retry.longest" in found


def test_items_keep_their_number_after_earlier_ones_failed(problems: Problems) -> None:
    text = "senders:\n- match: 1\n- match: 2\n- match: ok\n  smarthost: {port: 25}\n"
    assert "config.yaml:5: senders[2].smarthost.host: is required" in problems(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data_dir: a\ndata_dir: b\n", ":2: data_dir: is given twice, first in line 1"),
        ("relay:\n\tlisten: x\n", ":2: is indented with a tab; YAML wants spaces"),
        ("- a\n- b\n", ":1: must be keys and values"),
        ("just text\n", ":1: must be keys and values"),
        ("data_dir: !!python/object x\n", ":1: data_dir: YAML tags such as"),
        ("a: &a [*a]\n", ":1: a[0]: contains itself"),
        ("data_dir: [\n", ":2: is not YAML"),
        ("data_dir: x\n---\ndata_dir: y\n", ":2: is not YAML"),
        ("%YAML 1.1\n---\ndata_dir: x\n", ":1: only YAML 1.2 is read"),
        ("data_dir: x\x00y\n", ":1: holds a character that YAML does not allow"),
        ("? [a]\n: b\n", ":1: a key must be text"),
        ("a: " + "[" * 5000 + "\n", ":1: is nested too deeply"),
    ],
)
def test_text_that_is_no_configuration(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert any(problem.startswith(f"{file}{expected}") for problem in caught.value.problems)


def test_alias_bomb_is_refused_at_once(problems: Problems) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    began = time.process_time()
    assert "holds too many values once its aliases are followed" in problems(text)[-1]
    assert time.process_time() - began < 5


def test_bad_utf8_and_huge_files_are_located(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"data_dir: x\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: is not UTF-8"):
        load_config(file, {})
    file.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="is too large"):
        load_config(file, {})


def test_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.yaml", {})


@pytest.mark.parametrize("value", ["no", "yes", "on", "off", "y", "1", "'true'"])
def test_only_true_and_false_are_switches(problems: Problems, value: str) -> None:
    found = problems(f"senders:\n- match: '*'\n  open_tracking: {value}\n")
    assert found == ["config.yaml:3: senders[0].open_tracking: must be true or false"]


def test_yaml_1_1_traps_are_text(load: Load) -> None:
    assert load("relay: {hostname: no, smarthost: {host: sandbox}}").relay.hostname == "no"
    config = load("senders: [{match: 1:30}, {match: no}, {match: 2026-01-01}, {match: 0o_x}]")
    assert [sender.match for sender in config.senders] == ["1:30", "no", "2026-01-01", "0o_x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relay: {}", "relay.smarthost.host: is required; `sandbox` keeps mail in data_dir/sandbox"),
        ("relay: {smarthost: {host: 'a.test:25'}}", "relay.smarthost.host: must be a host name or an IP address"),
        ("relay: {smarthost: {host: a.test, password: p}}", "relay.smarthost.username: is required"),
        ("relay: {smarthost: {host: a.test, username: u}}", "relay.smarthost.password: is required"),
        (
            "relay: {smarthost: {host: a.test, username: u, password: p, tls: none}}",
            "relay.smarthost.tls: must be starttls or implicit: a password is never sent in clear",
        ),
        ("relay: {smarthost: {host: a.test, username: u, password: 5}}", "relay.smarthost.password: must be text"),
        ("relay: {smarthost: {host: a.test, ca_file: none.pem}}", "relay.smarthost.ca_file: "),
        ("relay: {smarthost: {host: sandbox}, tls: {key: k.pem}}", "relay.tls.certificate: is required"),
        ("relay: {smarthost: {host: sandbox}, listen: []}", "relay.listen: must have 1 item or more"),
        ("relay: {smarthost: {host: sandbox}, listen: ['::1:25']}", "relay.listen[0]: an IPv6 address stands in"),
        ("relay: {smarthost: {host: sandbox}, listen: ['a:1', 'a:1']}", "relay.listen[1]: is given twice"),
        ("relay: {smarthost: {host: sandbox}, max_message_size: 1GB}", "relay.max_message_size: must not be more"),
        ("relay: {smarthost: {host: sandbox}, auth: {passthrough: true}}", "relay.auth.passthrough: needs relay.del"),
        (
            "relay: {smarthost: {host: sandbox}, auth: {users: {ann: secret}}}",
            "relay.auth.users.ann: must be the hash of a password; `tracepost hash-password` makes one",
        ),
        ("relay: {smarthost: {host: sandbox}, auth: {users: {ann: {hash: x}}}}", "relay.auth.users.ann.hash: must be"),
        ("relay: {smarthost: {host: sandbox}, auth: {users: {ann: {senders: [x]}}}}", "users.ann.hash: is required"),
        (
            f"relay: {{smarthost: {{host: sandbox}}, auth: {{passthrough: true, users: {{ann: {HASH}}}}}}}",
            "relay.auth.passthrough: goes not with relay.auth.users",
        ),
        ("relay: {smarthost: {host: sandbox}, tls: {mode: implicit}}", "relay.tls.mode: implicit needs a certificate"),
        ("relay: {smarthost: {host: sandbox}, allow_networks: [10.0.0.1/8]}", "(did you mean 10.0.0.0/8?)"),
        ("signing_keys: [abc]", "signing_keys[0]: a signing key is 64 bytes in base64"),
        ("tracker: {public_url: 'http://u:p@h.test'}", "tracker.public_url: must not hold a user name or password"),
        ("tracker: {public_url: 'http://h.test/?a=b'}", "tracker.public_url: must not have a query or a fragment"),
        ("tracker: {public_url: 'ftp://h.test'}", "tracker.public_url: must begin with http:// or https://"),
        ("tracker: {timezone: Europe/Berlim}", "(did you mean Europe/Berlin?)"),
        ("tracker: {well_known: nowhere}", "tracker.well_known: "),
        ("tracker: {api_keys: [abc, abc]}", "tracker.api_keys[1]: is given twice"),
        ("tracker: {admin_listen: '127.0.0.1:8025'}", "tracker.admin_listen: must not be the same as tracker.listen"),
        ("senders: [{match: a, bounces: {address: a@b.test}}]", "senders[0].bounces.address: must hold {token} once"),
        (
            "senders: [{match: a, bounces: {address: 'a{token}+{token}@b.test'}}]",
            "bounces.address: must hold {token} once",
        ),
        ("senders: [{match: a, bounces: {address: '{token}@b c'}}]", "senders[0].bounces.address: must be an address"),
        ("senders: [{match: a, bounces: {address: 'ä{token}@b.test'}}]", "bounces.address: must be an address such as"),
        (
            "senders: [{match: a, bounces: {address: 'a b{token}@b.test'}}]",
            "bounces.address: must be an address such as",
        ),
        ("senders: [{match: a, bounces: {address: '.{token}@b.test'}}]", "bounces.address: must be an address such as"),
        (
            "senders: [{match: a, bounces: {address: 'returned-mail.for+{token}@b.test'}}]",
            "bounces.address: is too long: {token} leaves room for 17 characters before the @, here are 18",
        ),
        ("senders: [{match: a, signed_mail: resign}]", "senders[0].signed_mail: resign needs dkim"),
        (
            "senders: [{match: a, dkim: {domain: a.test, selector: s, key_file: none.pem}}]",
            "senders[0].dkim.key_file: none.pem: no such file",
        ),
        (
            "senders: [{match: a, dkim: {domain: a.test, selector: s, key_file: config.yaml}}]",
            "senders[0].dkim.key_file: config.yaml: holds no private key in PEM that can be read",
        ),
        ("senders: [{match: a, dkim: {domain: a.test, selector: s}}]", "senders[0].dkim.key_file: is required"),
        ("senders: [{match: a, link_rules: [{match: b, type: nevr}]}]", "(did you mean never?)"),
        ("senders: {match: a}", "senders: must be a list"),
        ("data_dir: ~nobody.at.all/x", "data_dir: must not begin with the home of a user who does not exist"),
        ("tracker: 5", "tracker: must be a section of keys and values"),
    ],
)
def test_wrong_values(problems: Problems, text: str, expected: str) -> None:
    assert any(problem.startswith("config.yaml:") and expected in problem for problem in problems(text))


def test_users_are_hashes_with_or_without_senders(load: Load) -> None:
    users = f"{{ann: {HASH}, bob: {{hash: {HASH}, senders: ['*@b.test']}}}}"
    config = load(f"relay: {{smarthost: {{host: sandbox}}, auth: {{users: {users}}}}}")
    assert [(name, user.senders) for name, user in config.relay.auth.users.items()] == [
        ("ann", ()),
        ("bob", ("*@b.test",)),
    ]
    assert "argon2" not in repr(config)


def test_a_wrong_hash_is_not_shown(problems: Problems) -> None:
    found = problems("relay: {smarthost: {host: sandbox}, auth: {users: {ann: hunter2}}}")
    assert not any("hunter2" in problem for problem in found)


def test_the_tracker_alone_needs_no_smarthost_but_keys(load: Load, problems: Problems) -> None:
    key = format_key(bytes(KEY_BYTES))
    config = load(f"signing_keys: [{key}]\ntracker: {{api_keys: [abc]}}\nrelay:\n", only="tracker")
    assert config.relay.smarthost.host == ""
    assert problems("relay:\n", only="tracker") == [
        "config.yaml:1: signing_keys: must be given with --only tracker; `tracepost key` makes one",
        "config.yaml:1: tracker.api_keys: must be given with --only tracker",
    ]
    with pytest.raises(ConfigError, match="signing_keys: must be given with --only relay"):
        check_wings(Config(), "relay")
    check_wings(Config(), None)


def test_empty_sections_are_sections_without_keys(load: Load) -> None:
    config = load("relay:\n  auth:\n  listen:\n  smarthost: {host: sandbox}\ntracker:\nsenders:\n")
    assert config.tracker.timezone == "UTC"
    assert config.relay.listen[0].port == 2525
    assert config.senders == ()


def test_nothing_is_said_about_keys_below_a_wrong_one(problems: Problems) -> None:
    assert problems("relay: 5") == ["config.yaml:1: relay: must be a section of keys and values"]


def test_each_worker_needs_a_connection(problems: Problems, load: Load) -> None:
    text = """
        relay:
          workers: 3
          smarthost: {host: a.test, max_connections: 2}
        senders: [{match: "*", smarthost: {host: b.test, max_connections: 1}}]
        """
    found = problems(text)
    assert [each.split(" must be at least relay.workers (3)")[0] for each in found] == [
        "config.yaml:4: relay.smarthost.max_connections:",
        "config.yaml:5: senders[0].smarthost.max_connections:",
    ]
    load(text.replace("workers: 3", "workers: 1"))
