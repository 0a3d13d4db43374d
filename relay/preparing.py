"""From a spooled mail to its copies: the scan, what the store is told, a copy a recipient.

All that decides is in the mail and its frozen profile, so a retry after a crash, a reload or a key rotation makes the
same copies with the same links.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from relay.dispatch.dsn import shortened
from relay.dispatch.envelope import Copy, Sign, Target
from relay.dispatch.mail import Mail
from relay.instrumenting import Plan, Reader, plan
from relay.reception.senders import thaw
from relay.rewriting import message
from relay.settings import Settings
from tracker.mirror import pack
from tracker.model import Accepted, MirrorPage, Recipient
from tracker.tokens import Keyring

log = structlog.get_logger()

MOST_TOGETHER = 100
"""Recipients of one transaction: as many as every host must take (RFC 5321 section 4.5.3.1.8)."""


class PreparedMail:
    """A mail, scanned; ``decided`` is None for a mail of our own, which goes as it is. ``sign`` signs its copies;
    ``page`` is what its mirror page needs, if it has one and the store was not told yet."""

    def __init__(
        self,
        mail: Mail,
        decided: Plan | None,
        keyring: Keyring,
        sign: Sign | None = None,
        page: MirrorPage | None = None,
    ) -> None:
        self.page = page
        self._mail = mail
        self._plan = decided
        self._keyring = keyring
        self._sign = sign

    @property
    def accepted(self) -> Accepted | None:
        """What the store is told of the mail; None for one of our own."""
        return None if self._plan is None else accepted(self._mail, self._plan)

    @property
    def apart(self) -> bool:
        """Whether each recipient gets a copy of its own."""
        return self._plan is not None and self._plan.differs and not self._plan.profile.shared

    def batches(self, targets: Sequence[Target]) -> Sequence[tuple[Target, ...]]:
        """The recipients by copy: each alone where the copies differ, else together, up to ``MOST_TOGETHER``."""
        size = 1 if self.apart else MOST_TOGETHER
        return [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]

    def copy(self, targets: tuple[Target, ...]) -> Copy:
        """The copy of one batch."""
        mail, decided = self._mail, self._plan
        if decided is None:
            content = mail.trace + mail.content
            return Copy(mail.reverse_path, targets, content, mail.options, original=shortened(content))
        plain = mail.trace + decided.mail
        if not decided.differs:
            return Copy(mail.reverse_path, targets, plain, mail.options, sign=self._sign)
        reader = Reader(targets[0].ordinal, targets[0].address) if self.apart else None
        content = decided.copy_for(reader, mail.id, self._keyring)
        return Copy(mail.reverse_path, targets, mail.trace + content, mail.options, plain, self._sign)


def prepare(mail: Mail, settings: Settings) -> PreparedMail:
    """Scan a mail. Never raises for anything that a mail can hold."""
    if not mail.profile:
        return PreparedMail(mail, None, settings.keyring)
    decided = plan(mail.content, thaw(mail.profile), settings.keyring)
    page = None if mail.recorded else page_of(mail, decided)
    return PreparedMail(mail, decided, settings.keyring, sign_of(mail, decided, settings), page)


def page_of(mail: Mail, decided: Plan) -> MirrorPage | None:
    """What the mirror page of a mail needs, None where it has none."""
    document = decided.document
    return None if document is None else MirrorPage(mail.id, mail.accepted_at, pack(document))


def sign_of(mail: Mail, decided: Plan, settings: Settings) -> Sign | None:
    """What signs the copies of a mail, None where none is signed. It always gives the same signature, by the key that
    its sender has now."""
    if not decided.signs:
        return None
    signer = settings.signers.get(decided.profile.route or "", unsigned)
    return lambda content: signer(content, mail.accepted_at)


def unsigned(mail: bytes, at: float) -> None:
    """The signer of a sender who has lost the key since."""
    log.warning("a mail goes unsigned", reason="its sender has no key any more")


def accepted(mail: Mail, decided: Plan) -> Accepted:
    """The record of a mail, all of whose recipients are still in it."""
    profile = decided.profile
    return Accepted(
        id=mail.id,
        message_id=message.get(mail.content, "Message-ID") or message.get(mail.trace, "Message-ID") or "",
        sender=profile.sender,
        subject=profile.subject,
        tag=profile.tag,
        mailing=profile.mailing,
        metadata=profile.metadata,
        accepted_at=mail.accepted_at,
        instrumented=decided.instrumented,
        reason=decided.reason,
        pixel=decided.scan is not None and decided.scan.pixels,
        recipients=tuple(Recipient(each.ordinal, each.address) for each in mail.recipients),
        links=decided.links,
        attributed=not profile.shared or len(mail.recipients) == 1,
    )
