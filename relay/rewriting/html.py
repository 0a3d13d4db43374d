"""HTML by span: the tokenizer states of the WHATWG standard, giving offsets instead of a tree.

Tags, attributes, comments, bogus comments, doctypes, raw text (``style``, ``title`` …), script data with its escaped
states and ``plaintext`` begin and end where the standard says (section 13.2.5). Nothing backtracks: every repeat is
possessive, so time is linear whatever comes. Works on ``str``; octets of a charset that is a superset of ASCII may be
given decoded as Latin-1, offsets are octet offsets then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5 as _ENTITIES
from typing import NamedTuple

START, END, COMMENT, BOGUS, RAW, TEXT, UNFINISHED = range(7)
"""Kinds of token. RAW is the text of a raw text element; UNFINISHED what the end of the text cut off: a tag, a comment
or a raw text element that never ends (from its start tag on)."""

_WS = r"\t\n\f\r "
_USUAL = rf"(?:[{_WS}]++[a-zA-Z][a-zA-Z:-]*+=\"[^\"]*+\")*+"
# what most tags hold comes first: the rest is read the longer way, to the same end
_REST = (
    rf"{_USUAL}(?:>|(?:[{_WS}/]++|[^{_WS}/>][^{_WS}/>=]*+"
    rf"(?:[{_WS}]*+=[{_WS}]*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^{_WS}>\"'][^{_WS}>]*+|(?=>)))?+)*+>)"
)
_NAME = rf"[a-zA-Z][^{_WS}/>]*+"
_RAW_NAMES = ("style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "script", "plaintext")


def _any_case(word: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in word)


_TEXT = r"[^<]++|<(?![a-zA-Z/!?])|</\Z"
# each first letter once: this is looked at for every tag of a page
_KEPT = "|".join(
    "".join([_any_case(first), "(?:", "|".join(map(_any_case, rests)), ")"])
    for first, rests in {
        "a": ("", "rea"), "b": ("ody",), "h": ("tml",), "i": ("mg", "frame"), "no": ("embed", "frames"),
        "p": ("laintext",), "s": ("tyle", "cript"), "t": ("itle", "extarea"), "x": ("mp",),
    }.items()
) + rf"|[vV]:[^{_WS}/>]*+"  # fmt: skip
_CONDITIONAL = rf"[{_WS}]*+\[{_any_case('if')}"
_BORING = (
    rf"/?+(?:t[dr]|p|br|span|div|table|strong|h[1-6]){_USUAL}>"
    rf"|/?+(?!(?:{_KEPT})[{_WS}/>]){_NAME}{_REST}"
    rf"|!--(?!-?>)(?!{_CONDITIONAL})(?:[^-]++|-(?!-!?>))*+--!?>"
    r"|[!?](?!--)[^>]*+>|/(?![a-zA-Z])[^>]*+>|(?![a-zA-Z/!?])|/\Z"
)
ALL = re.compile(rf"(?:{_TEXT})*+", re.ASCII)
"""Passes over text only: the walk stops at every token."""
LINKS = re.compile(rf"[^<]*+(?:<(?:{_BORING})[^<]*+)*+", re.ASCII)
"""Passes over all that has no bearing on links and pixel, in one go: the walk stops at few tokens."""

_TAG = re.compile(rf"<(/?)({_NAME}){_REST}", re.ASCII)
_ATTRIBUTE = re.compile(
    rf"([^{_WS}/>][^{_WS}/>=]*+)"
    rf"(?:[{_WS}]*+=[{_WS}]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^{_WS}>\"'][^{_WS}>]*+)|(?=>)))?+",
    re.ASCII,
)
_COMMENT_END = re.compile(r"--!?>")
_BOGUS_END = re.compile(r">")
_RAW_END = {name: re.compile(rf"</{_any_case(name)}(?=[{_WS}/>])", re.ASCII) for name in _RAW_NAMES}
_SCRIPT = re.compile(rf"<!--|</{_any_case('script')}(?=[{_WS}/>])", re.ASCII)
_SCRIPT_ESCAPED = re.compile(rf"-->|<(/?){_any_case('script')}(?=[{_WS}/>])", re.ASCII)
WHOLE_LINK = re.compile(
    rf"<a(?:[{_WS}]++(?!href=|clicktracking=)[a-z]++=\"[^\"]*+\")*+[{_WS}]++href=\"([^\"]++)\""
    rf"(?:[{_WS}]++(?!clicktracking=)[a-z]++=\"[^\"]*+\")*+[{_WS}]*+>([^<]*+)</a[{_WS}]*+>",
    re.ASCII,
)
"""A link as most are written, with its text: nothing in its tag but the first ``href`` has a meaning to us, since all
marks and labels hold ``-`` or ``:``, but for one."""
_CONDITION = re.compile(rf"<!--{_CONDITIONAL}[^>]*+>", re.ASCII)


class Token(NamedTuple):
    """A token's kind and span; ``name`` is the tag name in lower case (of START, END, and of the element of RAW)."""

    kind: int
    start: int
    end: int
    name: str


class Attribute(NamedTuple):
    """An attribute by span: ``name`` in lower case, its own start, and the span of its value, which is empty where
    there is none."""

    name: str
    start: int
    value_start: int
    value_end: int
    end: int


def walk(text: str, start: int = 0, end: int | None = None, skip: re.Pattern[str] = ALL) -> Iterator[Token]:
    """The tokens of ``text[start:end]`` that ``skip`` does not pass over."""
    pos, stop = start, len(text) if end is None else end
    while True:
        at = after(skip, text, pos, stop)
        if at > pos and skip is ALL:
            yield Token(TEXT, pos, at, "")
        if at >= stop:
            return
        for token in markup(text, at, stop):
            yield token
            pos = token.end


