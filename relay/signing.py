"""Who signs which sender's mail as it leaves (DKIM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from relay.config import Config, Dkim
from relay.dkim import read_key
from relay.rewriting.signature import Identity, sign

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs one sender's mail."""

    identity: Identity

    def __call__(self, mail: bytes, at: float) -> bytes | None:
        """The mail with a signature on top, made at ``at`` (seconds since the epoch); None, and a line in the log,
        where it cannot be signed: that never costs a mail."""
        try:
            return sign(mail, self.identity, at)
        except ValueError as error:
            reason = str(error)
        except Exception as error:
            reason = type(error).__name__
        log.warning("a mail goes unsigned", domain=self.identity.domain, reason=reason)
        return None


Signers = Mapping[str, Signer]
"""Who signs, by the route of the sender's entry."""


def signers_of(config: Config) -> Signers:
    """The signers of all senders that have a key; of entries with one match the first counts. Raises DkimKeyError."""
    entries = {entry.route: entry.dkim for entry in reversed(config.senders)}
    return {route: _signer(dkim) for route, dkim in entries.items() if dkim is not None}


def _signer(dkim: Dkim) -> Signer:
    return Signer(Identity(dkim.domain, dkim.selector, read_key(dkim.key_file)))
