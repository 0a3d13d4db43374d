"""Mailings in the API: the rows that people look for, each a newsletter, not a transaction (contract, section 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tracker.reading import models, shapes
from tracker.reading.answers import Missing, json_answer, listing, reads
from tracker.reading.api import MESSAGES, messages_asked_for
from tracker.reading.auth import Gate
from tracker.reading.operations import one, rows
from tracker.reading.parameters import LIST, Asked, in_path
from tracker.store.base import Numbers, Row

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

MAILING_ID = in_path("id", "The 'id' of a mailing.")


class MailingApi:
    """The mailings of one store."""

    def __init__(self, config: TrackerConfig, numbers: Numbers, gate: Gate) -> None:
        self.gate = gate
        self._numbers = numbers
        self._zone = ZoneInfo(config.timezone)

    @reads("/api/v1/mailings", *MESSAGES, *LIST, gives=rows(models.Mailing))
    async def mailings(self, request: Request, asked: Asked) -> Response:
        """Mailings, one row each, newest first; filtered by the messages in them.

        A mailing is the messages of one sender with one X-Track-Mailing, else with one tag on one day, else with one
        subject on one day. Its columns are sums over all of its messages."""
        select = partial(self._numbers.mailings, messages_asked_for(asked, self._zone))
        return await listing(asked, select, models.Mailing, "mailings")

    @reads("/api/v1/mailings/{id}", MAILING_ID, gives=one(models.Mailing))
    async def mailing(self, request: Request, asked: Asked) -> Response:
        """One mailing's row."""
        return json_answer(shapes.shape(await self._row(asked), models.columns(models.Mailing)))

    @reads("/api/v1/mailings/{id}/links", MAILING_ID, *LIST, gives=rows(models.MailingLink))
    async def mailing_links(self, request: Request, asked: Asked) -> Response:
        """A mailing's links by position, each summed over its messages."""
        row = await self._row(asked)
        return await listing(asked, partial(self._numbers.mailing_links, row["id"]), models.MailingLink, "links")

    async def _row(self, asked: Asked) -> Row:
        row = await run_in_threadpool(self._numbers.mailing, asked["id"])
        if row is None:
            raise Missing("No mailing has this id; take an 'id' from /api/v1/mailings.")
        return row
