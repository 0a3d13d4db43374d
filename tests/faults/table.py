"""What becomes of a mail for each fault of the smarthost at each stage: held against the running service by
``test_table``, and printed in docs/delivery.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """``act`` is what the fake smarthost does, ``words`` what an operator calls it, ``said`` what is then said of the
    mail, where it is not tried at once by another connection."""

    act: str
    words: str
    said: str


GONE = "451 4.4.2 The smarthost closed the connection"
SILENT = "451 4.4.2 The smarthost did not answer in time"
NONSENSE = "451 4.5.0 The smarthost gave an answer that makes no sense"

FAULTS = {
    "refuse": Fault("554 5.7.1 refused by policy", "refuses for good (5xx)", "554 5.7.1 refused by policy"),
    "defer": Fault("451 4.7.1 deferred by policy", "refuses for now (4xx)", "451 4.7.1 deferred by policy"),
    "leave": Fault("421 4.3.2 shutting down", "says 421 and closes", "421 4.3.2 shutting down"),
    "drop": Fault("drop", "closes the connection", GONE),
    "reset": Fault("reset", "resets the connection", GONE),
    "hang": Fault("hang", "says or takes nothing more", SILENT),
    "trickle": Fault("trickle", "answers at 1 octet a second, takes the mail slowly", SILENT),
    "garbage": Fault("what is this?", "answers what is no reply", NONSENSE),
}

STAGES = {
    "connect": "the connection is opened",
    "greeting": "the greeting",
    "ehlo": "EHLO",
    "starttls": "STARTTLS",
    "auth": "AUTH",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "body": "amid the content",
    "after": "after the final dot",
    "rset": "RSET, after a refused mail",
    "next": "MAIL of the next mail on the same connection",
}
BEFORE_MAIL = ("connect", "greeting", "ehlo", "starttls", "auth")

QUEUE = """
stage     refuse   defer   leave   drop    reset   hang    trickle  garbage
connect   waits    -       -       -       -       waits   -        -
greeting  waits    waits   waits   waits   waits   waits   passes   waits
ehlo      waits    waits   waits   waits   waits   waits   waits    waits
starttls  waits    waits   waits   waits   waits   waits   passes   waits
auth      waits    waits   waits   waits   waits   waits   passes   waits
mail      bounces  again   waits   again   again   again   passes   again
rcpt      bounces  again   waits   again   again   again   passes   again
data      bounces  again   waits   again   again   again   passes   again
body      bounces  again   waits   again   again   again   passes   again
after     bounces  again   waits   twice   twice   twice   passes   twice
rset      passes   passes  passes  passes  passes  passes  passes   passes
next      bounces  again   passes  passes  passes  again   passes   again
"""

PROXY = """
stage     refuse   defer   leave   drop    reset   hang    trickle  garbage
connect   later    -       -       -       -       later   -        -
greeting  later    later   later   later   later   later   passes   later
ehlo      later    later   later   later   later   later   later    later
starttls  later    later   later   later   later   later   passes   later
auth      later    later   later   later   later   later   passes   later
mail      refused  later   leaves  later   later   later   passes   later
rcpt      refused  later   leaves  later   later   later   passes   later
data      failed   later   leaves  later   later   later   passes   later
body      failed   later   leaves  later   later   later   passes   later
after     failed   later   leaves  twice   twice   twice   passes   twice
rset      passes   passes  passes  passes  passes  passes  passes   passes
next      refused  later   passes  passes  passes  later   passes   later
"""

TABLES = {"queue": QUEUE, "proxy": PROXY}

OUTCOMES = {
    "queue": {
        "passes": ("The mail is delivered, without a try being counted against it.", "none", "`sent` 1, `delivered` 1"),
        "again": (
            "This mail is tried again after `retry.first`, then after twice as long each time, up to `retry.longest`. "
            "Other mail to the smarthost goes on. `tracepost queue list` shows the smarthost's last words.",
            "failed, 4.4.7, after `retry.give_up_after`",
            "`pending` 1, then `sent` 1, or `errors` 1 when it is given up",
        ),
        "twice": (
            "As *again*. The smarthost may have taken the mail without our hearing so: it may then arrive a second "
            "time, octet for octet the same.",
            "failed, 4.4.7, after `retry.give_up_after`",
            "`pending` 1, then `sent` 1, or `errors` 1 when it is given up",
        ),
        "waits": (
            "The trouble is the smarthost's: it is left alone for a second, then for twice as long each time, up to a "
            "minute, and all its mail waits. `tracepost queue list` says since when, why, and when it is tried next.",
            "failed, 4.4.7, after `retry.give_up_after`",
            "`pending` 1, then `sent` 1, or `errors` 1 when it is given up",
        ),
        "bounces": (
            "The mail is not tried again.",
            "failed, with the smarthost's status and words, at once",
            "`bounced` 1",
        ),
    },
    "proxy": {
        "passes": ("the smarthost's consent", "`sent` 1, `delivered` 1"),
        "refused": ("the smarthost's refusal (5xx), at that command", "none: no mail was accepted"),
        "failed": ("the smarthost's refusal (5xx), to the data", "`bounced` 1"),
        "later": (
            "the smarthost's refusal for now (4xx), else 451 with the reason: it keeps the mail and tries again",
            "none, until it has tried again",
        ),
        "leaves": (
            "421, and its connection is closed: it keeps the mail and tries again",
            "none, until it has tried again",
        ),
        "twice": (
            "451 with the reason. The smarthost may have taken the mail without our hearing so; when the client tries "
            "again, it arrives a second time.",
            "none, until it has tried again",
        ),
    },
}


@dataclass(frozen=True)
class Case:
    """One cell; ``lasting``: the fault stays until the mail is done with, else it holds once."""

    delivery: str
    stage: str
    fault: str
    outcome: str
    lasting: bool

    @property
    def name(self) -> str:
        """As tests and domains are called."""
        return f"{self.stage}-{self.fault}-{'lasting' if self.lasting else 'once'}"

    @property
    def acts_at(self) -> str:
        """The stage as the fake smarthost knows it."""
        return "mail" if self.stage == "next" else self.stage

    @property
    def said(self) -> str:
        """What is said of the mail, at least how it begins."""
        if self.stage not in BEFORE_MAIL:
            return FAULTS[self.fault].said
        stage = "connect" if self.stage == "greeting" else self.stage
        return f"451 {'4.4.1' if stage == 'connect' else '4.3.5'} The smarthost cannot be used now ({stage}): "


def cells(delivery: str) -> Iterator[tuple[str, str, str]]:
    """Stage, fault and outcome of each cell."""
    heading, *rows = [line.split() for line in TABLES[delivery].strip().splitlines()]
    for stage, *outcomes in rows:
        for fault, outcome in zip(heading[1:], outcomes, strict=True):
            if outcome != "-":
                yield stage, fault, outcome


def cases(delivery: str) -> list[Case]:
    """Every cell with a fault that holds once, and where a mail is kept, also with one that lasts."""
    found = []
    for stage, fault, outcome in cells(delivery):
        found.append(Case(delivery, stage, fault, outcome, False))
        if outcome in ("again", "twice", "waits") and delivery == "queue" and stage != "next":
            found.append(Case(delivery, stage, fault, outcome, True))
    return found
