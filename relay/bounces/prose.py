"""Bounces that are no delivery status notifications: what mail servers of every age write in plain words. Pure.

The address tells who bounced, so all that is asked is whether the mail says so: it must come from a mail server or be
called so, and its own words, before the mail that it returns, must say that delivery failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.bounces.parts import Leaf

LONGEST = 16 * 1024
"""Characters of a text that are looked at."""

_DAEMON = re.compile(
    r"mailer[-_ .]?daemon|mail[-_ .]?daemon|postmaster|mdaemon|mail delivery|mail administrator|mail system|"
    r"system administrator|delivery (?:system|subsystem)|mailerdaemon",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|non-?deliver|delivery (?:status notification|fail|failure|problem|error|report)|failure notice|"
    r"failure delivery|returned mail|mail (?:system error|delivery failed|delivery problem|not delivered|rejected)|"
    r"returning message|could not be delivered|not delivered|failed mail|message rejected|blocked message|"
    r"automatically rejected|error report|processing error|unzustellbar|nicht zustellbar|non remis|no se pudo entregar",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\s*(?:re|aw|sv|vs|antw|odp|rif|fwd?|wg|tr|auto)\s*(?:\[\d+\])?:", re.IGNORECASE)
_SUCCESS = re.compile(r"success|has been delivered|\(relay\)|relayed", re.IGNORECASE)
_FAILED = re.compile(
    "|".join(
        (
            r"deliver.{0,80}(?:fail|error|problem|undeliver)|undeliver|non-delivery report",
            r"fail.{0,80}(?:deliver|recipient|address)",
            r"(?:could ?n[o']t|cannot|can't|can not|not able to|unable to|wasn't able to|was not|not be|did not)"
            r"\W.{0,60}(?:deliver|reach|receive|sent|complete)",
            r"permanent(?: fatal)? error|rejected|(?<!delivered to the )following address|not accepting mail",
            r"returned to (?:the )?sender|is returned|(?:has|have) been returned",
            r"unknown (?:user|recipient|address)|user unknown|no such user|addressee unknown|did not exactly match",
            r"mailbox.{0,20}full|quota|account (?:has been )?(?:disabled|discontinued)",
            r"pas pu etre",
            r"\b5\d\d[ -]#?5\.\d+\.\d+|\(#5\.\d+\.\d+\)",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)
_DELAYED = re.compile(
    r"delayed|still being (?:re)?tried|warning only|will (?:be )?(?:retry|retried|continue|keep trying|try again)|"
    r"continue (?:to try|trying)|delivery attempts will continue|not yet been|"
    r"(?:not|n't) (?:been )?delivered yet|(?:held|placed) in (?:the )?quarantine|temporarily deferred",
    re.IGNORECASE,
)
_END = re.compile(
    r"\n[ \t>]*(?:-{2,}[^\n]{0,80}(?:original|copy of|below|header|message follows|body suppressed)|"
    r"original message (?:follows|as received|attached)|old message:|-{2,}[^\n]{0,20}returned (?:mail|message)|"
    r".{0,40}copy of (?:the|your) (?:message|mail|first part))",
    re.IGNORECASE,
)


def own_words(leaves: Sequence[Leaf]) -> str:
    """What a mail says itself, less the mail that it returns."""
    text = next((leaf.text for leaf in leaves if leaf.type.startswith("text/") and leaf.text.strip()), "")[:LONGEST]
    end = _END.search(text)
    return text[: end.start()] if end is not None and text[: end.start()].strip() else text


def from_a_server(sender: str) -> bool:
    """Whether a mail server wrote this, by its From."""
    return bool(_DAEMON.search(sender[:500]))


def called_a_bounce(subject: str) -> bool:
    """Whether the subject calls it a bounce; that of an answer may only repeat the one that it answers."""
    called = _SUBJECT.search(subject[:500]) and not _SUCCESS.search(subject[:500])
    return bool(called) and not _ANSWER.match(subject)


def says_delayed(subject: str, words: str) -> bool:
    """Whether it is said that delivery is still tried."""
    return bool(_DELAYED.search(subject[:500]) or _DELAYED.search(words[:LONGEST]))


def says_failed(words: str) -> bool:
    """Whether it is said that delivery failed."""
    return bool(_FAILED.search(words[:LONGEST]))
