"""What an agent tells of device, system and program, without versions. Pure.

ua-parser knows the browsers; mail programs, image proxies and devices are told here. ``family`` puts the three into
words, for those who keep no more than that, and ``client_of`` reads both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ua_parser import BasicResolver, Domain, load_lazy_builtins

UNKNOWN = "unknown"
"""What is not told."""


class Client(NamedTuple):
    """What somebody used: ``device`` is one of DEVICES or UNKNOWN."""

    device: str
    system: str
    client: str


DEVICES = ("desktop", "phone", "tablet", "tv", "console", "reader", "watch")

_PROXIES = {
    "Gmail": re.compile(r"GoogleImageProxy|Gmail-content-sampling|Edge/12\.246 Mozilla/5\.0"),
    "Yahoo Mail": re.compile(r"YahooMailProxy"),
    "Outlook.com": re.compile(r"OutlookImageProxy"),
    "Seznam": re.compile(r"SeznamEmailProxy"),
    "Rambler": re.compile(r"RamblerMail"),
    "Ukr.net": re.compile(r"mail\.ukr\.net proxy"),
    "Apple Mail": re.compile(r"^Mozilla/5\.0$"),
}
"""What fetches for mail programs; the system is the proxy's own and tells nothing."""

_MAIL_PROGRAMS = {
    "Thunderbird": re.compile(r"Thunderbird/|Betterbird/|Icedove/"),
    "Outlook": re.compile(r"Outlook|\bms-office\b|MSOffice|^Microsoft Office/"),
    "Microsoft Office": re.compile(r"^Microsoft Office "),
    "Samsung Email": re.compile(r"Samsung ?Email|com\.samsung\.android\.email", re.I),
    "Yahoo Mail": re.compile(r"YahooMobile(?:Mail)?/"),
    "AOL": re.compile(r"\bAOL[ /]|AOLMail"),
    "K-9 Mail": re.compile(r"\bK-9\b"),
    "eM Client": re.compile(r"eM ?Client", re.I),
    "Spark": re.compile(r"^Spark/|SparkDesktop|Sparkmail"),
    "Apple Mail": re.compile(
        r"AppleMail|^Mail/\d"
        r"|(?:Macintosh|iPhone|iPad|iPod)[^()]*\) AppleWebKit/\S+ \(KHTML, like Gecko\)(?: Mobile/\w+)?$"
    ),
}
_IN_APPS = {
    "Facebook": re.compile(r"\bFBAN/|\bFB_IAB/|\bFBAV/|MetaIAB Facebook"),
    "LinkedIn": re.compile(r"LinkedInApp"),
    "WeChat": re.compile(r"MicroMessenger/"),
    "LINE": re.compile(r"\bLine/\d"),
    "DuckDuckGo": re.compile(r"\bDuckDuckGo/|\bDdg/"),
    "Vivaldi": re.compile(r"\bVivaldi/"),
}
_NAMED = frozenset((*_PROXIES, *_MAIL_PROGRAMS, *_IN_APPS, "other"))
_SAME = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Android WebView",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "iOS WebView",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Opera Mobile": "Opera",
    "IE": "Internet Explorer",
    "IE Mobile": "Internet Explorer",
    "Android": "Android Browser",
}
_SYSTEMS = {
    "Mac OS X": "macOS",
    "Mac OS": "macOS",
    "Chrome OS": "ChromeOS",
    "ATV OS X": "tvOS",
    "Web0S": "webOS",
    "WatchOS": "watchOS",
    **dict.fromkeys(
        ("Ubuntu", "Debian", "Fedora", "Red Hat", "CentOS", "Gentoo", "SUSE", "Slackware", "Mint"), "Linux"
    ),
    **dict.fromkeys(("Kubuntu", "Mandriva", "Arch Linux", "Linux Mint", "Lubuntu", "Raspbian"), "Linux"),
}
_APPLE_APPS = re.compile(r"Outlook-iOS|\.iphone\b")

