"""The stats API: messages, their links and events, every URL (contract, section 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tracker.reading import entries, models, params, shapes
from tracker.reading.answers import Missing, body_of, json_answer, listing, reads, writes
from tracker.reading.auth import Gate
from tracker.reading.operations import JSON, one, rows
from tracker.reading.parameters import LIST, PERIOD, Asked, choice, in_path, sender_of, text
from tracker.store.base import MessageFilter, Row, Store

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

STATUSES = ("pending", "sent", "delivered", "bounced", "error", "suppressed")
SENDER = sender_of("Of this sender alone.")
MESSAGES = (
    SENDER,
    text("tag", "With this tag."),
    text("mailing", "With this X-Track-Mailing."),
    text("mailing_key", "Of the mailing with this 'id'."),
    text("message_id", "With this Message-ID, with or without its angle brackets."),
    text("recipient", "To this address."),
    choice("status", STATUSES, "At least one recipient stands so."),
    text("q", "With this text in subject, sender, tag, Message-ID, id or an address."),
    *PERIOD,
)
"""The parameters that say which messages."""

MESSAGE_ID = in_path("id", "The 'id' of a message.", params.message_id, format="uuid")


def messages_asked_for(asked: Asked, zone: ZoneInfo) -> MessageFilter:
    """Which messages, by the parameters in ``MESSAGES``. Raises BadRequest."""
    since, until = params.period(asked, zone)
    names = ("sender", "tag", "mailing", "mailing_key", "message_id", "recipient", "status", "q")
    return MessageFilter(**{name: asked[name] for name in names}, since=since, until=until)


class Api:
    """Messages and links in the API, over one store."""

    def __init__(self, config: TrackerConfig, store: Store, gate: Gate) -> None:
        self.gate = gate
        self._store = store
        self._zone = ZoneInfo(config.timezone)

    @reads("/api/v1/messages", *MESSAGES, *LIST, gives=rows(models.Message))
    async def messages(self, request: Request, asked: Asked) -> Response:
        """Messages, one row each, newest first."""
        wanted = messages_asked_for(asked, self._zone)
        return await listing(asked, partial(self._store.messages, wanted), models.Message, "messages")

    @reads("/api/v1/messages/{id}", MESSAGE_ID, gives=one(models.MessageDetail))
    async def message(self, request: Request, asked: Asked) -> Response:
        """One message's row, and its recipients as ``recipients_detail``."""
        row = await self._row(asked)
        people = await run_in_threadpool(self._store.recipients, row["id"])
        detail = [shapes.shape(person, shapes.RECIPIENT) for person in people]
        return json_answer({**shapes.shape(row, shapes.MESSAGE), "recipients_detail": detail})

    @reads("/api/v1/messages/{id}/links", MESSAGE_ID, *LIST, gives=rows(models.Link))
    async def message_links(self, request: Request, asked: Asked) -> Response:
        """A message's links, by position."""
        row = await self._row(asked)
        return await listing(asked, partial(self._store.links, row["id"]), models.Link, "links")

    @reads("/api/v1/messages/{id}/events", MESSAGE_ID, *LIST, gives=rows(models.Event))
    async def message_events(self, request: Request, asked: Asked) -> Response:
        """A message's timeline, in the order of recording."""
        row = await self._row(asked)
        select = partial(self._store.events, message=row["id"])
        return await listing(asked, select, models.Event, "events", shapes.event)

    @reads("/api/v1/links", SENDER, *LIST, gives=rows(models.Url))
    async def links(self, request: Request, asked: Asked) -> Response:
        """Every URL seen, without its query, by URL."""
        return await listing(asked, partial(self._store.urls, asked["sender"]), models.Url, "links")

    @writes("PUT", "/api/v1/links", takes={JSON: models.LinkTypeToSave}, gives=one(models.SavedLinkType))
    async def save_link_type(self, request: Request, asked: Asked) -> Response:
        """Save the type of a URL or glob for later mail; null takes it back."""
        url, sender, kind = entries.link_type(entries.json_of(await body_of(request)))
        await run_in_threadpool(self._store.save_link_type, sender, url, kind)
        return json_answer({"url": url, "sender": sender, "type": kind})

    async def _row(self, asked: Asked) -> Row:
        row = await run_in_threadpool(self._store.message, asked["id"]) if asked["id"] else None
        if row is None:
            raise Missing("No message has this id; take an 'id' from /api/v1/messages.")
        return row
