"""An endpoint: where events are sent to, as the configuration has it. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from tracker.webhooks.formats import FORMATS, Format
from tracker.webhooks.names import asked_for

if TYPE_CHECKING:
    from tracker.config import TrackerConfig, Webhook


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``place`` is its index in ``tracker.webhooks``, by which people see it, and ``key`` that by which the store knows
    it; ``mark`` changes with anything about it. ``names`` are the events it wants, each with its word for it.
    ``url`` is without the user name and password, which ``authorization`` holds."""

    place: int
    key: str
    mark: str
    url: str = field(repr=False)
    authorization: str | None = field(repr=False)
    format: str
    secret: str | None = field(repr=False)
    names: Mapping[str, str]
    machine: bool
    allow_private: bool

    @property
    def form(self) -> Format:
        """How it is told."""
        return FORMATS[self.format]

    @property
    def shown(self) -> str:
        """Its URL without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?…" if parts.query else "")


def endpoint_of(place: int, webhook: Webhook) -> Endpoint:
    """The endpoint at a place of ``tracker.webhooks``."""
    secret = None if webhook.secret is None else webhook.secret.get_secret_value()
    form = FORMATS[webhook.format]
    whole = urlsplit(webhook.url)
    user, at, host = whole.netloc.rpartition("@")
    login = base64.b64encode(unquote_to_bytes(user if ":" in user else f"{user}:")).decode()
    options = (webhook.url, webhook.format, secret, webhook.events, webhook.machine, webhook.allow_private)
    return Endpoint(
        place=place,
        key=_hash(webhook.url, webhook.format)[:32],
        # Too short to find the secret by.
        mark=_hash(*options)[:8],
        url=whole._replace(netloc=host).geturl(),
        authorization=f"Basic {login}" if at else None,
        format=webhook.format,
        secret=secret,
        names={name: word for name, word in asked_for(webhook.events).items() if form.told(name)},
        machine=webhook.machine,
        allow_private=webhook.allow_private,
    )


def endpoints_of(config: TrackerConfig) -> list[Endpoint]:
    """All endpoints, in their order."""
    return [endpoint_of(place, each) for place, each in enumerate(config.webhooks)]


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
