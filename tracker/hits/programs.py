"""Whether an agent is a program's and no browser's: by its shape, and by crawlerdetect's public list. Pure.

Each was tried on the agents of some 37,000 devices and 7,000 crawlers (tests/tracker/test_agents_at_large).
"""

from __future__ import annotations

import re

from crawlerdetect import CrawlerDetect

# What browsers of every age name of the machine they run on, or of themselves.
_PLATFORM = re.compile(
    r"Windows|Win(?:9|NT|16|32|64)|Mac|Linux|X11|Android|Andr0id|\bAdr\b|iPhone|iPad|iPod|iOS|MIDP|Symbian|BlackBerry"
    r"|BREW|Series|J2ME|Nokia|Samsung|CFNetwork|Dalvik|UCWEB|Opera|Tizen|web0?OS|CrOS|BSD|SunOS|PlayStation|Nintendo|Xbox"
    r"|Kindle|Amiga|Haiku|BeOS|OS/2|QNX|Darwin|watchOS|tvOS|KAIOS|Bada|Roku|HbbTV|Smart-?TV|NetFront|Obigo|Teleca|Maui"
    r"|Profile/|Configuration/|Browser|WAP|DoCoMo|Phone|MMP/|Mobile|\bTV\b|WebTV|Tablet|Motorola|MOT-|LG[-/E]|SonyEricsson"
    r"|SIE-|Alcatel|ZTE|Huawei|HarmonyOS|Sanyo|Sharp|Philips|Panasonic|KTOUCH|Palm|RISC OS|Charon|Inferno|Links \(|Lynx"
    r"|w3m|NetSurf|Dillo|Emacs|Mosaic|Netscape|Gecko|WebKit|KHTML|Presto|Trident|MSIE|Watch|Web0S|FBAN/",
    re.I,
)
_IMPOSTOR = re.compile(
    r"^Mozilla/5\.0 \(compatible[;)](?!.*(?:MSIE|Konqueror|Trident|Amiga|Haiku|Syllable))"
    r"|like Gecko[;,] ?(?!Safari|HEVC|Opera)[\w+]",  # a name where the engine's bracket ends
    re.I,
)
_BARE = re.compile(r"Mozilla/[45]\.0 \((?:Windows NT|Macintosh|X11)[^()]*\)[.;]?")
# Some embedded browsers say where they were had; "android@88.0.4324" is a version.
_CONTACT = re.compile(
    r"(?:https?:/|\bwww\.)(?!/?(?:www\.)?(?:bsalsa|xbmc)\b)(?!.*Opera Mini)|\S@(?=[\w-]*[a-z])[\w-]+\.[a-z]{2,}"
    r"|\[at\]|mailto:",
    re.I,
)

# The brackets that name a device, up to the name's end: there are phones called Wildfire, Spider and C Bot.
_DEVICE = re.compile(
    r"\((?:Linux; )?(?:U; )?(?:\w+; )?(?:Linux; )?(?:Android|Andr0id)[^()]*?(?:\([^()]*\)[^()]*?)*(?: Build/[^();]*|\))"
    r"|HbbTV/[\d.]+ \([^()]*\)"
)
# Internet Explorer names what is installed beside it.
_INSTALLED = re.compile(r"\((?:compatible; MSIE|Windows NT[^()]*Trident)[^()]*\)")
# Other names in which crawlerdetect sees a crawler.
_NO_CRAWLERS = re.compile(
    r"\b(?:com|ru)\.yandex\.[\w.]+(?:/[\d.]+)?|\bbaiduboxapp\S*|\bCronet/[\d.]+|\bAndroidDownloadManager/[\d.]+"
    r"|\bCaboto\b|\bQQDownload\b|\bOPPO \w+|\bTS1008\b|\bTIANYU\S*|\bSpeedy\w*|\bCortana\b|\bWebster Pro\b"
    r"|\bSlack(?:_SSB)?/[\d.]+"
    r"|\b(?:\w+Voyager|NCSA_Mosaic|VMS_Mosaic|Lynx)/.*"
    r"|\[?(?:Pinterest/(?:iOS|Android)|LinkedInApp)\]?(?:/[\d.]+)?"
)
_LONGEST = 512
_crawlers = CrawlerDetect()


def is_nonsense(agent: str) -> bool:
    """Whether there is hardly a letter in it, or what no header may hold, or a template that was never filled in."""
    return (
        sum(letter.isalpha() for letter in agent[:64]) < 2
        or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in agent)
        or "{{" in agent
        or "${" in agent
        or agent.startswith(("<", "%"))
    )


def is_unknown_program(agent: str) -> bool:
    """Whether it names nothing that people sit before; or says ``compatible`` as no browser does."""
    return _PLATFORM.search(agent) is None or _IMPOSTOR.search(agent) is not None


def names_a_contact(agent: str) -> bool:
    """Whether a web or mail address is in it."""
    return _CONTACT.search(agent) is not None


def is_bare(agent: str) -> bool:
    """Whether it is a desktop's, yet names neither engine nor browser."""
    return _BARE.fullmatch(agent) is not None


def is_crawler(agent: str) -> bool:
    """Whether crawlerdetect's public list names this agent, names of devices apart; half a millisecond for an agent of
    the usual length, so that a long one is cut."""
    return bool(_crawlers.is_crawler(_NO_CRAWLERS.sub("", less_device(agent))[:_LONGEST]))


def less_installed(agent: str) -> str:
    """The agent without the name of the device, and what Internet Explorer says is installed."""
    return _INSTALLED.sub("", less_device(agent))


def less_device(agent: str) -> str:
    """The agent without the name of the phone, tablet or television."""
    return _DEVICE.sub("", agent)
