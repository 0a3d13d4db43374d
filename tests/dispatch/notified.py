"""Notifications for tests, and the standard library's parser as their judge."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message
from uuid import UUID

from relay.dispatch.dsn import Fate, Report, notification

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
MAIL = (
    b"Received: from client\r\n\tby relay.example.com\r\n"
    b"From: Ann <ann@example.com>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here\r\n"
    b"Date: Tue, 14 Nov 2023 20:00:00 +0100\r\n"
    b"Message-ID: <original@example.com>\r\n"
    b"\r\n"
    b"Hello Bob.\r\n"
)
HEADER = MAIL[: MAIL.index(b"\r\n\r\n") + 2]


def fate(action="failed", code=550, enhanced="5.1.1", **given) -> Fate:
    known = {
        "address": "bob@example.net",
        "text": "No such user here",
        "remote": "smtp.example.org",
        "orcpt": None,
        "last_attempt": 1_700_000_100.0,
    }
    return Fate(action=action, code=code, enhanced=enhanced, **(known | given))


def report(*fates: Fate, **given) -> Report:
    known = {
        "hostname": "relay.example.com",
        "id": ID,
        "reverse_path": "ann@example.com",
        "arrived": 1_700_000_000.0,
        "content": MAIL,
        "fates": fates or (fate(),),
        "at": 1_700_000_200.0,
    }
    return Report(**(known | given))


@dataclass
class Read:
    """A notification as its reader finds it: by the parser, but for ``returned``, which is cut out octet by octet."""

    mail: Message
    text: str
    about: Message
    recipients: list[Message]
    kind: str
    encoding: str
    returned: bytes


def read(of: Report) -> Read:
    """Take a notification apart and hold it to what holds for every one."""
    raw = notification(of)
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\0" not in raw
    mail = email.message_from_bytes(raw)
    assert not mail.defects
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    parts = mail.get_payload()
    assert len(parts) == 3
    assert [part["Content-Description"] for part in parts] == ["Notification", "Delivery report", "Returned mail"]
    delimiter = b"\r\n--" + mail.get_boundary().encode()
    _, *cut, end = raw.split(delimiter)
    assert (len(cut), end) == (3, b"--\r\n")
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in cut]
    for part, body in zip(parts, bodies, strict=True):
        assert part["Content-Transfer-Encoding"] == "8bit" or body.isascii()
    assert (mail["Content-Transfer-Encoding"] == "8bit") == (not b"".join(bodies).isascii())
    assert bodies[1].endswith(b"\r\n")
    blocks = [email.message_from_bytes(block + b"\r\n") for block in bodies[1][:-2].split(b"\r\n\r\n")]
    assert not any(block.defects or block.get_payload() for block in blocks)
    about, *recipients = blocks
    assert len(recipients) == len(of.fates)
    return Read(
        mail=mail,
        text=parts[0].get_payload(decode=True).decode(parts[0].get_content_charset()),
        about=about,
        recipients=recipients,
        kind=parts[2].get_content_type(),
        encoding=parts[2]["Content-Transfer-Encoding"],
        returned=bodies[2],
    )
