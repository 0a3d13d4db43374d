"""From a spooled mail to its copies: the scan, what the store is told, a copy a recipient.

All that decides is in the mail and its frozen profile, so a retry after a crash, a reload or a key rotation makes the
same copies with the same links; but for what a recipient wants no more, which holds from the next try on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import structlog

from relay.bounces.address import Returning, fill
from relay.dispatch.dsn import shortened
from relay.dispatch.envelope import Copy, Sign, Target
from relay.dispatch.mail import Mail
from relay.instrumenting import Plan, Reader, plan
from relay.known import Knowledge
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
    """A mail, scanned; ``decided`` is None for a mail of our own, which goes as it is. ``known`` is asked anew at each
    try: who has opted out meanwhile gets no copy. ``sign`` signs the copies; ``page`` is what the mirror page needs, if
    the mail has one and the store was not told yet."""

    def __init__(
        self,
        mail: Mail,
        decided: Plan | None,
        keyring: Keyring,
        known: Knowledge,
        sign: Sign | None = None,
        page: MirrorPage | None = None,
    ) -> None:
        self.page = page
        self._mail = mail
        self._plan = decided
        self._keyring = keyring
        self._known = known
        self._sign = sign

    @property
    def accepted(self) -> Accepted | None:
        """What the store is told of the mail; None for one of our own."""
        return None if self._plan is None else accepted(self._mail, self._plan)

    @property
    def apart(self) -> bool:
        """Whether each recipient gets a copy of its own."""
        decided = self._plan
        if decided is None or decided.profile.shared:
            return False
        return self._returning or (decided.differs and (decided.profile.attributed or decided.personal))

    @property
    def _returning(self) -> bool:
        """Whether each copy has a reverse-path of its own; the null one stays, since nobody is to hear of such mail."""
        profile = self._plan.profile if self._plan is not None else None
        return (
            profile is not None and profile.bounces is not None and not profile.shared and self._mail.reverse_path != ""
        )

    def alike(self, targets: Sequence[Target]) -> bool:
        """Whether all of them get the same octets, from the reverse-path that the mail came with."""
        if self._returning:
            return False
        return len(targets) < 2 or (not self.apart and len({self._untracked(each) for each in targets}) == 1)

    def suppressed(self, targets: Sequence[Target]) -> Mapping[int, str]:
        """Those who are not to be written to, by ordinal, and why. Mail that passes untouched has no opt-out."""
        if self._plan is None or self._plan.profile.reason is not None:
            return {}
        sender, marketing = self._plan.profile.sender, self._plan.category == "marketing"
        found = {each.ordinal: self._known.refusal(sender, each.address, marketing) for each in targets}
        return {ordinal: why for ordinal, why in found.items() if why is not None}

    def batches(self, targets: Sequence[Target]) -> Sequence[tuple[Target, ...]]:
        """The recipients by copy: each alone where the copies differ, else together, up to ``MOST_TOGETHER``, those who
        want no tracking apart from the others."""
        size = 1 if self.apart else MOST_TOGETHER
        plain = {each.ordinal for each in targets if self._untracked(each)}
        groups = [[each for each in targets if (each.ordinal in plain) is apart] for apart in (False, True)]
        return [tuple(group[at : at + size]) for group in groups for at in range(0, len(group), size)]

    def copy(self, targets: tuple[Target, ...]) -> Copy:
        """The copy of one batch; one without tracking where any of them wants none."""
        mail, decided = self._mail, self._plan
        if decided is None:
            content = mail.trace + mail.content
            # What another host wrote, which has a trace, goes whole or not at all.
            original = None if mail.trace else shortened(content)
            return Copy(mail.reverse_path, targets, content, mail.options, original=original)
        mail_from = self._reverse_path(targets)
        untouched = mail.trace + decided.mail
        untracked = any(self._untracked(each) for each in targets)
        if untracked:
            decided = self._plain
        if not decided.differs:
            return Copy(mail_from, targets, mail.trace + decided.mail, mail.options, sign=self._sign)
        reader = Reader(targets[0].ordinal, targets[0].address) if self.apart else None
        content = decided.copy_for(reader, mail.id, self._keyring, plain=untracked)
        return Copy(mail_from, targets, mail.trace + content, mail.options, untouched, self._sign)

    def _reverse_path(self, targets: Sequence[Target]) -> str:
        """Whom a host tells what became of this copy: us, where the sender wants it so, else the sender."""
        profile = self._plan.profile if self._plan is not None else None
        if profile is None or profile.bounces is None or not self._returning:
            return self._mail.reverse_path
        return fill(profile.bounces, Returning(self._mail.id, targets[0].ordinal), self._keyring, profile.key)

    def _untracked(self, target: Target) -> bool:
        decided = self._plan
        return (
            decided is not None
            and decided.instrumented
            and self._known.untracked(decided.profile.sender, target.address)
        )

    @cached_property
    def _plain(self) -> Plan:
        """What is done with the mail where nothing is tracked: only what its own words ask for."""
        assert self._plan is not None
        profile = replace(self._plan.profile, open_tracking=False, click_tracking=False, text_tracking=False)
        return plan(self._mail.content, profile, self._keyring)


def prepare(mail: Mail, settings: Settings, known: Knowledge) -> PreparedMail:
    """Scan a mail. Never raises for anything that a mail can hold."""
    if not mail.profile:
        return PreparedMail(mail, None, settings.keyring, known)
    decided = plan(mail.content, thaw(mail.profile), settings.keyring)
    page = None if mail.recorded else page_of(mail, decided)
    return PreparedMail(mail, decided, settings.keyring, known, sign_of(mail, decided, settings), page)


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
        reverse_path=mail.reverse_path,
        attributed=profile.attributed and (not profile.shared or len(mail.recipients) == 1),
    )
