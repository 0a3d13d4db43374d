"""The mail by which a sender learns what became of recipients: a DSN, as the spool takes it."""

from __future__ import annotations

from collections.abc import Sequence

from relay.dispatch.dsn import Action, Fate, Report, notification
from relay.dispatch.mail import Mail, Rcpt, Said, State
from tracker.model import new_id

_ACTIONS: dict[State, Action] = {State.FAILED: "failed", State.RELAYED: "relayed", State.WAITING: "delayed"}


def notice_for(mail: Mail, recipients: Sequence[Rcpt], hostname: str, now: float, over_at: float) -> Mail:
    """The DSN about these recipients to the mail's reverse-path, by the same way: null sender, asking for no DSN of
    its own (RFC 3464 section 2, RFC 3461 section 6.2). ``over_at`` is when those who wait are given up."""
    report = Report(
        hostname=hostname,
        id=new_id(now),
        reverse_path=mail.reverse_path,
        arrived=mail.accepted_at,
        content=mail.trace + mail.content,
        fates=[_fate(each, now, over_at) for each in recipients],
        at=now,
        envid=mail.options.get("ENVID"),
        ret=mail.options.get("RET"),
    )
    content = notification(report)
    options = {} if content.isascii() else {"SMTPUTF8": None}
    sender = Rcpt(1, mail.reverse_path, {"NOTIFY": "NEVER"}, next_at=now)
    return Mail(report.id, mail.route, "", options, (sender,), "", b"", content, now, recorded=True)


def _fate(rcpt: Rcpt, now: float, over_at: float) -> Fate:
    said = rcpt.said or Said(451, "4.4.7", "it was never tried", None, now)
    return Fate(
        address=rcpt.address,
        action=_ACTIONS[rcpt.state],
        code=said.code,
        enhanced=said.enhanced,
        text=said.text,
        remote=said.remote,
        orcpt=rcpt.options.get("ORCPT"),
        last_attempt=said.at,
        retry_until=over_at if rcpt.state is State.WAITING else None,
    )
