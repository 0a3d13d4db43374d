"""The configuration as the dashboard shows it: every key with its purpose, and not one secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import Config, load_config
from relay.inventory import sections
from relay.keys import new_signing_key
from relay.passwords import hash_password
from tracker.reading.beside import Setting

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"


def configured(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(text)
    return load_config(file, environ)


def settings(started: Config, newest: Config | None = None) -> dict[str, Setting]:
    return {each.key: each for _, _, rows in sections(started, newest or started) for each in rows}


def test_every_key_of_the_example_is_there_with_its_purpose() -> None:
    config = load_config(EXAMPLE, {})
    found = settings(config)
    assert len(found) > 60
    assert [key for key, each in found.items() if not each.purpose] == []
    assert found["relay.retry.first"].value == "1m"
    assert found["relay.max_message_size"].value == "25MB"
    assert found["relay.listen"].value == "[127.0.0.1:2525]"
    assert found["tracker.admin_listen"].value == "null"
    assert found["senders[0].open_tracking"].value == "true"
    line = next(n for n, text in enumerate(EXAMPLE.read_text().splitlines(), 1) if "host: sandbox" in text)
    assert found["relay.smarthost.host"].source == f"{EXAMPLE}:{line}"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    keys, hashed = [new_signing_key(), new_signing_key()], hash_password("geheim-1")
    (tmp_path / "password").write_text("geheim-2")
    text = f"""
signing_keys: ["{keys[0]}", "{keys[1]}"]
relay:
  smarthost: {{host: smtp.example.com, username: me, password_file: password}}
  auth: {{users: {{shop: "{hashed}", blog: {{hash: "{hashed}", senders: ["*@blog.test"]}}}}}}
tracker:
  api_keys: ["geheim-3", {{key: "geheim-4", access: read}}]
  webhooks: [{{url: "https://hooks.test/geheim-6?key=geheim-7", format: mailgun, secret: geheim-8}}]
senders:
  - match: "*@example.com"
    link_rules: [{{match: "https://x.test/*", type: never}}]
    url_params: {{utm_source: news}}
    smarthost: {{host: other.example.com, username: you, password: "geheim-5"}}
  - match: {{user: shop}}
"""
    config = configured(tmp_path, text)
    found = settings(config)
    shown = repr(sections(config, config))
    for secret in ("geheim", hashed, *keys):
        assert secret not in shown
    hidden = {key for key, each in found.items() if each.value is None}
    assert hidden == {
        *("signing_keys", "relay.smarthost.password", "relay.auth.users.shop.hash", "relay.auth.users.blog.hash"),
        *("tracker.api_keys", "tracker.webhooks[0].secret", "senders[0].smarthost.password"),
    }
    assert found["relay.smarthost.username"].value == "me"
    assert found["tracker.webhooks[0].url"].value == "https://hooks.test/…"
    assert found["tracker.webhooks[0].format"].value == "mailgun"
    assert found["relay.auth.users.blog.senders"].value == "[*@blog.test]"
    assert found["senders[0].link_rules"].value == "[{match: https://x.test/*, type: never}]"
    assert found["senders[0].url_params"].value == "{utm_source: news}"
    assert found["senders[0].smarthost.host"].purpose == found["relay.smarthost.host"].purpose
    assert found["senders[1].match"].value == "{user: shop}"
    titles = [title for title, _, _ in sections(config, config)]
    assert titles[0] == "General"
    assert titles[-3:] == ["senders: *@example.com", "senders: *@example.com, smarthost", "senders: user:shop"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite", "sqlite"),
        ("postgresql://me:geheim@db.test:5432/mail?password=geheim", "postgresql://me@db.test/mail"),
        ("postgresql:///mail", "postgresql:///mail"),
    ],
)
def test_a_stores_url_is_shown_without_its_password(url: str, shown: str) -> None:
    config = load_config(EXAMPLE, {})
    other = config.model_copy(update={"tracker": config.tracker.model_copy(update={"store": url})})
    assert settings(other)["tracker.store"].value == shown


def test_where_a_key_was_given(tmp_path: Path) -> None:
    text = "relay:\n  smarthost:\n    host: sandbox\n  max_recipients: 7\n"
    found = settings(configured(tmp_path, text, TRACEPOST_TRACKER__TIMEZONE="Europe/Berlin"))
    assert found["relay.max_recipients"].source == f"{tmp_path / 'config.yaml'}:4"
    assert found["tracker.timezone"].source == "TRACEPOST_TRACKER__TIMEZONE"
    assert found["tracker.public_url"].source == ""


def test_what_waits_for_a_restart_and_what_does_not(tmp_path: Path) -> None:
    before = "relay: {smarthost: {host: sandbox}, hostname: a.test, max_recipients: 5}\ntracker: {api_keys: [x]}\n"
    after = "relay: {smarthost: {host: sandbox}, hostname: b.test, max_recipients: 6}\ntracker: {api_keys: [y]}\n"
    more = after + "senders: [{match: '*@example.com'}]\n"
    started, newest = configured(tmp_path, before), configured(tmp_path, more)
    found = settings(started, newest)
    assert (found["relay.hostname"].value, found["relay.hostname"].pending) == ("a.test", True)
    assert (found["relay.max_recipients"].value, found["relay.max_recipients"].pending) == ("6", False)
    assert found["senders[0].match"].value == "*@example.com"
    assert [key for key, each in found.items() if each.pending] == ["relay.hostname"]
    assert found["relay.hostname"].restart
    assert not found["tracker.api_keys"].restart
