"""Behind a real uvicorn, over real sockets: bytes on the wire, and a hit on disk before its answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from tests.tracker.facts import BROWSER, NOW
from tests.tracker.tracked import KEYRING, configured
from tracker.app import create_app
from tracker.hits.recorder import Recorder
from tracker.model import new_id
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Click, Open

MESSAGE = new_id(NOW)
URL = "https://example.com/a|b^c{d}?q=%EF&copy=1#frag%20ment"


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def serving(folder: Path, **changes: object) -> Iterator[tuple[str, int]]:
    """A tracker on a free port of the loopback, in a thread of its own."""
    ready, ended = threading.Event(), threading.Event()
    place: list[int] = []

    async def run() -> None:
        store = SqliteStore(folder / "store.sqlite")
        store.open()
        recorder = Recorder(store)
        await recorder.start()
        app = create_app(configured(**changes), KEYRING, store, recorder, time.time)
        server = Server(
            uvicorn.Config(app, port=0, log_level="error", lifespan="off", server_header=False, proxy_headers=False)
        )
        serve = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        place.append(server.servers[0].sockets[0].getsockname()[1])
        ready.set()
        await asyncio.to_thread(ended.wait)
        server.should_exit = True
        await serve
        await recorder.stop()
        store.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield "127.0.0.1", place[0]
    finally:
        ended.set()
        thread.join()


async def ask(place: tuple[str, int], request: str) -> bytes:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(f"{request}\r\nHost: evil.example\r\nUser-Agent: {BROWSER}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def opens(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "store.sqlite")) as db:
        return int(db.execute("SELECT coalesce(sum(opens), 0) FROM messages").fetchone()[0])


async def test_the_bytes_of_the_answers(tmp_path: Path) -> None:
    with serving(tmp_path) as place:
        click = KEYRING.seal(Click(MESSAGE, 1, 1, URL))
        answer = await ask(place, f"GET /c/{click} HTTP/1.1")
        assert answer.startswith(b"HTTP/1.1 302 ")
        assert b"\r\nlocation: " + URL.encode() + b"\r\n" in answer
        assert b"evil.example" not in answer
        assert b"set-cookie" not in answer.lower()
        pixel = KEYRING.seal(Open(MESSAGE, 1))
        answer = await ask(place, f"GET /o/{pixel}.gif HTTP/1.1")
        assert answer.endswith(b"\x00;")
        assert len(answer.partition(b"\r\n\r\n")[2]) == 43
        assert opens(tmp_path) == 1
        head = await ask(place, f"HEAD /o/{pixel}.gif HTTP/1.1")
        assert b"content-length: 43" in head
        assert head.endswith(b"\r\n\r\n")
        assert (await ask(place, f"GET /c/{click[:-1]} HTTP/1.1")).startswith(b"HTTP/1.1 404")


async def test_a_crowd_is_counted_and_each_hit_is_on_disk_before_its_answer(tmp_path: Path) -> None:
    limits = httpx.Limits(max_connections=40)
    with serving(tmp_path) as (host, port):
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", limits=limits, timeout=20) as client:
            paths = [f"/o/{KEYRING.seal(Open(MESSAGE, n))}.gif" for n in range(1, 301)]
            answers = await asyncio.gather(*(client.get(path, headers={"User-Agent": BROWSER}) for path in paths))
            assert {answer.status_code for answer in answers} == {200}
            for _ in range(20):
                late = float((await client.get("/metrics")).text.split("\nhits_late_total ")[1].split()[0])
                if opens(tmp_path) == 300:
                    break
                assert late > 0  # an answer that did not wait says so
                await asyncio.sleep(0.1)
            assert opens(tmp_path) == 300


@pytest.mark.parametrize(("proxies", "address"), [(["127.0.0.0/8"], "203.0.113.9"), ([], "127.0.0.1")])
async def test_a_forwarded_address_is_believed_from_trusted_proxies_alone(
    tmp_path: Path, proxies: list[str], address: str
) -> None:
    with serving(tmp_path, trusted_proxies=proxies, privacy={"ip": "full"}) as place:
        path = f"/o/{KEYRING.seal(Open(MESSAGE, 1))}.gif"
        await ask(place, f"GET {path} HTTP/1.1\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9")
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
            assert db.execute("SELECT address FROM events").fetchall() == [(address,)]


async def test_counts_outlive_a_restart(tmp_path: Path) -> None:
    path = f"/o/{KEYRING.seal(Open(MESSAGE, 1))}.gif"
    for turn in range(2):
        with serving(tmp_path) as place:
            await ask(place, f"GET {path} HTTP/1.1")
        assert opens(tmp_path) == 1
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
            # The second is a repeat: what was counted before the restart is still known.
            assert db.execute("SELECT count(*) FROM events").fetchone() == (turn + 1,)
