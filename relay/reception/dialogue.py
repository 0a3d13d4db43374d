"""The arguments of MAIL and RCPT (RFC 5321 section 4.1.2): addresses kept as given, parameters checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.reception.replies import SmtpError, bad_syntax

# Its parts cannot match the same octets in two ways: a line of commas must not cost exponential time.
_PATH = re.compile(
    r'[ \t]*(?:<((?:@[^<>:\s",@]+(?:,@[^<>:\s",@]+)*:)?)((?:"(?:[^"\\\r\n]|\\[ -~])*"|[^<>"\s\\])*)>'
    r'|([^<>"\s\\]+))(?:[ \t]+(.*))?'
)
_LOCAL = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"|[^\x00-\x20\x7f"(),:;<>@\[\\\]]+')
_DOMAIN = re.compile(r"\[[!-Z^-~]+\]|[^\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]+")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.I)
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
LONGEST_LOCAL_PART = 256
LONGEST_PATH = 1000


class Path(NamedTuple):
    """An address as it was given (empty for the null reverse-path) and its ESMTP parameters, names in upper case."""

    address: str
    parameters: Mapping[str, str | None]


def reverse_path(argument: str | None) -> Path:
    """The argument of MAIL. Raises SmtpError."""
    path = _path("FROM:", argument, _MAIL_PARAMETERS)
    if path.address:
        _check(path, "5.1.7", "5.1.8")
    return path


def forward_path(argument: str | None) -> Path:
    """The argument of RCPT. Raises SmtpError."""
    path = _path("TO:", argument, _RCPT_PARAMETERS)
    if path.address.lower() == "postmaster":
        return path
    _check(path, "5.1.3", "5.1.3")
    return path


def _path(keyword: str, argument: str | None, known: Mapping[str, Callable[[str | None], bool]]) -> Path:
    if argument is None or argument[: len(keyword)].upper() != keyword:
        raise bad_syntax(f"Syntax: {'MAIL' if keyword == 'FROM:' else 'RCPT'} {keyword}<address>")
    match = _PATH.fullmatch(argument[len(keyword) :])
    if match is None:
        raise bad_syntax("This address cannot be understood", "5.1.7" if keyword == "FROM:" else "5.1.3")
    address = match[3] if match[2] is None else match[2]
    return Path(address, _parameters(match[4] or "", known))


def _parameters(text: str, known: Mapping[str, Callable[[str | None], bool]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if name not in known:
            raise SmtpError(555, "5.5.4", f"The parameter {name} is not known here")
        if name in found or not known[name](value if equals else None):
            raise bad_syntax(f"The parameter {name} is wrong")
        found[name] = value if equals else None
    return found


def _check(path: Path, enhanced_local: str, enhanced_domain: str) -> None:
    local, at, domain = path.address.rpartition("@")
    if not at or len(path.address) > LONGEST_PATH or len(local) > LONGEST_LOCAL_PART or not _LOCAL.fullmatch(local):
        raise bad_syntax("This address cannot be understood", enhanced_local)
    if not _DOMAIN.fullmatch(domain):
        raise bad_syntax("The domain of this address cannot be understood", enhanced_domain)


def _flag(value: str | None) -> bool:
    return value is None


def _xtext(value: str | None) -> bool:
    return value is not None and len(value) <= 500 and _XTEXT.fullmatch(value) is not None


_MAIL_PARAMETERS: Mapping[str, Callable[[str | None], bool]] = {
    "SIZE": lambda value: value is not None and value.isascii() and value.isdigit() and len(value) <= 20,
    "BODY": lambda value: (value or "").upper() in ("7BIT", "8BITMIME"),
    "SMTPUTF8": _flag,
    "RET": lambda value: (value or "").upper() in ("FULL", "HDRS"),
    "ENVID": lambda value: _xtext(value) and len(value or "") <= 100,
    "AUTH": _xtext,
}
_RCPT_PARAMETERS: Mapping[str, Callable[[str | None], bool]] = {
    "NOTIFY": lambda value: value is not None and _NOTIFY.fullmatch(value) is not None,
    "ORCPT": lambda value: _xtext(value) and ";" in (value or ""),
}
