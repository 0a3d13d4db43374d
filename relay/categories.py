"""What kind of mail a mail is: marketing, of which opt-outs are respected, or transactional. Pure."""

from __future__ import annotations

from typing import Literal

from relay.instrumenting import Plan
from relay.rewriting import message
from tracker.model import LinkType


def category(plan: Plan) -> Literal["marketing", "transactional"]:
    """What the sender's settings or the mail itself say; else marketing where the mail has an opt-out link or a
    List-Unsubscribe header."""
    if plan.profile.category == "marketing":
        return "marketing"
    if plan.profile.category == "transactional":
        return "transactional"
    opts_out = any(link.type is LinkType.OPT_OUT for link in plan.links)
    return "marketing" if opts_out or message.get(plan.mail, "List-Unsubscribe") is not None else "transactional"
