"""A mail's HTML made fit to be looked at in a frame: nothing in it leads anywhere, and nothing elsewhere is asked for
unless the reader wants it. Pure.

What holds is the cage: the frame's sandbox and the policy that goes with it, by which no script runs, nothing loads and
no form is sent, whatever the HTML says. The text is changed only where these let something through: a frame may lead
itself on, so links lead nowhere and the page is ``inert``; connections may be opened ahead, so ``link``, ``meta`` and
``base`` are taken out. Tags are found as the HTML standard has them (section 13.2.5), wherever they stand, in comments
and style sheets too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

MOST_HOSTS = 60
"""Hosts that pictures are loaded from; a policy with more would be too long for a header."""

NOWHERE = "#"

_WS = r"\t\n\f\r "
_ATTRIBUTES = (
    rf"(?:[{_WS}/]++|[^{_WS}/>][^{_WS}/>=]*+"
    rf"(?:[{_WS}]*+=[{_WS}]*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^{_WS}>\"'][^{_WS}>]*+|(?=>)))?+)*+"
)
_ATTRIBUTE = re.compile(
    rf"([^{_WS}/>][^{_WS}/>=]*+)"
    rf"(?:[{_WS}]*+=[{_WS}]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^{_WS}>\"'][^{_WS}>]*+)|(?=>)))?+",
    re.ASCII,
)
_REACHING = re.compile(rf"<(?:link|meta|base)(?=[{_WS}/]){_ATTRIBUTES}>", re.IGNORECASE | re.ASCII)
_REACHING_STILL = re.compile(rf"<(?=(?:link|meta|base)(?:[{_WS}/>]|\Z))", re.IGNORECASE | re.ASCII)
_LEADING = re.compile(rf"<(a|area)(?=[{_WS}/])({_ATTRIBUTES})>", re.IGNORECASE | re.ASCII)
_LEADS = frozenset(("href", "xlink:href"))
_SHOWN = re.compile(
    r"""(?:[\s"'/](?:src|srcset|background|poster)[\s]*+=|(?<!@import )url\()[\s]*+("[^"]*+"|'[^']*+'|[^\s>)]++)""",
    re.IGNORECASE,
)
_REMOTE = re.compile(r"(https?:|(?<![:\w]))[/\\]{2}([a-z0-9][a-z0-9.-]*+(?::\d{1,5})?)([^\s,\"')]*+)", re.IGNORECASE)
_NO_PICTURE = re.compile(r"\.(?:css|woff2?|ttf|otf|eot)(?:[?#]|\Z)", re.IGNORECASE)
_OF_OURS = re.compile(r"/[ocum]/[A-Za-z0-9_-]{20,}(?:\.gif)?(?:[?#].*)?\Z")
_LABEL_END = re.compile(r"</?a(?=[\s/>])", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*+(?:>|\Z)")
_NEAR = 2000
_DOCTYPE = re.compile(r"\s*+<!doctype[^>]*+>", re.IGNORECASE)

_STYLE = "html{background:#fff;color:#000;color-scheme:light only}body{cursor:default}"


class Shown(NamedTuple):
    """What is shown in place of a link: where it leads (a fragment of the page itself), and HTML that goes in front of
    what it holds."""

    href: str = NOWHERE
    mark: str = ""


def caged(text: str, on_link: Callable[[str], Shown] = lambda href: Shown(), style: str = "") -> str:
    """A whole page of a mail's HTML. ``on_link`` is given what each link leads to and says what is shown; ``style`` is
    CSS of ours."""
    text = _REACHING_STILL.sub("&lt;", _REACHING.sub(" ", text))
    text = _LEADING.sub(lambda match: _link(match, on_link), text)
    doctype = _DOCTYPE.match(text)
    # without a doctype of its own the mail is shown as it is by mail programs, in quirks mode
    head = doctype[0].strip() if doctype else ""
    return f"{head}<html inert><head><style>{_STYLE}{style}</style></head>{text[doctype.end() if doctype else 0 :]}"


def _link(match: re.Match[str], on_link: Callable[[str], Shown]) -> str:
    name, attributes = match[1], match[2]
    found = list(_ATTRIBUTE.finditer(attributes))
    first = next((each for each in found if each[1].lower() in _LEADS), None)
    shown = on_link(html.unescape(_value(first))) if first else Shown()
    kept, at = [], 0
    for each in found:
        if each[1].lower() in _LEADS or each[1].lower() == "ping":
            kept.append(attributes[at : each.start()])
            at = each.end()
    kept.append(attributes[at:])
    href = f' href="{html.escape(shown.href)}"' if first else ""
    mark = shown.mark if name.lower() == "a" else ""
    return f"<{name}{href} {''.join(kept).rstrip('/ ')}>{mark}"


def links(text: str) -> Iterator[tuple[str, str]]:
    """What each link leads to, and its text as far as it is near."""
    for match in _LEADING.finditer(text):
        found = next((each for each in _ATTRIBUTE.finditer(match[2]) if each[1].lower() in _LEADS), None)
        if found:
            label = _LABEL_END.split(text[match.end() : match.end() + _NEAR], maxsplit=1)[0]
            yield html.unescape(_value(found)).strip(), " ".join(html.unescape(_TAG.sub(" ", label)).split())


def _value(attribute: re.Match[str]) -> str:
    return next((group for group in attribute.groups()[1:] if group is not None), "")


def hosts(text: str, never: Collection[str] = ()) -> tuple[list[str], bool]:
    """Where the pictures of a mail are: sources of a policy such as ``https://img.example.com``; and whether some were
    left out. ``never``: hosts that are not asked (``host`` or ``host:port``, in lower case), and so is any from which a
    picture has a URL like our own, since asking for it could count as a hit. What is not found here does not load."""
    found: dict[str, None] = {}
    ours = {each.lower() for each in never}
    for shown in _SHOWN.finditer(text):
        value = html.unescape(shown[1].strip("\"'")).strip()
        for scheme, host, rest in () if value[:5].lower() == "data:" else _REMOTE.findall(value):
            if _OF_OURS.match(rest):
                ours.add(host.lower())
            if _NO_PICTURE.search(rest):
                continue
            schemes = (scheme.lower(),) if scheme else ("https:", "http:")
            found.update(dict.fromkeys(f"{each}//{host.lower()}" for each in schemes))
    kept = [source for source in found if not _names(source) & ours]
    return kept[:MOST_HOSTS], len(kept) < len(found) or len(kept) > MOST_HOSTS


def _names(source: str) -> set[str]:
    """The ways to write the host of a source."""
    scheme, _, host = source.partition("//")
    bare, colon, port = host.partition(":")
    usual = "443" if scheme == "https:" else "80"
    return {host, bare if not colon or port == usual else host, f"{bare}:{port or usual}"}


def policy(sources: Sequence[str] = ()) -> str:
    """The Content-Security-Policy of a caged page; pictures load from ``sources`` alone."""
    pictures = " ".join(["data:", *sources])
    return (
        f"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; form-action 'none';"
        " base-uri 'none'; frame-ancestors 'self'"
    )
