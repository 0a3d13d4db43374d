"""The dashboard's page of one message."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading import params
from tracker.reading.frame import Frame, Visit, signed_in
from tracker.store.base import Store

_TIMELINE = 200


class MessagePage:
    """A message of one store."""

    def __init__(self, frame: Frame, store: Store) -> None:
        self.frame = frame
        self._store = store

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/messages/{id}", self.message)]

    @signed_in
    async def message(self, visit: Visit) -> Response:
        """One message: counts, recipients, links, timeline."""
        id = params.message_id(visit.request.path_params["id"])
        row = await run_in_threadpool(self._store.message, id) if id else None
        if id is None or row is None:
            text = "No message has this address. It may have been purged, or the link was cut short."
            return visit.problem(404, "Not found", text)
        people = await run_in_threadpool(self._store.recipients, id)
        links = await run_in_threadpool(self._store.links, id, params.MOST)
        events = await run_in_threadpool(lambda: self._store.events(params.MOST, message=id))
        timeline = sorted(events.rows, key=lambda event: event["at"], reverse=True)
        return visit.page(
            "message.html",
            message=row,
            people=people,
            links=links.rows,
            events=timeline[:_TIMELINE],
            more=len(timeline) > _TIMELINE or events.next is not None,
        )
