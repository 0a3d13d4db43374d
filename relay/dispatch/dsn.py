"""Delivery status notifications: what became of a mail, told to its sender (RFC 3464, 3461, 6522 and 6533). Pure.

Built octet by octet: what others wrote (the mail, addresses, a smarthost's words) is either returned exactly or made
printable and bounded before it stands in a field, so that it can neither add one nor end a part.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import formatdate
from ipaddress import ip_address
from typing import Literal, NamedTuple
from uuid import UUID

from relay.dispatch.returned import Returned, field_value, returned

Action = Literal["failed", "delayed", "relayed"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one recipient. ``code``, ``enhanced`` and one line of ``text`` are the words of ``remote``, the
    smarthost's name, or ours where that is None. ``orcpt`` is the ORCPT parameter as it came; times are seconds since
    the epoch, ``retry_until`` for what is delayed."""

    address: str
    action: Action
    code: int
    enhanced: str
    text: str
    remote: str | None
    orcpt: str | None
    last_attempt: float
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All that a notification is made of. ``hostname`` is ours, ``id`` names the notification; ``reverse_path``,
    ``arrived``, ``envid`` and ``ret`` (FULL, HDRS or None, which is HDRS) came with the mail, ``content`` is the mail;
    ``at`` is now. Times are seconds since the epoch."""

    hostname: str
    id: UUID
    reverse_path: str
    arrived: float
    content: bytes
    fates: Sequence[Fate]
    at: float
    envid: str | None = None
    ret: str | None = None


class _Words(NamedTuple):
    subject: str
    sentence: str


_WORDS: dict[Action, _Words] = {  # the worst first
    "failed": _Words(
        "Undelivered Mail Returned to Sender",
        "Your mail could not be delivered to the recipients below. It will not be tried again: please check their "
        "addresses, or reach them another way.",
    ),
    "delayed": _Words(
        "Delayed mail",
        "Your mail could not be delivered yet to the recipients below. It is still being tried: you need not send it "
        "again.",
    ),
    "relayed": _Words(
        "Successfully relayed mail",
        "Your mail was handed on for the recipients below. The mail server that took it gives no notice of delivery, "
        "so this is the last that you will hear of it from here.",
    ),
}
_NOTIFY: dict[Action, str] = {"failed": "FAILURE", "delayed": "DELAY", "relayed": "SUCCESS"}
_CLASSES: dict[Action, str] = {"failed": "54", "delayed": "4", "relayed": "2"}
"""The classes that a status may be of (RFC 3464 section 2.3.4); the first stands where it was of another."""

_ATTACHED, _HEADER_ATTACHED = "It is attached.", "Its header is attached."
_WIDTH = 76
_LONGEST_TEXT = 1000
_LONGEST_ADDRESS = 900
"""Octets: an address is not folded, and its line has 998."""

# What ends a line for some reader, or turns the direction of what is read.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_WORD = re.compile(r"(\S{200})(?=\S)")
_ENHANCED = re.compile(r"([245])(\.\d{1,3}\.\d{1,3})", re.A)
_TOO_LARGE = re.compile(r"552 5\.0\.0|\d+ 5\.(?:2\.3|3\.4)", re.A)
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,200}@[!-;=?A-~]{1,200}>")
_BOUNDARY = re.compile(rb'\r\n\tboundary="([0-9a-f.]+)"\r\n')
_WHOLE = re.compile(rb"\r\nContent-Type: message/(rfc822|global)(?:\r\n|\Z)")
_XTEXT_OCTET = re.compile(rb"\+([0-9A-Fa-f]{2})?")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")


def wants(notify: str | None, action: Action) -> bool:
    """The sender wants to hear of this, by the recipient's NOTIFY parameter (RFC 3461 section 4.1); without one, of
    failure only."""
    return _NOTIFY[action] in (notify or "FAILURE").upper().split(",")


def notification(report: Report) -> bytes:
    """The whole mail, to be sent from the null reverse-path. Every line ends in CRLF and has at most 998 octets.

    Raises ValueError without a recipient, and for the null reverse-path, of which nobody is notified (RFC 5321
    section 6.1).
    """
    if not report.fates or not report.reverse_path:
        raise ValueError("a notification needs a recipient's fate and someone to tell")
    recipients = [_original_recipient(fate.orcpt) for fate in report.fates]
    addresses = [report.reverse_path, *(fate.address for fate in report.fates), *filter(None, recipients)]
    international = not all(_address(address).isascii() for address in addresses)
    original = returned(report.content, _whole(report), international)
    parts = [
        _part("Notification", _explanation(report, original)),
        _part("Delivery report", _status_report(report, recipients, international)),
        _part("Returned mail", original),
    ]
    boundary = _boundary(report.id, parts)
    eight_bit = not all(part.isascii() for part in parts)
    return b"".join(
        [
            "\r\n".join([*_header(report, boundary.decode(), eight_bit), "", ""]).encode("utf-8", "replace"),
            b"This is a notification in MIME format.\r\n",
            *(b"\r\n--%b\r\n%b" % (boundary, part) for part in parts),
            b"\r\n--%b--\r\n" % boundary,
        ]
    )


def shortened(content: bytes) -> bytes | None:
    """A notification made here with no more than the header of the mail that it returns, for a host that does not take
    it as it is; None where it holds no more already."""
    boundary = _BOUNDARY.search(content)
    if boundary is None:
        return None
    delimiter = b"\r\n--" + boundary[1]
    parts = content.split(delimiter)
    if len(parts) != 5:
        return None
    before, text, report, original, end = parts
    head, _, mail = original.partition(b"\r\n\r\n")
    kind = _WHOLE.search(head)
    if kind is None:
        return None
    text = text.removesuffix(f"{_ATTACHED}\r\n".encode()) + f"{_HEADER_ATTACHED}\r\n".encode()
    header = _part("Returned mail", returned(mail, False, kind[1] == b"global"))
    return delimiter.join([before, text, report, b"\r\n" + header, end])


def _header(report: Report, boundary: str, eight_bit: bool) -> Iterator[str]:
    hostname = _host(report.hostname)
    yield f'From: "Mail Delivery System" <MAILER-DAEMON@{hostname}>'
    yield f"To: <{_address(report.reverse_path)}>"
    yield f"Subject: {_WORDS[_worst(report.fates)].subject}"
    yield f"Date: {formatdate(report.at)}"
    yield f"Message-ID: <{report.id}@{hostname}>"
    answered = _MESSAGE_ID.fullmatch((field_value(report.content, "Message-ID") or b"").decode("ascii", "replace"))
    if answered:
        yield f"In-Reply-To: {answered[0]}"
        yield f"References: {answered[0]}"
    yield "Auto-Submitted: auto-replied"
    yield "MIME-Version: 1.0"
    yield f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'
    if eight_bit:
        yield "Content-Transfer-Encoding: 8bit"


def _part(description: str, part: Returned) -> bytes:
    head = (
        f"Content-Description: {description}\r\n"
        f"Content-Type: {part.kind}\r\n"
        f"Content-Transfer-Encoding: {part.encoding}\r\n\r\n"
    )
    return head.encode() + part.body


def _boundary(name: UUID, parts: Sequence[bytes]) -> bytes:
    """A boundary that no part holds (RFC 2046 section 5.1.1)."""
    candidates = (b"%b.%d" % (name.hex.encode(), number) for number in itertools.count())
    return next(candidate for candidate in candidates if not any(candidate in part for part in parts))


def _whole(report: Report) -> bool:
    """The mail itself is returned only where that was asked for and a recipient failed (RFC 3461 section 4.3). What
    was too large would be refused again within its notification."""
    failed = [fate for fate in report.fates if fate.action == "failed"]
    too_large = any(_TOO_LARGE.match(f"{fate.code} {fate.enhanced}") for fate in failed)
    return (report.ret or "").upper() == "FULL" and bool(failed) and not too_large


def _worst(fates: Sequence[Fate]) -> Action:
    return next(action for action in _WORDS if any(fate.action == action for fate in fates))


# What a person reads


def _explanation(report: Report, original: Returned) -> Returned:
    subject = _decoded(field_value(report.content, "Subject")) or "(none)"
    date = _decoded(field_value(report.content, "Date")) or formatdate(report.arrived)
    lines = [f"This is the mail system at {_host(report.hostname)}.", ""]
    for action, words in _WORDS.items():
        fates = [fate for fate in report.fates if fate.action == action]
        if fates:
            lines += [*_wrapped(words.sentence), "", *itertools.chain.from_iterable(map(_told, fates))]
    lines += ["The mail:", "", *_wrapped(f"Subject: {subject}", "  "), *_wrapped(f"Date: {date}", "  "), ""]
    whole = original.kind in ("message/rfc822", "message/global")
    lines += [_ATTACHED if whole else _HEADER_ATTACHED, ""]
    text = "\r\n".join(lines)
    charset, encoding = ("us-ascii", "7bit") if text.isascii() else ("utf-8", "8bit")
    return Returned(f"text/plain; charset={charset}", encoding, text.encode())


def _told(fate: Fate) -> Iterator[str]:
    """The lines for one recipient."""
    yield from _wrapped(f"<{_line(_address(fate.address))}>", "  ")
    said = f"{_host(fate.remote)} said: {_said(fate)}" if fate.remote else _said(fate)
    yield from _wrapped(said, "      ")
    if fate.action == "delayed" and fate.retry_until is not None:
        yield from _wrapped(f"It is tried until {formatdate(fate.retry_until)}.", "      ")
    yield ""


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of at most 76 characters; a longer word has a line of its own."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _decoded(value: bytes | None) -> str:
    """A field's value as a person reads it, encoded words decoded (RFC 2047); as it came where that fails."""
    text = (value or b"").decode("utf-8", "replace")
    if "=?" in text:
        with suppress(HeaderParseError, LookupError, ValueError):
            text = str(make_header(decode_header(text)))
    return _line(text)


