"""What a link's owner wants of it, through the running service: each recipient's own copy, the API, the preview."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
from email import policy

import pytest

from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.e2e.test_main_job import BROWSER, kept, send

SENDERS = """\
- match: "*@example.com"
  text_tracking: true
  list_unsubscribe: true
  url_params: {utm_source: news, utm_campaign: "{{ message.tag }}"}
  link_rules:
    - {match: "https://example.org/reset/*", type: never}
    - {match: "https://example.org/leave*", type: opt_out}
"""
MAIL = b"""\
From: News <news@example.com>
Subject: Offers
Message-ID: <links@example.com>
X-PM-Tag: march
X-Mailgun-Track-Opens: no
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

Offers: https://example.org/offers.
Reset: https://example.org/reset/t0ken
Leave: {{ unsubscribe_url }}
--b
Content-Type: text/html

<a href="https://example.org/offers">Offers</a>
<a href="https://example.org/reset/t0ken">Reset</a>
<a href="https://example.org/leave?a=b">Leave here</a>
<a href="https://example.org/me/{{ recipient.email }}">Me</a>
<a href="https+notrack://example.org/app">App</a>
<a href="{{ mirror_url }}">Web</a> <a href="<%asm_group_unsubscribe_raw_url%>">Leave</a>
--b--
""".replace(b"\n", b"\r\n")
PEOPLE = ["ann@example.net", "bob@example.net"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with tracepost(tmp_path_factory.mktemp("links"), senders=SENDERS) as running:
        yield running


@pytest.fixture(scope="module")
def copies(service: Tracepost) -> list[bytes]:
    send(service, MAIL, PEOPLE)
    return eventually(lambda: found if len(found := kept(service)) == len(PEOPLE) else None)


def bodies(copy: bytes) -> tuple[str, str]:
    mail = email.message_from_bytes(copy, policy=policy.default)
    return tuple(mail.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))


def test_each_recipient_has_links_of_its_own(copies):
    seen = [set(re.findall(rb"http://track\.test(/[ocum]/[\w-]+)", copy)) for copy in copies]
    # one opt-out, in text, page and header; one web copy; four clicks
    assert [len(tokens) for tokens in seen] == [6, 6]
    assert not seen[0] & seen[1]


def test_what_must_stay_stays_and_what_must_go_goes(copies):
    for copy in copies:
        text, page = bodies(copy)
        assert "Reset: https://example.org/reset/t0ken\n" in text
        assert '<a href="https://example.org/reset/t0ken">Reset</a>' in page
        assert '<a href="https://example.org/app">App</a>' in page
        assert not re.search(rb"X-PM|X-Mailgun|notrack|unsubscribe_url|<%|/o/", copy)
        assert re.search(r"Offers: http://track\.test/c/[\w-]+\.\n", text)
        header = email.message_from_bytes(copy, policy=policy.default)["List-Unsubscribe"]
        assert re.search(r"http://track\.test/u/[\w-]+", text)[0] in header
        assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in copy


def test_links_lead_where_they_should_and_are_counted_as_what_they_are(service, copies):
    targets = set()
    for copy in copies:
        for path in re.findall(r"http://track\.test(/c/[\w-]+)", bodies(copy)[1]):
            answer = service.web.get(path, headers={"User-Agent": BROWSER})
            targets.add(answer.headers["location"])
    assert targets == {
        "https://example.org/offers?utm_source=news&utm_campaign=march",
        "https://example.org/leave?a=b",
        "https://example.org/me/ann%40example.net?utm_source=news&utm_campaign=march",
        "https://example.org/me/bob%40example.net?utm_source=news&utm_campaign=march",
    }
    row = eventually(
        lambda: row if (row := service.message("links@example.com"))["opt_out_clicks"] == len(copies) else None
    )
    assert (row["tag"], row["clicks"]) == ("march", 4)


def test_the_api_says_what_each_link_is_and_why(service, copies):
    id = service.message("links@example.com")["id"]
    items = service.web.get(f"/api/v1/messages/{id}/links").json()["items"]
    assert [(item["url"], item["type"], item["reason"]) for item in items] == [
        ("https://example.org/offers", "tracked", "default"),
        ("https://example.org/reset/t0ken", "never", "rule https://example.org/reset/*"),
        ("https://example.org/leave?a=b", "opt_out", "rule https://example.org/leave*"),
        ("https://example.org/me/{{ recipient.email }}", "tracked", "default"),
        ("https+notrack://example.org/app", "never", "scheme +notrack"),
        ("{{ mirror_url }}", "mirror", "placeholder"),
        ("<%asm_group_unsubscribe_raw_url%>", "opt_out", "placeholder"),
        ("https://example.org/offers", "tracked", "default"),
        ("https://example.org/reset/t0ken", "never", "rule https://example.org/reset/*"),
        ("{{ unsubscribe_url }}", "opt_out", "placeholder"),
    ]


def test_the_preview_shows_the_same(service, copies):
    mail = service.folder / "mail.eml"
    mail.write_bytes(MAIL)
    command = [sys.executable, "-m", "relay.cli", "preview", str(mail), "-c", str(service.folder / "config.yaml")]
    answer = subprocess.run(
        [*command, "--recipient", "ann@example.net", "--json"], capture_output=True, text=True, check=True
    )
    shown = json.loads(answer.stdout)
    id = service.message("links@example.com")["id"]
    items = service.web.get(f"/api/v1/messages/{id}/links").json()["items"]
    keys = ("position", "label", "type", "reason", "tracked")
    assert [[link[key] for key in keys] for link in shown["links"]] == [[item[key] for key in keys] for item in items]
    assert (shown["category"], shown["list_unsubscribe"], shown["tag"]) == ("marketing", True, "march")
