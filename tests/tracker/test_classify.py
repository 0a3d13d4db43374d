"""The table of agents: people are people, machines are machines, each with its kind."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracker.facts import BROWSER, hit
from tracker.hits.agents import client_of
from tracker.hits.classify import alone, anew, classify, kept, signals
from tracker.hits.privacy import keep_agent
from tracker.hits.rules import RULES, RULES_VERSION
from tracker.model import HitClass, Verdict, new_id

MESSAGE = new_id()

BROWSERS = [
    BROWSER,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.0 Safari/605.1.15",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0"
    " Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0"
    " Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/130.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0"
    " Chrome/122.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
    " Edg/130.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36"
    " OPR/115.0.0.0",
    "Mozilla/5.0 (Linux; Android 13; M2102J20SG Build/TKQ1; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0"
    " Chrome/130.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
]
MAIL_CLIENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0",
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C;"
    " Microsoft Outlook 16.0.4266; ms-office)",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.5143; Pro)",
    "Outlook-iOS/723.4027091.prod.iphone (4.28.0)",
    "Outlook-Android/2.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15) AppleWebKit/605.1.15 (KHTML, like Gecko) Postbox/7.0",
]
IMAGE_PROXIES = [
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
]
MACHINES = {
    "Mozilla/5.0": "privacy_proxy",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135"
    " Safari/537.36 Edge/12.246 Mozilla/5.0": "prefetch",
    "": "scanner",
    "BarracudaCentral": "scanner",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)": "scanner",
    "Mimecast Link Scanner/1.0": "scanner",
    "python-requests/2.32.3": "bot",
    "python-httpx/0.27": "bot",
    "Python/3.11 aiohttp/3.9": "bot",
    "Go-http-client/2.0": "bot",
    "curl/8.5.0": "bot",
    "Wget/1.21": "bot",
    "Java/17.0.1": "bot",
    "okhttp/4.12.0": "bot",
    "Apache-HttpClient/4.5.13 (Java/11)": "bot",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "bot",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": "bot",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)": "bot",
    "facebookexternalhit/1.1": "bot",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/130.0 Safari/537.36": "bot",
}


@pytest.mark.parametrize("event", ["open", "click"])
@pytest.mark.parametrize("agent", BROWSERS + MAIL_CLIENTS)
def test_people(agent: str, event: str) -> None:
    verdict = classify(hit(MESSAGE, position=int(event == "click"), agent=agent))
    assert verdict.cls is HitClass.HUMAN
    assert verdict.kind == ("mail_client" if agent in MAIL_CLIENTS else "browser")
    assert verdict.rules == RULES_VERSION


@pytest.mark.parametrize("agent", IMAGE_PROXIES)
def test_image_proxies_are_a_person_s_open_and_never_a_click(agent: str) -> None:
    opened = classify(hit(MESSAGE, agent=agent))
    assert (opened.cls, opened.kind) == (HitClass.HUMAN, "image_proxy")
    assert classify(hit(MESSAGE, position=1, agent=agent)).cls is HitClass.MACHINE


@pytest.mark.parametrize(("agent", "kind"), MACHINES.items())
def test_machines(agent: str, kind: str) -> None:
    verdict = classify(hit(MESSAGE, agent=agent))
    assert (verdict.cls, verdict.kind) == (HitClass.MACHINE, kind)
    assert verdict.reason


def test_no_agent_at_all_is_a_machine() -> None:
    assert classify(hit(MESSAGE, agent=None)).kind == "scanner"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
        ("purpose", "Prefetch"),
    ],
)
def test_prefetches_are_machines_whatever_the_browser(name: str, value: str) -> None:
    assert classify(hit(MESSAGE, headers={name: value})).kind == "prefetch"


def test_head_is_a_machine_whatever_the_browser() -> None:
    assert classify(hit(MESSAGE, method="HEAD")).kind == "head"


def test_early_is_no_proof() -> None:
    assert classify(hit(MESSAGE, at=0.0)) == classify(hit(MESSAGE, at=1e10))


def test_what_a_hit_showed_by_itself_is_known_by_its_rule() -> None:
    verdict = classify(hit(MESSAGE))
    repeat = replace(verdict, kind="repeat", reason="again within 10 s (browser)")
    assert alone(verdict.rule, repeat) == verdict
    assert alone(None, repeat).kind == "browser"
    assert alone("of a later version", verdict) == verdict


@pytest.mark.parametrize("mode", ["full", "family", "none"])
@pytest.mark.parametrize("event", ["open", "click"])
@pytest.mark.parametrize("agent", [*BROWSERS, *MAIL_CLIENTS, *IMAGE_PROXIES, *MACHINES, None])
def test_what_is_kept_leads_to_the_same_verdict(agent: str | None, event: str, mode: str) -> None:
    seen = hit(MESSAGE, position=int(event == "click"), agent=agent, headers={"purpose": "unknown"})
    verdict = classify(seen)
    stored = replace(seen, agent=keep_agent(agent, mode), whole=mode == "full")
    told = json.loads(json.dumps(signals(stored, verdict)))
    scanner = replace(verdict, cls=HitClass.MACHINE, kind="scanner", reason="in a burst")
    for final in (verdict, replace(verdict, kind="repeat"), scanner):
        assert anew(kept(event, stored.agent, told, final)) == verdict


def test_a_hit_whose_signals_were_erased_keeps_what_is_known_of_it() -> None:
    verdict = replace(classify(hit(MESSAGE)), rules=1)
    again = anew(kept("click", None, None, replace(verdict, kind="repeat", reason="again within 10 s (mail_client)")))
    assert (again.cls, again.kind, again.rules) == (HitClass.HUMAN, "mail_client", RULES_VERSION)


def test_the_whole_agent_is_judged_by_the_rules_of_today() -> None:
    wrong = Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1, "browser")
    told = {"method": "GET", "rule": "browser", "agent": "whole"}
    assert anew(kept("click", "Hello, world", told, wrong)).cls is HitClass.MACHINE
    assert anew(kept("click", "Hello, world", {"method": "GET", "rule": "browser"}, wrong)).cls is HitClass.HUMAN
    assert anew(kept("click", BROWSER, {"method": "HEAD", "rule": "browser"}, wrong)).kind == "head"


def test_a_name_that_is_known_only_today_is_found_in_the_family() -> None:
    before = Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1, "browser")
    told = {"method": "GET", "rule": "browser"}
    assert anew(kept("click", "Barracuda on Windows", told, before)).kind == "scanner"
    assert anew(kept("click", "Chrome on Windows", told, before)).kind == "browser"


def test_names_of_rules_are_one_each() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    kinds = {HitClass.HUMAN: {"browser", "mail_client", "image_proxy"}}
    kinds[HitClass.MACHINE] = {"prefetch", "privacy_proxy", "scanner", "bot", "head"}
    assert all(rule.kind in kinds[rule.cls] and rule.source and rule.reason for rule in RULES)


def test_verdicts_on_agents_are_remembered_within_bounds() -> None:
    classify(hit(MESSAGE))
    begun = time.process_time()
    for _ in range(1000):
        classify(hit(MESSAGE))
    assert time.process_time() - begun < 5


HOSTILE = [
    "Mozilla/5.0 " + "(" * 60_000,
    "a" * 60_000,
    "Chrome/" * 10_000,
    " " * 60_000 + "x",
    "a@" + "a" * 2000,
    "a@" * 600,
    "Mozilla/5.0 (Linux; Android " + "(x) " * 400,
    "http://Opera " * 200,
    "like Gecko;" * 200,
    "1.1" * 400,
    "; " * 600,
]


@pytest.mark.parametrize("agent", HOSTILE)
def test_a_hostile_agent_costs_little(agent: str) -> None:
    begun = time.process_time()
    classify(hit(MESSAGE, agent=agent))
    client_of(agent)
    assert time.process_time() - begun < 5


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_agent_is_judged(agent: str) -> None:
    assert classify(hit(MESSAGE, agent=agent)).reason