def after(skip: re.Pattern[str], text: str, pos: int, stop: int) -> int:
    """Where what ``skip`` passes over ends, which may be nothing."""
    passed = skip.match(text, pos, stop)
    return passed.end() if passed is not None else pos


def markup(text: str, at: int, stop: int) -> list[Token]:
    """What the ``<`` at an offset begins: one token, or where that is the start tag of a raw text element, all of it up
    to its end tag; the last token's end is where to go on."""
    tag = None if text[at + 1 : at + 2] in "!?" else _TAG.match(text, at, stop)
    if tag is None:
        return [_markup(text, at, stop)]
    name, pos = tag[2].lower(), tag.end()
    if tag[1]:
        return [Token(END, at, pos, name)]
    start = Token(START, at, pos, name)
    if name not in _RAW_END:
        return [start]
    finish = raw_end(text, name, pos, stop)
    if finish is None:
        return [start, Token(RAW, pos, stop, name), Token(UNFINISHED, at, stop, name)]
    return [start, Token(RAW, pos, finish, name)]


def _markup(text: str, at: int, stop: int) -> Token:
    """The token at a ``<`` that begins no whole tag: a comment, a bogus one, or what the end cuts off."""
    if text.startswith("<!--", at):
        for abrupt in ("<!-->", "<!--->"):
            if text.startswith(abrupt, at, stop):
                return Token(COMMENT, at, at + len(abrupt), "")
        finish = _COMMENT_END.search(text, at + 4, stop)
        return Token(COMMENT, at, finish.end(), "") if finish else Token(UNFINISHED, at, stop, "!--")
    if text[at + 1 : at + 2] in "!?" or not _is_letter(text[at + 2 : at + 3]):
        finish = _BOGUS_END.search(text, at, stop)
        if text[at + 1 : at + 2] not in ("!", "?", "/"):
            return Token(UNFINISHED, at, stop, "")
        return Token(BOGUS, at, finish.end(), "") if finish else Token(UNFINISHED, at, stop, "!")
    return Token(UNFINISHED, at, stop, "")


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def raw_end(text: str, name: str, pos: int, stop: int) -> int | None:
    """Where the end tag of a raw text element begins, whose content starts at ``pos``; None where it never ends."""
    if name == "plaintext":
        return None
    if name != "script":
        found = _RAW_END[name].search(text, pos, stop)
        return found.start() if found else None
    pattern, doubly = _SCRIPT, False
    while True:
        found = pattern.search(text, pos, stop)
        if found is None:
            return None
        if pattern is _SCRIPT:
            if found[0] != "<!--":
                return found.start()
            # the dashes that open may also close: <!-->
            pattern, doubly, pos = _SCRIPT_ESCAPED, False, found.start() + 2
        elif found[0] == "-->":
            pattern, pos = _SCRIPT, found.end()
        elif found[1]:
            if not doubly:
                return found.start()
            doubly, pos = False, found.end()
        else:
            doubly, pos = True, found.end()


def attributes(text: str, tag: Token) -> list[Attribute]:
    """The attributes of a start tag in order, duplicates included (the first counts)."""
    found = []
    for match in _ATTRIBUTE.finditer(text, tag.start + 1 + len(tag.name), tag.end):
        group = match.lastindex or 1
        at, to = match.span(group) if group > 1 else (match.end(), match.end())
        found.append(Attribute(match[1].lower(), match.start(), at, to, match.end()))
    return found


def condition(text: str, comment: Token) -> tuple[int, int] | None:
    """The span inside a conditional comment that hides HTML from all but Outlook (``<!--[if mso]> … <![endif]-->``),
    None for any other comment."""
    head = _CONDITION.match(text, comment.start, comment.end)
    return (head.end(), comment.end - 3) if head and head.end() <= comment.end - 3 else None


_REFERENCE = re.compile(r"&(?:#[xX]([0-9a-fA-F]++);?|#([0-9]++);?|([a-zA-Z][a-zA-Z0-9]*+;?))", re.ASCII)
_WINDOWS = dict(zip(range(0x80, 0xA0), bytes(range(0x80, 0xA0)).decode("cp1252", "replace"), strict=True))
_LONGEST = max(map(len, _ENTITIES))


def unescape(value: str, *, attribute: bool) -> str:
    """Decode character references once, by the standard's rule for attributes (``&copy=1`` stays) or for text
    (section 13.2.5.72 on)."""
    if "&" not in value:
        return value
    if value.count("&") == value.count("&amp;"):
        return value.replace("&amp;", "&")

    def decoded(match: re.Match[str]) -> str:
        if match[3] is None:
            return _number(match[1] or match[2], 16 if match[1] else 10)
        name = match[3]
        if name in _ENTITIES:
            after = value[match.end() : match.end() + 1]
            if attribute and not name.endswith(";") and after == "=":
                return match[0]
            return _ENTITIES[name]
        if attribute:
            # a shorter name would be followed by a letter or digit, which leaves it as it stands
            return match[0]
        for length in range(min(len(name), _LONGEST), 1, -1):
            if name[:length] in _ENTITIES:
                return _ENTITIES[name[:length]] + name[length:]
        return match[0]

    return _REFERENCE.sub(decoded, value)


def _number(digits: str, base: int) -> str:
    digits = digits.lstrip("0")
    if not digits or len(digits) > 7:
        return "\ufffd"
    code = int(digits, base)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "\ufffd"
    if 0x80 <= code < 0xA0:
        replaced = _WINDOWS[code]
        return chr(code) if replaced == "\ufffd" else replaced
    return chr(code)
