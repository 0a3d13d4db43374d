"""Person or machine, and why: a table of rules over what one request shows. Pure; nothing is dropped, only named.

Being early is no proof, so time plays no part here; what hits show of each other is ``judging``'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from crawlerdetect import CrawlerDetect

from tracker.model import Hit, HitClass, Verdict

RULES_VERSION = 1
"""Raised with every change of the table, so that old verdicts can be told from new ones."""

SIGNAL_HEADERS = ("sec-purpose", "purpose", "x-purpose", "x-moz")
"""The request headers that the rules look at, and that are kept with the event."""

_PREFETCH = re.compile(r"prefetch|prerender|preview|instant", re.I)
_DELIVERY = re.compile(r"Chrome/42\.0\.2311\.135 Safari/537\.36 Edge/12\.246")
_PROXIES = re.compile(r"GoogleImageProxy|YahooMailProxy", re.I)
_SCANNERS = re.compile(
    r"barracuda|proofpoint|mimecast|ironport|messagelabs|symantec|trendmicro|trend micro|fortinet|fortimail|sophos"
    r"|forcepoint|websense|zscaler|checkpoint|check point|fireeye|trellix|mcafee|kaspersky|bitdefender|avast|\besets?\b"
    r"|cisco[- ]?(?:secure|esa|talos)|safelinks|linkscan|link ?(?:check|scann)er|url ?scan|urldefense|virustotal"
    r"|phishtank|netcraft|cloudmark|vade ?(?:secure|retro)|hornetsecurity|retarus|spamassassin|rspamd|abusix"
    r"|microsoft-?(?:defender|atp)|threat|sandbox|antivirus|malware|phish",
    re.I,
)
_PROGRAMS = re.compile(
    r"^(?:python|aiohttp|httpx|go-http-client|curl|wget|libwww|lwp|java/|okhttp|apache-httpclient|axios|node|got\b|undici"
    r"|ruby|faraday|php|guzzle|perl|postman|insomnia|http_?client|dart|reqwest|ureq|hyper|winhttp|powershell)"
    r"|headlesschrome|phantomjs|selenium|puppeteer|playwright|WindowsPowerShell|CFNetwork-?Test",
    re.I,
)
_MAIL_CLIENTS = re.compile(
    r"thunderbird/|Microsoft Outlook|ms-office|Outlook-(?:iOS|Android)|outlook/|Microsoft Office/|MSOffice|MacOutlook"
    r"|Mail/\d|AppleMail|Airmail|Spark/|eM ?Client|Postbox/|Lotus-Notes|KMail|Evolution/|Claws|Mailbird|SamsungEmail"
    r"|BlueMail|Zimbra|Superhuman|CanaryMail|Mailspring|K-9|FairEmail",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table: when it ``applies``, the hit is of this class and kind, for this reason. ``name`` is kept
    with the hit, so it never comes to mean something else."""

    name: str
    cls: HitClass
    kind: str
    reason: str
    applies: Callable[[Hit, str], bool]


def _prefetch(headers: Mapping[str, str]) -> bool:
    return any(_PREFETCH.search(headers.get(name, "")) for name in SIGNAL_HEADERS)


@lru_cache(maxsize=4096)
def is_crawler(agent: str) -> bool:
    """Whether crawlerdetect's public list names this agent; slow, hence remembered for the agents last seen."""
    return bool(CrawlerDetect().isCrawler(agent))


_HUMAN, _MACHINE = HitClass.HUMAN, HitClass.MACHINE
RULES = (
    Rule("head", _MACHINE, "head", "a HEAD request: nobody saw anything", lambda hit, agent: hit.method == "HEAD"),
    Rule(
        "prefetch",
        _MACHINE,
        "prefetch",
        "the request calls itself a prefetch",
        lambda hit, agent: _prefetch(hit.headers),
    ),
    Rule(
        "mpp",
        _MACHINE,
        "privacy_proxy",
        "exactly Mozilla/5.0: Apple's privacy protection fetches whether or not anybody reads",
        lambda hit, agent: agent == "Mozilla/5.0",
    ),
    Rule("agentless", _MACHINE, "scanner", "no agent named", lambda hit, agent: not agent),
    Rule(
        "image-proxy",
        _HUMAN,
        "image_proxy",
        "an image proxy that fetches when a person opens",
        lambda hit, agent: hit.event == "open" and bool(_PROXIES.search(agent)),
    ),
    Rule(
        "proxy-click",
        _MACHINE,
        "scanner",
        "an image proxy follows no links for people",
        lambda hit, agent: bool(_PROXIES.search(agent)),
    ),
    Rule(
        "gmail-delivery",
        _MACHINE,
        "prefetch",
        "the agent of Gmail's fetch at delivery time",
        lambda hit, agent: bool(_DELIVERY.search(agent)),
    ),
    Rule(
        "scanner",
        _MACHINE,
        "scanner",
        "a mail security scanner's agent",
        lambda hit, agent: bool(_SCANNERS.search(agent)),
    ),
    Rule(
        "program",
        _MACHINE,
        "bot",
        "a program's agent, not a browser's",
        lambda hit, agent: bool(_PROGRAMS.search(agent)),
    ),
    Rule("mail-client", _HUMAN, "mail_client", "a mail program", lambda hit, agent: bool(_MAIL_CLIENTS.search(agent))),
    Rule("crawler", _MACHINE, "bot", "a known crawler's agent", lambda hit, agent: is_crawler(agent[:1024])),
    Rule("browser", _HUMAN, "browser", "an ordinary browser", lambda hit, agent: True),
)
"""First that applies wins; the last always does."""

_BY_NAME = {rule.name: rule for rule in RULES}


def classify(hit: Hit) -> Verdict:
    """What one request shows by itself. ``hit.headers`` has lower-case names; the agent must be the whole one."""
    agent = (hit.agent or "").strip()
    rule = next(rule for rule in RULES if rule.applies(hit, agent))
    return Verdict(rule.cls, rule.kind, rule.reason, RULES_VERSION, rule.name)


def alone(rule: str | None, verdict: Verdict) -> Verdict:
    """What a stored hit showed by itself: by the name of the rule that was kept with it, else, where that is not known
    here, as far as the verdict that was kept tells."""
    known = _BY_NAME.get(rule or "")
    if known is not None:
        return Verdict(known.cls, known.kind, known.reason, verdict.rules, known.name)
    kind = verdict.reason.partition("(")[2].rstrip(")") if verdict.kind == "repeat" else ""
    return replace(verdict, kind=kind) if kind else verdict
