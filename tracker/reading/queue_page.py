"""The dashboard's page of the queue, as the relay's spool has it now. It only shows: the commands beside it act."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import SpoolError
from tracker.reading import params
from tracker.reading.beside import Queue, QueueState
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, Frame, Visit, signed_in
from tracker.store.base import Page, Row

COLUMNS = ("id", "sender", "recipient", "state", "tries", "accepted_at", "next_at", "reply", "smarthost", "size")
"""One row a recipient that waits."""

SHOWN = 5
"""Recipients of a mail that are shown at once."""


class QueuePage:
    """The queue; None where whoever started the tracker knows of none."""

    def __init__(self, frame: Frame, queue: Queue | None) -> None:
        self.frame = frame
        self._queue = queue

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/queue", self.list)]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The mails that wait, the longest waiting first."""
        asked = visit.asked("cursor", *CSV)
        cursor = params.cursor(asked)
        try:
            file = await file_of(asked, {"queue": Table(COLUMNS, self._rows)})
            state = None if file else await run_in_threadpool(self._state, ROWS, cursor)
        except SpoolError:
            text = "The files of the queue cannot be read now. The log of the service says more; try again in a moment."
            return visit.problem(503, "The queue cannot be read", text)
        if file is not None:
            return file
        return visit.page(
            "queue.html",
            queue=state,
            now=self.frame.clock(),
            shown=SHOWN,
            older=params.seal_cursor(state.next) if state else None,
            later=cursor is not None,
        )

    def _state(self, limit: int, after: str | None) -> QueueState | None:
        try:
            return self._queue(limit, after) if self._queue else None
        except ValueError:
            raise params.bad_cursor() from None

    def _rows(self, limit: int, after: str | None) -> Page:
        state = self._state(limit, after)
        return Page(rows_of(state), state.next) if state else Page([], None)


def rows_of(state: QueueState) -> list[Row]:
    """One row a recipient."""
    return [
        {
            "id": mail.id,
            "sender": mail.sender,
            "recipient": each.address,
            "state": each.state,
            "tries": each.attempts,
            "accepted_at": mail.accepted_at,
            "next_at": mail.next_at and each.next_at,
            "reply": each.reply,
            "smarthost": mail.route,
            "size": mail.size,
        }
        for mail in state.page
        for each in mail.recipients
    ]
