"""The table of rules over what one request shows, first that applies wins. Pure.

People must never be taken for machines, so whatever names a browser or a mail program and nothing that speaks against
it is a person. Being early is no proof: time plays no part. docs/classification.md shows this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tracker.hits import words
from tracker.hits.programs import (
    is_bare,
    is_crawler,
    is_nonsense,
    is_unknown_program,
    names_a_contact,
)
from tracker.model import HitClass

RULES_VERSION = 2
"""Raised with every change of the table, so that old verdicts can be told from new ones."""

SIGNAL_HEADERS = ("sec-purpose", "purpose", "x-purpose", "x-moz")
"""The request headers that the rules look at, in this order, and that are kept with the event."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table: a hit to which it applies is of this class and kind, for this reason, as its ``source``
    has it. ``name`` is kept with the hit, so it never comes to mean something else."""

    name: str
    cls: HitClass
    kind: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class RequestRule(Rule):
    """A rule over method and headers, whose names are in lower case."""

    applies: Callable[[str, Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class AgentRule(Rule):
    """A rule over the agent, trimmed and cut to its first thousand characters; ``event`` limits it to opens or
    clicks. One ``by_name`` can be tried on what is left of an agent that was cut down to its family, too."""

    applies: Callable[[str], object]
    event: str | None = None
    by_name: bool = False


_PREFETCH = re.compile(r"prefetch|prerender|preview|instant", re.I)


def _prefetches(method: str, headers: Mapping[str, str]) -> bool:
    return any(_PREFETCH.search(headers.get(name, "")) for name in SIGNAL_HEADERS)


_HUMAN, _MACHINE = HitClass.HUMAN, HitClass.MACHINE

REQUEST_RULES = (
    RequestRule(
        "head",
        _MACHINE,
        "head",
        "a HEAD request: nobody saw anything",
        "RFC 9110 section 9.3.2; civicrm PR 35328, mail-tracker PR 200",
        lambda method, headers: method == "HEAD",
    ),
    RequestRule(
        "prefetch",
        _MACHINE,
        "prefetch",
        "the request calls itself a prefetch",
        "Fetch standard (Sec-Purpose); Chromium and WebKit (Purpose, X-Purpose: preview); Firefox (X-Moz)",
        _prefetches,
    ),
)

AGENT_RULES = (
    AgentRule(
        "mpp",
        _MACHINE,
        "privacy_proxy",
        "exactly Mozilla/5.0: Apple's privacy protection fetches whether or not anybody reads",
        "help.socketlabs.com: identifying Apple MPP opens; wordtothewise.com, September 2021",
        lambda agent: agent == "Mozilla/5.0",
    ),
    AgentRule(
        "agentless",
        _MACHINE,
        "scanner",
        "no agent named",
        "RFC 9110 section 10.1.5: every browser sends one; mail gateways often do not",
        lambda agent: not agent,
    ),
    AgentRule(
        "nonsense",
        _MACHINE,
        "bot",
        "an agent that is no text",
        "no browser sends one",
        is_nonsense,
    ),
    AgentRule(
        "gmail-sampling",
        _MACHINE,
        "scanner",
        "Gmail samples what links lead to",
        "mssola/user_agent#71",
        words.GMAIL_SAMPLING,
    ),
    AgentRule(
        "gmail-delivery",
        _MACHINE,
        "prefetch",
        "the agent of Gmail's fetch at delivery time",
        "gmass.co: false opens in Gmail; mautic PR 10245, ahoy_email#139",
        words.GMAIL_DELIVERY,
    ),
    AgentRule(
        "image-proxy",
        _HUMAN,
        "image_proxy",
        "an image proxy that fetches when a person opens",
        "uap-core PR 170 (Gmail); help.yahoo.com SLN28749 (Yahoo); Matomo's list (Seznam, Rambler, Ukr.net)",
        words.IMAGE_PROXIES,
        "open",
    ),
    AgentRule(
        "proxy-click",
        _MACHINE,
        "scanner",
        "an image proxy follows no links for people",
        "what image proxies are for, as above",
        words.IMAGE_PROXIES,
        "click",
    ),
    AgentRule(
        "office-discovery",
        _MACHINE,
        "prefetch",
        "Office looks at a link before the browser does",
        "Microsoft's article 899927: Office asks for a link's target itself, then opens the browser",
        words.OFFICE_DISCOVERY,
    ),
    AgentRule(
        "mail-security",
        _MACHINE,
        "scanner",
        "a mail security scanner's agent",
        "resend-node#901, mautic#16263, Crawler-Detect#552; the vendors' names",
        words.SECURITY,
        by_name=True,
    ),
    AgentRule(
        "link-preview",
        _MACHINE,
        "bot",
        "a chat or social network looks at a link that somebody posted",
        "api.slack.com/robots, developers.facebook.com (crawler), core.telegram.org, faq.whatsapp.com and the like",
        words.PREVIEWS,
        by_name=True,
    ),
    AgentRule(
        "headless",
        _MACHINE,
        "bot",
        "a browser without a window",
        "the tools' own default agents",
        words.HEADLESS,
        by_name=True,
    ),
    AgentRule(
        "monitor",
        _MACHINE,
        "bot",
        "a service that watches web pages",
        "the services' own pages about their agents; Matomo device-detector",
        words.MONITORS,
        by_name=True,
    ),
    AgentRule(
        "contact",
        _MACHINE,
        "bot",
        "the agent says whom to write to about it, as crawlers do",
        "RFC 9309 section 2.2.1 and RFC 9110 section 10.1.5: robots name themselves; browsers bear no address",
        names_a_contact,
    ),
    AgentRule(
        "mail-program",
        _HUMAN,
        "mail_client",
        "a mail program",
        "uap-core and Matomo device-detector (their lists of mail programs)",
        words.MAIL_PROGRAMS,
    ),
    AgentRule(
        "library",
        _MACHINE,
        "bot",
        "a program's agent, not a browser's",
        "the libraries' own default agents",
        words.LIBRARIES,
        by_name=True,
    ),
    AgentRule(
        "unknown-program",
        _MACHINE,
        "bot",
        "an agent that names no system or browser",
        "Matomo device-detector: of 37,000 agents of devices a handful is so, and none is a browser's",
        is_unknown_program,
    ),
    AgentRule(
        "bare",
        _MACHINE,
        "bot",
        "a desktop browser's agent without a browser in it",
        "Matomo device-detector and fake-useragent: no browser of theirs is so",
        is_bare,
    ),
    AgentRule(
        "crawler",
        _MACHINE,
        "bot",
        "a known crawler's agent",
        "crawlerdetect (JayBizzle/Crawler-Detect's list)",
        is_crawler,
    ),
    AgentRule(
        "browser",
        _HUMAN,
        "browser",
        "an ordinary browser",
        "what is left",
        lambda agent: True,
    ),
)

RULES: tuple[RequestRule | AgentRule, ...] = (*REQUEST_RULES, *AGENT_RULES)
"""All of them in order; the last always applies."""
