"""A mail's HTML made fit to be looked at in a frame: nothing in it leads anywhere, and nothing elsewhere is asked for
unless the reader wants it. Pure.

What holds is the cage: the frame's sandbox and the policy that goes with it, by which no script runs, nothing loads and
no form is sent, whatever the HTML says. The text is changed only where these let something through: a frame may lead
itself on, so links lead nowhere and the page is ``inert``; connections may be opened ahead of a request that is then
refused, as Chromium does for ``link`` and for frames, so these are taken out. Tags are found as the HTML standard has
them (section 13.2.5), wherever they stand, in comments and style sheets too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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
_REST = re.compile(rf"({_ATTRIBUTES})>", re.ASCII)
_REACHING = re.compile(rf"<(link|meta|base|i?frame|object|embed)(?=[{_WS}/>]|\Z)", re.IGNORECASE | re.ASCII)
_LEADING = re.compile(rf"<(a|area)(?=[{_WS}/>]|\Z)", re.IGNORECASE | re.ASCII)
_MOST_UNFINISHED = 10
"""Tags without an end that are looked at to the end of the text."""

_LEADS = frozenset(("href", "xlink:href"))
_SHOWN = re.compile(
    r"""(?:[\s"'/](?:src|srcset|background|poster)[\s]*+=|(?<!@import )url\()[\s]*+("[^"]*+"|'[^']*+'|[^\s>)]++)""",
    re.IGNORECASE,
)
_REMOTE = re.compile(r"(https?:|(?<![:\w]))[/\\]{2}([a-z0-9][a-z0-9.-]*+(?::\d{1,5})?)([^\s,\"')]*+)", re.IGNORECASE)
_NO_PICTURE = re.compile(r"\.(?:css|woff2?|ttf|otf|eot)(?:[?#]|\Z)", re.IGNORECASE)
_OF_OURS = re.compile(r"/[ocum]/[A-Za-z0-9_-]{20,}(?:\.gif)?(?:[?#].*)?\Z")
_LABEL_END = re.compile(r"</?a(?=[\s/>])", re.IGNORECASE)
_ALT = re.compile(r"""[\s"'/]alt[\s]*+=[\s]*+(?:"([^"]*+)"|'([^']*+)')""", re.IGNORECASE)
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
    text = _rewritten(text, _REACHING, lambda name, attributes: " ")
    text = _rewritten(text, _LEADING, lambda name, attributes: _link(name, attributes, on_link))
    doctype = _DOCTYPE.match(text)
    # without a doctype of its own the mail is shown as it is by mail programs, in quirks mode
    head = doctype[0].strip() if doctype else ""
    return f"{head}<html inert><head><style>{_STYLE}{style}</style></head>{text[doctype.end() if doctype else 0 :]}"


def _tags(text: str, begins: re.Pattern[str]) -> Iterator[tuple[re.Match[str], re.Match[str] | None]]:
    """The tags that begin so: their beginning, and the rest, None where there is no end."""
    at = unfinished = 0
    for begin in begins.finditer(text):
        if begin.start() >= at:
            rest = _REST.match(text, begin.end()) if unfinished < _MOST_UNFINISHED else None
            unfinished += rest is None
            at = rest.end() if rest else begin.end()
            yield begin, rest


def _rewritten(text: str, begins: re.Pattern[str], written: Callable[[str, str], str]) -> str:
    """The text with these tags as they are ``written``, and what only begins like one as text."""
    pieces, at = [], 0
    for begin, rest in _tags(text, begins):
        pieces += [text[at : begin.start()], written(begin[1], rest[1]) if rest else "&lt;"]
        at = rest.end() if rest else begin.start() + 1
    return "".join([*pieces, text[at:]])


def _link(name: str, attributes: str, on_link: Callable[[str], Shown]) -> str:
    found = list(_ATTRIBUTE.finditer(attributes))
    first = _leads(found)
    shown = on_link(first) if first is not None else Shown()
    kept, at = [], 0
    for each in found:
        if each[1].lower() in _LEADS or each[1].lower() == "ping":
            kept.append(attributes[at : each.start()])
            at = each.end()
    # where this stands in a comment, a link in one of its values may be one to a browser
    rest = _LEADING.sub(r"&lt;\1", "".join([*kept, attributes[at:]])).rstrip("/ ")
    href = f' href="{html.escape(shown.href)}"' if first is not None else ""
    return f"<{name}{href} {rest}>{shown.mark if name.lower() == 'a' else ''}"


def _leads(attributes: Iterable[re.Match[str]]) -> str | None:
    """What a link leads to: the first that says so counts."""
    first = next((each for each in attributes if each[1].lower() in _LEADS), None)
    if first is None:
        return None
    return html.unescape(next((group for group in first.groups()[1:] if group is not None), ""))


def links(text: str) -> Iterator[tuple[str, str]]:
    """What each link leads to, and its text as far as it is near, else what stands for its pictures."""
    for begin, rest in _tags(text, _LEADING):
        href = _leads(_ATTRIBUTE.finditer(rest[1])) if rest else None
        if rest is not None and href is not None:
            inside = _LABEL_END.split(text[rest.end() : rest.end() + _NEAR], maxsplit=1)[0]
            if begin[1].lower() == "area":
                inside = ""
            label = " ".join(html.unescape(_TAG.sub(" ", inside)).split())
            yield href.strip(), label or _in_place_of(rest[1] + inside)


def _in_place_of(text: str) -> str:
    """What is said in place of a picture."""
    return " ".join(html.unescape(" ".join(found[1] or found[2] or "" for found in _ALT.finditer(text))).split())


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
