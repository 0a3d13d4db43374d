"""Notifications as the smarthost got them, and what a program reads in them."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message as Part

from tests.fakes.smarthost import FakeSmarthost, Message


@dataclass(frozen=True)
class Notice:
    """A DSN (RFC 3464): to whom it goes, what it says of the mail and of each recipient, the mail that it returns."""

    to: bytes
    about: Part
    recipients: list[Part]
    kind: str
    returned: bytes

    @property
    def said(self) -> tuple[str, str, str]:
        """Action, status and diagnostic of the first recipient."""
        return self.said_of(0)

    def said_of(self, number: int) -> tuple[str, str, str]:
        """Action, status and diagnostic of one recipient."""
        fields = self.recipients[number]
        return fields["Action"], fields["Status"], " ".join(fields["Diagnostic-Code"].split())


def notices(host: FakeSmarthost) -> list[Notice]:
    """The notifications that a smarthost took, in order."""
    return [read(message) for message in host.messages if message.mail.startswith(b"<>")]


def mails(host: FakeSmarthost) -> list[Message]:
    """Whatever else it took."""
    return [message for message in host.messages if not message.mail.startswith(b"<>")]


def read(message: Message) -> Notice:
    """Take a notification apart; one that is none fails."""
    mail = email.message_from_bytes(message.content)
    assert mail.get_content_type() == "multipart/report", message.content
    assert mail["Auto-Submitted"] == "auto-replied"
    assert len(message.recipients) == 1
    delimiter = b"\r\n--" + mail.get_boundary().encode()
    _, _, report, original, _ = message.content.split(delimiter)
    heading, _, returned = original.partition(b"\r\n\r\n")
    as_text = email.message_from_bytes(
        report.lstrip().replace(b" message/", b" text/", 1)
    )  # else decoding is not for it
    blocks = as_text.get_payload(decode=True).strip().split(b"\r\n\r\n")
    about, *recipients = (email.message_from_bytes(block) for block in blocks)
    kind = email.message_from_bytes(heading.lstrip()).get_content_type()
    return Notice(message.recipients[0], about, recipients, kind, returned)