_DEVICES = (
    (
        "tv",
        re.compile(
            r"Smart-?TV|HbbTV|Apple ?TV|Google ?TV|Android ?TV|\bTV\b|BRAVIA|\bAFT\w|Roku|Web0S|NetCast|CrKey", re.I
        ),
    ),
    ("console", re.compile(r"PlayStation|Nintendo|Xbox", re.I)),
    ("reader", re.compile(r"Kindle/|Kobo|nook browser|PocketBook|\bEBRD")),
    ("watch", re.compile(r"Apple ?Watch|watchOS|\bSM-R\d\d\d|\bWear OS", re.I)),
    ("tablet", re.compile(r"iPad|Tablet(?! ?PC)|PlayBook|\bKF[A-Z]{2,5}\b|\bSM-[TXP]\d{3}", re.I)),
    (
        "phone",
        re.compile(
            r"iPhone|iPod|Mobi|Phone|BlackBerry|Symbian|MIDP|Nokia|KAIOS|Opera Mini|UP\.Browser|WAP|DoCoMo", re.I
        ),
    ),
    ("tablet", re.compile(r"^Mozilla/.*Android")),  # browsers on phones say Mobile
    ("phone", re.compile(r"Android")),
    ("desktop", re.compile(r"Windows|Macintosh|Mac OS|X11|CrOS|Linux (?:x86|i\d86|arm|aarch)|Win(?:9|NT)|BSD")),
)
_USUAL = {"Windows": "desktop", "macOS": "desktop", "Linux": "desktop", "ChromeOS": "desktop", "iOS": "phone"} | {
    "Android": "phone"
}
"""The device that goes without saying."""

_WORDS = re.compile(rf"(?P<client>.+?)(?: on (?P<system>[\w ./+-]{{2,30}}?))?(?: \((?P<device>{'|'.join(DEVICES)})\))?")
_NAME = re.compile(r"[A-Za-z][\w .!+-]{0,40}")
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z-]{0,30}")

_resolve = BasicResolver(load_lazy_builtins())


@lru_cache(maxsize=8192)
def family(agent: str) -> str:
    """The program, system and, where it is not the usual one, device of an agent, without versions, such as ``Firefox
    on Windows`` or ``Safari on iOS (tablet)``; ``other`` where unknown. Of what it made it makes the same again."""
    agent = agent[:1024].strip()
    if _is_words(agent):
        return agent
    proxy = _first(_PROXIES, agent)
    if proxy is not None:
        return proxy
    client, system = _program(agent)
    words = client if system == UNKNOWN else f"{client} on {system}"
    usual = _USUAL.get(system, UNKNOWN)
    device = _device(agent)
    return words if device in (usual, UNKNOWN) else f"{words} ({device})"


@lru_cache(maxsize=8192)
def client_of(agent: str | None) -> Client:
    """The device, system and program of an agent, whole or as ``family`` put it."""
    words = _WORDS.fullmatch(family(agent)) if agent else None
    if words is None:
        return Client(UNKNOWN, UNKNOWN, UNKNOWN)
    client, system, device = words["client"], words["system"] or UNKNOWN, words["device"]
    return Client(device or _USUAL.get(system, UNKNOWN), system, UNKNOWN if client == "other" else client)


def _is_words(agent: str) -> bool:
    """Whether ``family`` made this."""
    words = _WORDS.fullmatch(agent)
    if words is None or "/" in words["client"] or ";" in agent:
        return False
    return words["client"] in _NAMED or (words["system"], words["device"]) != (None, None)


def _first(names: dict[str, re.Pattern[str]], agent: str) -> str | None:
    return next((name for name, pattern in names.items() if pattern.search(agent)), None)


def _program(agent: str) -> tuple[str, str]:
    """The program and the system it runs on."""
    found = _resolve(agent, Domain.USER_AGENT | Domain.OS)
    system = found.os.family if found.os else UNKNOWN
    system = "iOS" if _APPLE_APPS.search(agent) else _SYSTEMS.get(system, system)
    system = system if _NAME.fullmatch(system) and system != "Other" else UNKNOWN
    told = _first(_MAIL_PROGRAMS, agent) or _first(_IN_APPS, agent)
    if told:
        return told, system
    name = found.user_agent.family if found.user_agent and system != UNKNOWN else ""
    name = _SAME.get(name, name)
    if _NAME.fullmatch(name) and " on " not in name:
        return name, system
    product = _PRODUCT.match(agent)
    return (product.group() if product and product.group() != "Mozilla" else "other"), system


def _device(agent: str) -> str:
    return next((name for name, pattern in _DEVICES if pattern.search(agent)), UNKNOWN)