# What a program reads


def _status_report(report: Report, recipients: Sequence[str | None], international: bool) -> Returned:
    """RFC 3464 section 2, in the order of its grammar, but for the field that readers look for first."""
    blocks = [_message_fields(report), *map(_recipient_fields, report.fates, recipients)]
    text = "".join(f"{field}\r\n" for block in blocks for field in (*block, "")).removesuffix("\r\n")
    body = text.encode("utf-8" if international else "ascii", "replace")
    kind = "message/global-delivery-status" if international else "message/delivery-status"
    return Returned(kind, "7bit" if body.isascii() else "8bit", body)


def _message_fields(report: Report) -> Iterator[str]:
    yield f"Reporting-MTA: dns; {_host(report.hostname)}"
    envelope_id = _from_xtext(report.envid)
    if envelope_id and envelope_id.isascii():
        yield f"Original-Envelope-Id: {envelope_id}"
    yield f"Arrival-Date: {formatdate(report.arrived)}"


def _recipient_fields(fate: Fate, original_recipient: str | None) -> Iterator[str]:
    if original_recipient is not None:
        yield f"Original-Recipient: {original_recipient}"
    address = _address(fate.address)
    yield f"Final-Recipient: {'rfc822' if address.isascii() else 'utf-8'}; {address}"
    yield f"Action: {fate.action}"
    yield f"Status: {_status(fate)}"
    if fate.remote:
        yield f"Remote-MTA: dns; {_host(fate.remote)}"
    yield _folded(f"Diagnostic-Code: smtp; {_said(fate)}")
    yield f"Last-Attempt-Date: {formatdate(fate.last_attempt)}"
    if fate.action == "delayed" and fate.retry_until is not None:
        yield f"Will-Retry-Until: {formatdate(fate.retry_until)}"


