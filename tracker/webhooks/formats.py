"""The formats that endpoints are told in, by their names in the configuration. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tracker.webhooks import mailgun, postmark, sendgrid, standard
from tracker.webhooks.notice import Notice
from tracker.webhooks.post import Post


class Format(Protocol):
    """What each of the modules is."""

    BATCH: int
    """Events that go together at most."""

    def check(self, secret: str | None) -> None:
        """Raise ValueError, with a sentence that goes on after the key's name, for a secret that will not do."""

    def told(self, name: str) -> bool:
        """Whether the format has a word for the event of this name."""

    def payload(self, notices: Sequence[Notice]) -> Any:
        """What is told, as JSON values, without a signature."""

    def post(self, notices: Sequence[Notice], secret: str | None, now: float) -> Post:
        """The request, signed at ``now`` in seconds since the epoch."""


FORMATS: dict[str, Format] = {
    "standard": standard,
    "mailgun": mailgun,
    "postmark": postmark,
    "sendgrid": sendgrid,
}
