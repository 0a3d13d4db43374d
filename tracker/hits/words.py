"""The words by which agents are known, for the rules. Pure. Each is tried on a whole agent, whatever its case."""

from __future__ import annotations

import re
from collections.abc import Callable

from tracker.hits.programs import less_installed

Search = Callable[[str], object]


def _words(*patterns: str) -> Search:
    return re.compile("|".join(patterns), re.I).search


def _words_less_installed(*patterns: str) -> Search:
    search = _words(*patterns)
    return lambda agent: search(less_installed(agent))


GMAIL_DELIVERY = _words(r"Chrome/42\.0\.2311\.135 Safari/537\.36 Edge/12\.246")
GMAIL_SAMPLING = _words(r"Gmail-content-sampling")
OFFICE_DISCOVERY = _words(r"Microsoft Office (?:Existence|Protocol) Discovery")
IMAGE_PROXIES = _words(
    r"GoogleImageProxy",
    r"YahooMailProxy",
    r"OutlookImageProxy",
    r"SeznamEmailProxy",
    r"RamblerMail.*ImageProxy",
    r"mail\.ukr\.net proxy",
)
SECURITY = _words_less_installed(
    r"barracuda",
    r"proofpoint",
    r"urldefense",
    r"mimecast",
    r"safe ?links",
    r"microsoft[- ]?(?:defender|atp|safe)",
    r"ironport",
    r"cisco[- ]?(?:secure|esa|talos|umbrella)",
    r"talos ?intelligence",
    r"messagelabs",
    r"symantec",
    r"broadcom",
    r"blue ?coat",
    r"trend ?micro",
    r"\bTMES\b",
    r"forti(?:net|mail|guard|sandbox)",
    r"sophos",
    r"forcepoint|websense",
    r"zscaler",
    r"check ?point",
    r"palo ?alto|pan-?os\b",
    r"fireeye|trellix|mandiant",
    r"mcafee[/ -]?(?:web|email|gateway|url|scan|site)",
    r"kaspersky",
    r"bitdefender",
    r"avira (?:url|link|mail|scan)",
    r"\bESET (?:link|url|mail|scan)",
    r"f-?secure",
    r"dr\.?web",
    r"clamav",
    r"hornetsecurity|antispameurope",
    r"vade ?(?:secure|retro)|\bvadesecure",
    r"retarus",
    r"cloudmark",
    r"egress[ /-]defend",
    r"ironscales",
    r"inky\b",
    r"abnormal ?security",
    r"avanan",
    r"tessian",
    r"spam ?(?:assassin|experts|haus|titan)",
    r"rspamd",
    r"abusix",
    r"netcraft",
    r"phish",
    r"google-?safe(?:ty|browsing)",
    r"url ?scan",
    r"virus ?total",
    r"joe ?sandbox|any\.run|hybrid-analysis|cuckoo",
    r"link ?(?:scan(?:ner)?|check(?:er)?|protect)\b",
    r"threat",
    r"anti-?virus",
    r"malware",
    r"scann(?:er|ing)\b|\w+Scan/\d",
    r"(?:url|mail|email|domain|security|vulnerability)[- ]scan",
)
PREVIEWS = _words(
    r"Slackbot|Slack-Img",
    r"Twitterbot",
    r"^WhatsApp",
    r"facebookexternalhit|facebookcatalog|Facebot|meta-external",
    r"TelegramBot",
    r"Discordbot",
    r"SkypeUriPreview",
    r"LinkedInBot",
    r"BingPreview",
    r"Google-PageRenderer",
    r"Viber(?:UrlDownloader)?$",
    r"Iframely|Embedly",
    r"redditbot|Pinterestbot|vkShare|Mastodon/|Bluesky",
    r"Microsoft ?Teams ?(?:bot|preview)|TeamsBot",
)
MONITORS = _words(
    r"ThousandEyes",
    r"NewRelic|Datadog|Synthetics",
    r"Dotcom-Monitor",
    r"AppInsights",
    r"Catchpoint",
    r"Checkly",
    r"Pingdom|UptimeRobot|StatusCake|Site24x7|GTmetrix|BetterUptime|Better Stack",
    r"CloudflareDiagnostics|Cloudflare-",
)
LIBRARIES = _words(
    r"^(?:Python|aiohttp|httpx|Go-http-client|Go \d|curl|Wget|libwww|lwp|Java/|okhttp|Apache-HttpClient|axios|node"
    r"|got\b|undici|Ruby|Faraday|PHP|Guzzle|perl|Postman|insomnia|http_?client|Dart|reqwest|ureq|hyper|WinHttp|PowerShell)",
    r"python-requests|python-urllib|WindowsPowerShell",
    r"HTTPClient|HTTP Client",
    r"Microsoft-CryptoAPI|Microsoft BITS|Microsoft-WebDAV",
)
HEADLESS = _words(
    r"Headless",
    r"PhantomJS",
    r"Selenium",
    r"Puppeteer",
    r"Playwright",
    r"SlimerJS",
    r"\bCypress/",
    r"\bsplash Version/",
    r"\bChrome-Lighthouse",
)
MAIL_PROGRAMS = _words(
    r"Thunderbird/",
    r"Betterbird/",
    r"Icedove/",
    r"\bOutlook(?:-(?:iOS|Android)|/|-Express)",
    r"Microsoft (?:Office )?Outlook",
    r"\bms-office\b|MSOffice|MacOutlook",
    r"^Microsoft Office(?!.*Existence Discovery)",
    r"^Mail/\d.*CFNetwork|AppleMail",
    r"Airmail",
    r"\bSparkmail|^Spark/|SparkDesktop",
    r"eM ?Client",
    r"Postbox/",
    r"Lotus-?Notes|HCL-Notes",
    r"\bk[mM]ail",
    r"Evolution/",
    r"Claws ?Mail",
    r"Mailbird",
    r"Samsung ?Email|com\.samsung\.android\.email",
    r"Blue ?Mail",
    r"Zimbra ?(?:Desktop|Mobile)",
    r"Superhuman",
    r"Canary ?Mail",
    r"Mailspring",
    r"\bK-9(?: Mail)?/",
    r"FairEmail",
    r"The ?Bat!",
    r"SeaMonkey.*Mail",
    r"YahooMobile(?:Mail)?/",
    r"AOLMail|AOL (?:Mail|Desktop)",
    r"GMXMail|WEB\.DE Mail|GMX Mail|\bwebde(?:mail)?/|1und1Mail",
    r"myMail|Mail\.ru (?:Android|iOS)",
    r"ProtonMail|Proton Mail",
    r"Fastmail",
    r"\bHEY(?: Mail)?/",
    r"Newton ?Mail|CloudMagic",
    r"TypeApp|Nine/|Aqua Mail|AquaMail",
    r"Windows(?:Live| Live)? ?Mail",
)