def _status(fate: Fate) -> str:
    """A status code of a class that goes with the action, whatever was said."""
    found = _ENHANCED.fullmatch(fate.enhanced)
    classes = _CLASSES[fate.action]
    if found is None:
        return f"{classes[0]}.0.0"
    return f"{found[1] if found[1] in classes else classes[0]}{found[2]}"


def _said(fate: Fate) -> str:
    return _line(f"{fate.code} {fate.enhanced} {fate.text}")


def _folded(field: str) -> str:
    lines = textwrap.wrap(field, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\r\n".join(lines)


def _original_recipient(orcpt: str | None) -> str | None:
    """The address type and address of an ORCPT parameter (RFC 3461 section 4.2, RFC 6533 section 3); None where it
    cannot stand in a field as it is: another address would be worse than none."""
    kind, _, address = (_from_xtext(orcpt) or "").partition(";")
    if kind.lower() == "utf-8":
        try:
            address = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)
        except ValueError:
            return None
    if not _ADDRESS_TYPE.fullmatch(kind) or not address or _address(address) != address:
        return None
    return f"{kind if address.isascii() else 'utf-8'};{address}"


def _from_xtext(value: str | None) -> str | None:
    """What xtext stands for (RFC 3461 section 4); None where it is malformed, or no field can hold it."""
    octets = (value or "").encode("utf-8", "replace")
    if any(match[1] is None for match in _XTEXT_OCTET.finditer(octets)):
        return None
    try:
        text = _XTEXT_OCTET.sub(lambda match: bytes.fromhex(match[1].decode()), octets).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if _address(text) == text else None


# Words of others, made harmless


def _line(text: str) -> str:
    """One line, bounded, in which no word is over 200 characters."""
    return _LONG_WORD.sub(r"\1 ", " ".join(_UNSAFE.sub(" ", text[:_LONGEST_TEXT]).split()))


def _address(address: str) -> str:
    """An address as it is, where it can stand on one line of a mail."""
    return _UNSAFE.sub("?", address).encode()[:_LONGEST_ADDRESS].decode("utf-8", "ignore")


def _host(name: str) -> str:
    """A host's name in ASCII, an IP address in brackets (RFC 5321 section 4.1.3)."""
    plain = _line(name).encode("ascii", "replace").decode()[:255]
    try:
        address = ip_address(plain)
    except ValueError:
        return plain
    return f"[{plain}]" if address.version == 4 else f"[IPv6:{plain}]"
