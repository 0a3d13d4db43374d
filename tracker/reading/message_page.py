"""The dashboard's page of one message: its way from acceptance to clicks, recipients, links, timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.model import LinkType
from tracker.reading import models, params, reasons, shapes, timeline
from tracker.reading.answers import read_page
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import Frame, Visit, signed_in
from tracker.reading.picture_page import PicturePage
from tracker.store.base import LinkTypeChange, Row, Store
from tracker.store.link_types import SavedTypes, of_sender, saved_for

PEOPLE, EVENTS = 25, 50
"""Recipients and events that are shown at once."""

CHOICES = 100
"""Recipients that a list to choose from can have."""

STATES = {
    "pending": lambda row: row["status"] == "pending",
    "sent": lambda row: row["status"] == "sent",
    "bounced": lambda row: row["status"] == "bounced",
    "error": lambda row: row["status"] == "error",
    "suppressed": lambda row: row["status"] == "suppressed",
    "opened": lambda row: row["opens"] > 0,
    "clicked": lambda row: row["clicks"] > 0,
}
"""What recipients can be picked by."""


class MessagePage:
    """A message of one store; ``picture`` shows its HTML where that is kept."""

    def __init__(self, frame: Frame, store: Store, picture: PicturePage) -> None:
        self.frame = frame
        self._store = store
        self._picture = picture

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/messages/{id}", self.message)]

    @signed_in
    async def message(self, visit: Visit) -> Response:
        """One message."""
        asked = visit.asked("recipient", "state", "q", "page", "cursor", "images", "done", "count", *CSV)
        id = params.message_id(visit.request.path_params["id"])
        row = await run_in_threadpool(self._store.message, id) if id else None
        if id is None or row is None:
            text = "No message has this address. It may have been purged, or the link was cut short."
            return visit.problem(404, "Not found", text)
        only, cursor = params.number(asked, "recipient"), params.cursor(asked)
        events = partial(self._store.events, message=id, recipient=only)
        links = partial(self._store.links, id)
        file = await file_of(
            asked,
            {
                "recipients": Table.of(shapes.RECIPIENT, partial(self._store.recipients, id)),
                "links": Table(models.columns(models.Link), links),
                "timeline": Table(shapes.EVENT, events, shapes.event),
            },
        )
        if file is not None:
            return file
        people = await run_in_threadpool(self._store.recipients, id)
        found = await run_in_threadpool(links, params.MOST)
        happened = await read_page(events, EVENTS, cursor)
        by_position = {link["position"]: link for link in found.rows}
        saved = await run_in_threadpool(self._saved, row["sender"])
        return visit.page(
            "message.html",
            message=row,
            steps=timeline.funnel(row),
            why=reasons.of_mail(row["reason"]),
            links=[_with_type(link, saved) for link in found.rows],
            most=max((link["clicks"] for link in found.rows), default=0),
            more_links=found.next is not None,
            types=list(LinkType),
            people=_picked(people, asked),
            only=next((each for each in people if each["ordinal"] == only), None),
            choosable=people if row["attributed"] and 1 < len(people) <= CHOICES else [],
            lines=timeline.lines(happened.rows, row, by_position, cursor is None),
            later=params.seal_cursor(happened.next),
            begun=cursor is not None,
            picture=await run_in_threadpool(self._picture.about, id, visit.request),
            images="images" in asked,
            done=asked.get("done"),
        )

    def _saved(self, sender: str | None) -> SavedTypes:
        rows = self._store.link_types()
        return of_sender([LinkTypeChange(row["sender"], row["url"], LinkType(row["type"])) for row in rows], sender)


@dataclass(frozen=True, slots=True)
class Picked:
    """Recipients that are shown: of how many, and which page of them."""

    rows: Sequence[Row]
    total: int
    all: int
    page: int
    pages: int
    state: str | None
    q: str


def _picked(people: Sequence[Row], asked: Mapping[str, str]) -> Picked:
    state, q = params.choice(asked, "state", list(STATES)), asked.get("q", "").strip()
    found = [
        row for row in people if (state is None or STATES[state](row)) and q.lower() in (row["address"] or "").lower()
    ]
    pages = max(1, -(-len(found) // PEOPLE))
    page = min(params.number(asked, "page") or 1, pages)
    return Picked(found[(page - 1) * PEOPLE : page * PEOPLE], len(found), len(people), page, pages, state, q)


def _with_type(link: Row, saved: SavedTypes) -> dict[str, Any]:
    """A link with the type that is saved for it, and the URL to save one for (None where none would be heard)."""
    page = link["url"].partition("#")[0].partition("?")[0]
    why = reasons.of_link(link["reason"] or "", link["type"])
    decided = (link["reason"] or "").split(" ")[0] in ("attribute", "placeholder", "scheme")
    can = page.startswith(("http://", "https://")) and not decided
    return {**link, "why": why, "saved_type": saved_for(page, saved), "page": page if can else None}
