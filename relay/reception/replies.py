"""Refusals as types, and the one way from an error to the line that a client reads."""

from __future__ import annotations

import re

from tracker.errors import TracepostError

_NOT_TEXT = re.compile(r"[^ -~]+")
_LONGEST = 400
"""Characters of a reply's text: a line of a reply has 512 octets (RFC 5321 section 4.5.3.1.5)."""


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
        """The line, less its line end."""
        return f"{self.code} {self.enhanced} {one_line(self.text)}"


def one_line(text: str) -> str:
    """Text that cannot break the framing of a dialogue: printable ASCII on one line, bounded."""
    return _NOT_TEXT.sub(" ", text).strip()[:_LONGEST]


def bad_syntax(text: str, enhanced: str = "5.5.4") -> SmtpError:
    """A command's arguments are wrong."""
    return SmtpError(501, enhanced, text)


def local_trouble(cause: object) -> SmtpError:
    """Something failed here; the client is to try again."""
    return SmtpError(451, "4.3.0", "Something failed here; please try again later", cause)
