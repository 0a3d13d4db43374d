"""Refusals as types, and the one way from words to the lines that a client reads."""

from __future__ import annotations

import re
from typing import NamedTuple

from tracker.errors import TracepostError

_NOT_TEXT = re.compile(r"[^ -~]+")
_LONGEST = 400
"""Characters of a line's text: a line of a reply has 512 octets (RFC 5321 section 4.5.3.1.5)."""
_MOST_LINES = 20
_FOREIGN = re.compile(r"([245]\d\d)(?:[ -](?:([245]\.\d{1,3}\.\d{1,3})(?=[ \r\n]|$))?|$)")

_OURS = re.compile(r"2\d\d 2\.\d{1,3}\.\d{1,3} [!-~](?:[ -~]{0,300}[!-~])?")
"""One line of consent that is framed as ours are."""


class Reply(NamedTuple):
    """What a client is told: reply ``code``, ``enhanced`` status code (RFC 3463), a text of one or more lines."""

    code: int
    enhanced: str
    text: str

    @property
    def framed(self) -> str:
        """Its lines, less the last line end, each with both codes (RFC 2034 section 4): whatever the text holds, they
        are one reply."""
        texts = [line for line in map(one_line, self.text.splitlines()) if line][:_MOST_LINES] or [""]
        lines = [one_line(f"{self.enhanced} {text}") for text in texts]
        return "".join(f"{self.code}-{line}\r\n" for line in lines[:-1]) + f"{self.code} {lines[-1]}"


def read_reply(whole: str) -> Reply:
    """A reply that someone else wrote, with or without the code on its later lines; what has no enhanced code, or one
    of another class, gets ``X.0.0``. Raises ValueError for one that is neither 2xx, 4xx nor 5xx."""
    match = _FOREIGN.match(whole)
    if match is None:
        raise ValueError(f"this is no reply: {whole[:80]!r}")
    code, enhanced = match[1], match[2] or ""
    prefix = re.compile(rf"{code}(?:[ -]|$)")
    lines = [prefix.sub("", line, count=1).removeprefix(enhanced).strip() for line in whole.splitlines()]
    own = enhanced if enhanced[:1] == code[0] else f"{code[0]}.0.0"
    return Reply(int(code), own, "\n".join(lines))


class SmtpError(TracepostError):
    """A refusal: reply ``code``, ``enhanced`` status code (RFC 3463), a public sentence; ``cause`` stays private."""

    def __init__(self, code: int, enhanced: str, text: str, cause: object = None) -> None:
        super().__init__(text)
        self.code = code
        self.enhanced = enhanced
        self.text = text
        self.cause = cause

    @property
    def reply(self) -> str:
        """The line or lines, less the last line end."""
        return Reply(self.code, self.enhanced, self.text).framed


def consent(whole: str) -> str:
    """A foreign reply, framed. Raises SmtpError where it is a refusal, ValueError where it is no reply."""
    if _OURS.fullmatch(whole):
        return whole
    reply = read_reply(whole)
    if reply.code >= 400:
        raise SmtpError(*reply)
    return reply.framed


def one_line(text: str) -> str:
    """Text that cannot break the framing of a dialogue: printable ASCII on one line, bounded."""
    return _NOT_TEXT.sub(" ", text).strip()[:_LONGEST]


def bad_syntax(text: str, enhanced: str = "5.5.4") -> SmtpError:
    """A command's arguments are wrong."""
    return SmtpError(501, enhanced, text)


def local_trouble(cause: object) -> SmtpError:
    """Something failed here; the client is to try again."""
    return SmtpError(451, "4.3.0", "Something failed here; please try again later", cause)
