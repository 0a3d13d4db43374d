"""The mail by which a sender learns what became of recipients: a DSN, as the spool takes it."""

from __future__ import annotations

from collections.abc import Sequence

from relay.dispatch.dsn import Fate, notification
from relay.dispatch.mail import Mail, Rcpt, State
from tracker.model import new_id

_ACTIONS = {State.FAILED: "failed", State.RELAYED: "relayed", State.WAITING: "delayed"}


def notice_for(mail: Mail, recipients: Sequence[Rcpt], hostname: str, now: float, over_at: float) -> Mail:
    """The DSN about these recipients to the mail's reverse-path, by the same way: null sender, asking for no DSN of
    its own (RFC 3464 section 2, RFC 3461 section 6.2). ``over_at`` is when those who wait are given up."""
    id = new_id(now)
    fates = [_fate(each, over_at) for each in recipients]
    content = notification(
        hostname=hostname,
        id=id,
        reverse_path=mail.reverse_path,
        arrived_at=mail.accepted_at,
        envid=mail.options.get("ENVID"),
        ret=mail.options.get("RET"),
        original=mail.trace + mail.content,
        fates=fates,
        now=now,
    )
    options: dict[str, str | None] = {} if mail.reverse_path.isascii() else {"SMTPUTF8": None}
    sender = Rcpt(1, mail.reverse_path, {"NOTIFY": "NEVER"}, next_at=now)
    return Mail(id, mail.route, "", options, (sender,), "", b"", content, now, recorded=True)


def _fate(rcpt: Rcpt, over_at: float) -> Fate:
    said = rcpt.said
    return Fate(
        address=rcpt.address,
        action=_ACTIONS[rcpt.state],
        code=said.code if said else 451,
        enhanced=said.enhanced if said else "4.4.7",
        text=said.text if said else "it was never tried",
        remote=said.remote if said else None,
        orcpt=rcpt.options.get("ORCPT"),
        last_attempt=said.at if said else None,
        retry_until=over_at if rcpt.state is State.WAITING else None,
    )
