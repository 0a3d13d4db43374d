"""What is worth a word though it is no error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.config import load_config
from relay.doubts import doubts
from relay.reception.vendors import VENDORS
from tests.config.conftest import Load, Problems

HOSTS = {
    "Mailgun": "smtp.eu.mailgun.org",
    "Postmark": "smtp.postmarkapp.com",
    "SendGrid": "smtp.sendgrid.net",
    "Mandrill": "smtp.mandrillapp.com",
    "SparkPost": "smtp.sparkpostmail.com",
    "Amazon SES": "email-smtp.us-east-1.amazonaws.com",
    "Mailjet": "in-v3.mailjet.com",
}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_a_smarthost_that_tracks_by_itself_is_named_with_its_place_and_its_header(tmp_path: Path, vendor) -> None:
    file = tmp_path / "config.yaml"
    host = HOSTS[vendor.name]
    file.write_text(
        f"relay:\n  smarthost:\n    host: {host}\nsenders:\n- match: a\n- match: b\n  smarthost: {{host: {host}}}\n"
    )
    told: list[str] = []
    load_config(file, {}, None, doubts, told.append)
    assert [each.split(": warning: ")[0] for each in told] == [
        f"{file}:3: relay.smarthost.host",
        f"{file}:7: senders[1].smarthost.host",
    ]
    assert all(vendor.name in each and vendor.off in each for each in told)


def test_other_smarthosts_are_worth_no_word(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("relay: {smarthost: {host: smtp.example.com}}\nsenders: [{match: a, smarthost: {host: sandbox}}]\n")
    told: list[str] = []
    load_config(file, {}, None, doubts, told.append)
    assert told == []


FORM = "bounces+{token}@b.test"


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (["127.0.0.1:25"], True),
        (["[::1]:25", "localhost:25"], True),
        (["127.0.0.1:25", "192.0.2.4:25"], False),
        (["0.0.0.0:25"], False),
        (["[::]:25"], False),
    ],
)
def test_a_bounce_address_that_nobody_outside_can_reach_is_worth_a_word(tmp_path: Path, listen, said) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"relay:\n  listen: {json.dumps(listen)}\n  smarthost: {{host: smtp.example.com}}\n"
        f"senders:\n- match: a\n- match: b\n  bounces: {{address: '{FORM}'}}\n"
    )
    told: list[str] = []
    load_config(file, {}, None, doubts, told.append)
    assert [each.partition(": warning: relay.listen is on this machine only")[0] for each in told] == (
        [f"{file}:7: senders[1].bounces"] if said else []
    )


def test_a_bounce_address_that_no_mail_would_bear_is_worth_a_word(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "relay: {listen: ['0.0.0.0:25'], smarthost: {host: a.test}, delivery: proxy, auth: {passthrough: true}}\n"
        f"senders: [{{match: a, bounces: {{address: '{FORM}'}}}}]\n"
    )
    told: list[str] = []
    load_config(file, {}, None, doubts, told.append)
    assert len(told) == 1
    assert "with relay.auth.passthrough mail keeps the reverse-path" in told[0]


def test_a_parameter_that_could_never_be_filled_in_is_an_error(problems: Problems, load: Load) -> None:
    text = "senders: [{match: a, url_params: {a: '%s'}}]"
    for value, found in (("{{ foo }}", "{{ foo }}"), ("x{{unsubscribe_url}}", "{{unsubscribe_url}}")):
        (problem,) = problems(text % value)
        assert problem.startswith(f"config.yaml:1: senders[0].url_params.a: nothing is known for {found}; ")
    for value in ("news", "{{ message.tag }}", "{{metadata.order}}-{{ recipient.email }}", "{{ message.id }}"):
        assert load(text % value).senders[0].url_params == {"a": value}
