"""Every event in the API, as a stream that can be taken up after any line (contract, section 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tracker.reading import params, shapes
from tracker.reading.answers import Select, download, reads
from tracker.reading.auth import Gate
from tracker.reading.models import Event, EventType
from tracker.reading.operations import CSV, JSON, Answer, Answers
from tracker.reading.parameters import CURSOR, FORMAT, LIMIT, PERIOD, Asked, choice
from tracker.store.base import Row, Store

if TYPE_CHECKING:
    from tracker.config import TrackerConfig

NDJSON = "application/x-ndjson"
_FIRST, _BATCH = 500, 2000
"""Events that are read at once: few, so that the answer begins soon, then many."""

_WHICH = (
    *PERIOD,
    choice("type", list(EventType), "Of this type alone."),
    replace(
        LIMIT,
        about="At most so many; all there are, unless given.",
        schema={"type": "integer", "minimum": 1, "maximum": params.MOST},
    ),
    replace(CURSOR, about="Go on after this: the 'cursor' of any event."),
    FORMAT,
)
_STREAM: Answers = {
    200: Answer(
        "Newline-delimited JSON, an Event a line; or CSV.",
        {
            NDJSON: {"type": "string", "contentMediaType": JSON, "contentSchema": Event},
            CSV: {"type": "string", "description": f"A header and a line an event: {', '.join(shapes.EVENT)}."},
        },
    )
}

Encode = Callable[[Sequence[Row]], bytes]
Batch = tuple[bytes, int, str | None]
"""Events as they go out, how many they are, and the key to go on after."""
Read = Callable[[int, str | None], Batch]
"""A batch: how many events at most, after which key. Blocks."""


class EventApi:
    """The events of one store."""

    def __init__(self, config: TrackerConfig, store: Store, gate: Gate) -> None:
        self.gate = gate
        self._store = store
        self._zone = ZoneInfo(config.timezone)

    @reads("/api/v1/events", *_WHICH, gives=_STREAM)
    async def events(self, request: Request, asked: Asked) -> Response:
        """Every event, in the order of recording, which never changes.

        What comes later stands later: go on after the `cursor` of the last line that came through, today or next year,
        and nothing is missed and nothing comes twice."""
        since, until = params.period(asked, self._zone)
        select = partial(self._store.events, kind=asked["type"], since=since, until=until)
        csv, left = asked["format"] == "csv", asked["limit"]
        read = partial(_read, select, shapes.event_table if csv else shapes.event_lines)
        # The first events are read before the answer begins, so that its errors still have a status.
        try:
            first = await run_in_threadpool(read, min(left or _FIRST, _FIRST), asked["cursor"])
        except ValueError:
            raise params.bad_cursor() from None
        headers = download("events") if csv else {}
        media_type = "text/csv; charset=utf-8" if csv else NDJSON
        if request.method == "HEAD":
            return Response(None, 200, headers, media_type)
        header = shapes.to_csv([], shapes.EVENT) if csv else b""
        return StreamingResponse(_stream(header, read, first, left), 200, headers, media_type)


def _read(select: Select, encode: Encode, limit: int, after: str | None) -> Batch:
    page = select(limit, after)
    return encode(page.rows), len(page.rows), page.next


async def _stream(header: bytes, read: Read, batch: Batch, left: int | None) -> AsyncIterator[bytes]:
    """Batch after batch. Nothing of the store is held in between, however long a reader takes for one."""
    octets, count, following = batch
    yield header + octets
    while following is not None:
        left = None if left is None else left - count
        if left == 0:
            return
        octets, count, following = await run_in_threadpool(read, min(left or _BATCH, _BATCH), following)
        yield octets
