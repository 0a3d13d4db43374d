"""The endpoints in the configuration."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.config import load_config
from relay.doubts import doubts
from tests.config.conftest import Load, Problems
from tests.webhooks.notices import STANDARD_SECRET, signing_pair
from tracker.webhooks.endpoint import endpoint_of
from tracker.webhooks.names import NAMES, SYNONYMS

HOOK = "tracker: {webhooks: [{url: 'https://app.example.com/hooks', %s}]}"


def wrong(problems: Problems, more: str) -> str:
    (problem,) = problems(HOOK % more)
    return problem.removeprefix("config.yaml:1: tracker.webhooks[0].")


def test_every_name_of_an_event_is_known(load: Load) -> None:
    for name in [*NAMES, *SYNONYMS]:
        load(HOOK % f"events: [{name}]")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("events: [open]", "events[0]: 'open' is no event (did you mean opened?)"),
        ("events: [sent, delivred]", "events[1]: 'delivred' is no event (did you mean delivered?)"),
        ("events: [sent, sent]", "events[1]: is given twice"),
        ("events: [sent, delivered]", "events[1]: is the same event as sent"),
        ("events: [accepted, clicked, queued]", "events[2]: is the same event as accepted"),
        ("format: standart", "format: must be standard, mailgun, postmark or sendgrid (did you mean standard?)"),
        ("format: mailgun", "secret: is required with format mailgun"),
        ("format: mailgun, secret: clé", "secret: must be ASCII"),
        ("secret: whsec_short", "secret: must be whsec_ and 24 to 64 random octets in base64"),
        ("secret: 'not base64 at all'", "secret: must be whsec_ and"),
        ("format: postmark, secret: abc", "secret: must be a header with format postmark"),
        ("format: postmark, secret: 'Host: elsewhere'", "secret: must be a header with format postmark"),
        ("format: sendgrid, secret: abc", "secret: must be a private key on P-256"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(problems: Problems, more: str, expected: str) -> None:
    assert wrong(problems, more).startswith(expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://app.example.com/", "must begin with http:// or https://"),
        ("https://:pass@app.example.com/", "user name and password"),
        ("https://app.example.com/#part", "must not have a fragment"),
        ("https:///hooks", "must name a host"),
        ("https://app.example.com/hö", "must be ASCII"),
        ("nonsense", "must begin with http"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_and_not_quoted(problems: Problems, url: str, expected: str) -> None:
    (problem,) = problems(f"tracker: {{webhooks: [{{url: '{url}'}}]}}")
    assert problem.startswith("config.yaml:1: tracker.webhooks[0].url: ")
    assert expected in problem
    assert "pass" not in problem.replace("password", "")


def test_the_same_endpoint_twice_is_refused(problems: Problems) -> None:
    hook = "{url: 'https://app.example.com/hooks', format: %s, secret: '%s'}"
    both = f"tracker: {{webhooks: [{hook % ('mailgun', 'a')}, {hook % ('mailgun', 'b')}]}}"
    (problem,) = problems(both)
    assert problem == "config.yaml:1: tracker.webhooks[1].url: is given twice with this format"


@pytest.mark.parametrize(
    ("url", "sent_to", "login"),
    [
        ("https://app.example.com/hooks/", "https://app.example.com/hooks/", None),
        ("https://app.example.com", "https://app.example.com/", None),
        ("https://APP.example.com?a=b/", "https://app.example.com?a=b/", None),
        ("https://ann:s%40fe@app.example.com:8443/x", "https://app.example.com:8443/x", b"ann:s@fe"),
        ("https://token@app.example.com/x", "https://app.example.com/x", b"token:"),
    ],
)
def test_a_url_is_kept_as_it_is_but_for_the_login(load: Load, url: str, sent_to: str, login: bytes | None) -> None:
    (hook,) = load(f"tracker: {{webhooks: [{{url: '{url}'}}]}}").tracker.webhooks
    endpoint = endpoint_of(0, hook)
    assert endpoint.url == sent_to
    expected = None if login is None else f"Basic {base64.b64encode(login).decode()}"
    assert endpoint.authorization == expected
    assert "token" not in endpoint.shown
    assert "s%40fe" not in f"{endpoint!r} {endpoint.shown} {hook!r}"


def test_secrets_of_every_format(load: Load, tmp_path: Path) -> None:
    pem, _ = signing_pair()
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        der = key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
        load(HOOK % f"format: sendgrid, secret: '{base64.b64encode(der).decode()}'")
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        load(HOOK % f"format: sendgrid, secret_file: '{tmp_path / 'key.pem'}'")
    load(HOOK % f"secret: {STANDARD_SECRET}")
    load(HOOK % f"secret: {STANDARD_SECRET.removeprefix('whsec_')}")
    load(HOOK % "format: postmark, secret: 'X-Webhook-Token: 4f5c'")
    load(HOOK % "format: mailgun, secret: 'anything'")


def test_the_key_stays_with_the_url_and_the_mark_with_nothing(load: Load) -> None:
    def endpoint(more: str):
        return endpoint_of(0, load(HOOK % more).tracker.webhooks[0])

    plain = endpoint("machine: false")
    for more in ("machine: true", f"secret: {STANDARD_SECRET}", "events: [sent]", "allow_private: true"):
        changed = endpoint(more)
        assert changed.key == plain.key
        assert changed.mark != plain.mark
    assert endpoint("format: postmark").key != plain.key


def told(folder: Path, hook: str) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(f"relay: {{smarthost: {{host: sandbox}}}}\ntracker:\n  webhooks:\n  - {hook}\n")
    said: list[str] = []
    load_config(file, {}, None, doubts, said.append)
    return [each.removeprefix(f"{file}:4: tracker.webhooks[0].") for each in said]


def test_check_warns_of_what_others_could_read_or_forge(tmp_path: Path) -> None:
    (clear, unsigned) = told(tmp_path, "{url: 'http://app.example.com/'}")
    assert clear.startswith("url: warning: ")
    assert "tracker.webhooks[0]" in unsigned or unsigned.startswith("secret: warning: ")
    assert told(tmp_path, f"{{url: 'http://10.0.0.1/', allow_private: true, secret: {STANDARD_SECRET}}}") == []
    assert told(tmp_path, "{url: 'https://a.example.com/', format: mailgun, secret: k}") == []
    assert len(told(tmp_path, "{url: 'https://a.example.com/', format: postmark}")) == 1
    assert told(tmp_path, "{url: 'https://u:p@a.example.com/', format: postmark}") == []
    assert told(tmp_path, "{url: 'https://a.example.com/', format: postmark, secret: 'X-A: b'}") == []
