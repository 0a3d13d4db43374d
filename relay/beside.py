"""What the tracker's dashboard is shown of the relay: the queue, the sandbox, the configuration."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from relay import inventory
from relay.config import Config
from relay.dispatch import rows
from relay.dispatch.mail import Mail, Rcpt
from relay.dispatch.spool import FOLDER
from relay.inbox import SandboxInbox
from relay.queueing import ask_all, hosts
from tracker.errors import BadToken
from tracker.reading.beside import Beside, Configuration, QueuedMail, QueueState, Trouble, Waiting
from tracker.tokens import Click, Keyring
from tracker.webhooks.endpoint import endpoints_of


def beside(config: Config, keyring: Keyring, newest: Callable[[], Config]) -> Beside:
    """All that is shown of a service that was started with ``config``; ``newest`` is the configuration as it was last
    read."""
    return Beside(
        partial(queue_state, config.data_dir),
        SandboxInbox(config.data_dir) if has_sandbox(config) else None,
        lambda: Configuration(inventory.sections(config, newest()), _version()),
        lambda: endpoints_of(newest().tracker),
        partial(target, keyring),
    )


def has_sandbox(config: Config) -> bool:
    """Whether some mail is kept here instead of being sent."""
    smarthosts = [config.relay.smarthost, *(entry.smarthost for entry in config.senders if entry.smarthost)]
    return any(each.host == "sandbox" for each in smarthosts)


def target(keyring: Keyring, url: str) -> str | None:
    """Where a click on a tracked URL leads, None where it is none that we sealed."""
    _, _, token = url.rpartition("/c/")
    try:
        return keyring.open(Click, token).url
    except BadToken:
        return None


def queue_state(data_dir: Path, limit: int, after: str | None) -> QueueState | None:
    """The queue of all spool files, None where there is no spool. Raises SpoolError, and ValueError for a bad
    ``after``."""
    if not (data_dir / FOLDER).is_dir():
        return None
    key = _key(after)
    figures = ask_all(data_dir, lambda path, db: db.execute(_FIGURES).fetchone())
    found = [mail for mails in ask_all(data_dir, lambda path, db: _waiting(db, key, limit + 1)) for mail in mails]
    found.sort(key=lambda mail: (mail.accepted_at, mail.id))
    shown, last = found[:limit], found[limit - 1] if len(found) > limit else None
    return QueueState(
        sum(count for count, _, _ in figures),
        sum(octets for _, octets, _ in figures),
        min((since for _, _, since in figures if since is not None), default=None),
        [Trouble(host.route, host.since, host.next_at, host.reason) for host in hosts(data_dir)],
        shown,
        None if last is None else json.dumps([last.accepted_at, last.id]),
    )


_FIGURES = "SELECT count(*), coalesce(sum(size), 0), min(accepted_at) FROM messages"


def _key(after: str | None) -> tuple[float, str]:
    key = json.loads(after) if after is not None else [0.0, ""]
    if not (isinstance(key, list) and [type(each) for each in key] == [float, str]):
        raise ValueError("not a key of the queue")
    return key[0], key[1]


def _waiting(db: sqlite3.Connection, key: tuple[float, str], limit: int) -> list[QueuedMail]:
    sql = (
        "SELECT id, size, next_at FROM messages WHERE accepted_at >= ? AND (accepted_at, id) > (?, ?)"
        " ORDER BY accepted_at, id LIMIT ?"
    )
    found = db.execute(sql, (key[0], *key, limit)).fetchall()
    mails = ((rows.mail_of(db, id), size, next_at) for id, size, next_at in found)
    return [_shown(mail, size, next_at) for mail, size, next_at in mails if mail is not None]


def _shown(mail: Mail, size: int, next_at: float | None) -> QueuedMail:
    people = [_recipient(each) for each in mail.recipients]
    about = (str(mail.id), mail.reverse_path, mail.route, size, mail.accepted_at, next_at)
    return QueuedMail(*about, own=not mail.profile, recipients=people)


def _recipient(each: Rcpt) -> Waiting:
    said = each.said.reply if each.said else None
    return Waiting(each.address, each.state.value, each.attempts, each.next_at, said)


def _version() -> str:
    try:
        return version("tracepost")
    except PackageNotFoundError:
        return "unknown"
