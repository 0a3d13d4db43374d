"""The stream of all events: its lines, taking it up again while events are written, readers that stop reading."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import NOW, accepted, hit
from tests.tracker.test_server import serving
from tests.tracker.tracked import READ_KEY, judge, tracker
from tracker.model import HitClass, Verdict, new_id
from tracker.reading import models, shapes
from tracker.store.sqlite import SqliteStore

AUTH = {"Authorization": f"Bearer {READ_KEY}"}
TEXT = st.none() | st.text()
ROWS = st.fixed_dictionaries(
    {
        "cursor": st.integers(0, 2**53).map(lambda at: f"[{at}]"),
        "id": st.uuids().map(str),
        "at": st.floats(0, 4e9),
        "type": st.sampled_from([str(kind) for kind in models.EventType]),
        "message": st.uuids().map(str),
        "recipient": st.none() | st.integers(1, 1000),
        "recipient_address": TEXT,
        "position": st.none() | st.integers(0, 1000),
        "url": TEXT,
        "class": st.sampled_from([None, "human", "machine"]),
        **dict.fromkeys(("kind", "reason", "address", "agent", "reply"), TEXT),
        "rules": st.none() | st.integers(1, 9),
        "signals": st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
    }
)


@given(st.lists(ROWS, max_size=3))
def test_a_line_is_the_event_as_it_is_shown_elsewhere(rows: list[dict[str, Any]]) -> None:
    lines = shapes.event_lines(rows)
    assert lines == b"".join(shapes.to_json(shapes.event(row)) + b"\n" for row in rows)
    for line in lines.split(b"\n")[:-1]:
        judge().fits(json.loads(line), judge().reference("Event"))
        models.Event.model_validate_json(line)


def ids_of(lines: list[str]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("step", [1, 7, 400])
async def test_nothing_is_missed_or_told_twice_while_events_are_written(tmp_path: Path, step: int) -> None:
    async with tracker(tmp_path) as t:
        writers = [SqliteStore(tmp_path / "store.sqlite") for _ in range(2)]
        message = accepted()
        t.store.apply([message])
        made: list[UUID] = []

        def write(store: SqliteStore, back: int) -> None:
            for n in range(25):
                # Late ones too: what comes in later stands later, whenever it was.
                found = [hit(message.id, 1, 0, NOW + n - back * 1000, id=new_id()) for _ in range(4)]
                store.apply(found)
                made.extend(each.id for each in found)

        threads = [threading.Thread(target=write, args=(store, back)) for back, store in enumerate(writers)]
        for thread in threads:
            thread.start()
        seen: list[str] = []
        cursor, last_look = "", False
        while True:
            asked = {"cursor": cursor, "limit": step} if step < 400 else {"cursor": cursor}
            answer = await t.client.get("/api/v1/events", params=asked, headers=AUTH)
            lines = answer.text.splitlines()
            seen += ids_of(lines)
            cursor = json.loads(lines[-1])["cursor"] if lines else cursor
            if not lines and last_look:
                break
            last_look = not any(thread.is_alive() for thread in threads)
        assert len(seen) == len(set(seen))
        assert set(seen) >= {str(id) for id in made}
        assert len(seen) == len(made) + 1
        everything = await t.client.get("/api/v1/events", headers=AUTH)
        assert ids_of(everything.text.splitlines()) == seen
        for store in writers:
            store.close()


async def test_a_reader_that_stops_reading_holds_nothing(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store.sqlite")) as store:
        message = accepted()
        store.apply([message])
        # More than the buffers of both sides take.
        large = {"agent": "x" * 10_000, "verdict": Verdict(HitClass.HUMAN, "browser", "an ordinary browser", 1)}
        store.apply([hit(message.id, 1, 0, NOW + n, **large) for n in range(2000)])
        with serving(tmp_path) as place, socket.create_connection(place) as lazy:
            lazy.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READ_KEY}\r\n\r\n".encode())
            assert lazy.recv(20).startswith(b"HTTP/1.1 200")
            async with httpx.AsyncClient(base_url="http://{}:{}".format(*place), headers=AUTH, timeout=60) as client:
                assert (await client.get("/api/v1/messages")).json()["items"][0]["opens"] > 0
            store.apply([hit(message.id, 2, 0, NOW)])
            with closing(sqlite3.connect(tmp_path / "store.sqlite", timeout=30)) as db:
                # Busy is 1 where somebody still reads from before.
                (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                assert busy == 0


async def test_a_head_tells_no_events(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        t.store.apply([accepted()])
        for form, kind in (("json", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")):
            answer = await t.client.head("/api/v1/events", params={"format": form}, headers=AUTH)
            assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, b"")
