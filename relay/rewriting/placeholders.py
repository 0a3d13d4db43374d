"""What stands in a URL for something that only the relay knows: our opt-out and mirror links, and what is personal to
a recipient. Pure.

A URL is *opened* once a scan: what is the same for all recipients is filled in, percent-encoded, and what is not stays
as ``{{name}}`` of ``OPEN`` until ``filled`` puts one recipient's values in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

from relay.personal import is_personal
from tracker.model import LinkType

OPT_OUT, MIRROR = "unsubscribe_url", "mirror_url"

SPELLINGS: dict[str, tuple[str, str]] = {
    # contract, section 3
    "{{ unsubscribe_url }}": ("Tracepost", OPT_OUT),
    "{{ mirror_url }}": ("Tracepost", MIRROR),
    # documentation.mailgun.com/docs/mailgun/user-manual/tracking-messages/tracking-unsubscribes
    "%unsubscribe_url%": ("Mailgun", OPT_OUT),
    "%tag_unsubscribe_url%": ("Mailgun", OPT_OUT),
    "%mailing_list_unsubscribe_url%": ("Mailgun", OPT_OUT),
    # postmarkapp.com/support/article/1208-how-to-add-an-unsubscribe-link
    "{{{ pm:unsubscribe }}}": ("Postmark", OPT_OUT),
    "{{{ pm:unsubscribe_url }}}": ("Postmark", OPT_OUT),
    # twilio.com/docs/sendgrid/ui/sending-email/create-and-manage-unsubscribe-groups, "unsubscribe group tags"
    "<%asm_group_unsubscribe_raw_url%>": ("SendGrid", OPT_OUT),
    "<%asm_global_unsubscribe_raw_url%>": ("SendGrid", OPT_OUT),
    # mailchimp.com/help/all-the-merge-tags-cheat-sheet
    "*|UNSUB|*": ("Mandrill", OPT_OUT),
    "*|ARCHIVE|*": ("Mandrill", MIRROR),
}
"""Every spelling of a link of ours to the service that it comes from and what it stands for; inner spaces are free."""

OPEN = ("recipient.email", "message.id", OPT_OUT, MIRROR)
"""What differs by recipient or message, and so is left until a copy is made."""
OF_ONE_RECIPIENT = frozenset(("recipient.email", OPT_OUT, MIRROR))

TYPES = {OPT_OUT: LinkType.OPT_OUT, MIRROR: LinkType.MIRROR}


def _pattern(spelling: str) -> str:
    """A spelling with or without its inner spaces."""
    return r"[ \t]*+".join(map(re.escape, spelling.split(" ")))


LINK = "|".join(map(_pattern, sorted(SPELLINGS, key=len, reverse=True)))
"""A pattern for every spelling of a link of ours."""
_NAMES = {spelling.replace(" ", "").lower(): name for spelling, (_, name) in SPELLINGS.items()}
_WHOLE = re.compile(rf"(?:https?://)?({LINK})/?", re.IGNORECASE)
_ANY = re.compile(rf"({LINK})|\{{\{{([^{{}}]*+)\}}\}}", re.IGNORECASE)
_OPENED = re.compile(r"\{\{(" + "|".join(map(re.escape, OPEN)) + r")\}\}")


def name_of(spelling: str) -> str:
    """What a spelling of a link of ours stands for. Raises KeyError for what is none."""
    return _NAMES[re.sub(r"[ \t]", "", spelling).lower()]


def whole(url: str) -> str | None:
    """The link of ours that a URL as a whole stands for; ``http://`` before it and percent-encoding are an editor's
    doing."""
    found = _WHOLE.fullmatch(url) or (_WHOLE.fullmatch(unquote(url)) if "%" in url else None)
    return name_of(found[1]) if found else None


def is_open(url: str) -> bool:
    """Whether a URL may hold anything that stands for something else."""
    # spelled out, since this is asked of every link of every mail
    return "{{" in url or "*|" in url or "<%" in url or "url%" in url or "%7B%7B" in url


def opened(url: str, values: Mapping[str, str]) -> str | None:
    """A URL with what is known by name filled in, and the rest as ``{{name}}`` of ``OPEN``; None where it holds
    ``{{ … }}`` that is not ours to fill in."""

    def fill(match: re.Match[str]) -> str:
        if match[1] is not None:
            return f"{{{{{name_of(match[1])}}}}}"
        name = match[2].strip()
        if name in OPEN:
            return f"{{{{{name}}}}}"
        return escaped(values.get(name, "")) if is_personal(name) else match[0]

    text = _ANY.sub(fill, url)
    return None if has_braces(_OPENED.sub("", text)) else text


def has_braces(url: str) -> bool:
    """Whether a URL holds ``{{ … }}``."""
    start = url.find("{{")
    return start >= 0 and url.find("}}", start) >= 0


def names(target: str) -> frozenset[str]:
    """What an opened URL still waits for."""
    return frozenset(_OPENED.findall(target)) if "{{" in target else frozenset()


def filled(target: str, value: Callable[[str], str]) -> str:
    """An opened URL with one recipient's values."""
    return _OPENED.sub(lambda match: escaped(value(match[1])), target) if "{{" in target else target


def escaped(value: str) -> str:
    """A value as a piece of a URL: percent-encoded UTF-8 but for letters, digits and ``-._~``, which is right in path,
    query and fragment alike (RFC 3986 section 2.3)."""
    return quote(value, safe="", errors="replace")
