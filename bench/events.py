"""How fast every event is told: ``python bench/events.py [--help]``.

A store of that many events, a tracker over it in a process of its own, one reader on loopback who takes what comes: as
lines of JSON, as CSV, and while hits are being recorded. Reader, tracker and recorder share the machine's cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # this folder would hide the standard library's html

import argparse
import contextlib
import http.client
import multiprocessing
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import uvicorn

from tracker.app import create_app
from tracker.config import TrackerConfig
from tracker.hits.recorder import Recorder
from tracker.model import Accepted, Hit, Link, LinkType, Outcome, Recipient, Status, new_id
from tracker.store.sqlite import SqliteStore
from tracker.tokens import KEY_BYTES, Keyring

KEY = "key-of-the-benchmark"
NOW = 1_790_000_000.0
PEOPLE = 100
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0"


def mail(at: float) -> list[Accepted | Outcome | Hit]:
    """A mail to a hundred people, sent, opened and clicked by all of them."""
    url = "https://example.com/spring/offers?utm_source=newsletter"
    link = Link(1, url, url, "Offers", LinkType.TRACKED, "default", True)
    people = tuple(Recipient(n, f"person{n}@example.net") for n in range(1, PEOPLE + 1))
    about = ("<one@example.com>", "news@example.com", "Spring offers", "spring", None, {}, at)
    message = Accepted(new_id(at), *about, True, None, True, people, (link,))
    found: list[Accepted | Outcome | Hit] = [message]
    for n in range(1, PEOPLE + 1):
        found.append(Outcome(message.id, n, Status.SENT, at + 1, "250 2.0.0 Ok: queued as 4XyZ"))
        for position, event, later in ((0, "open", 60), (1, "click", 90)):
            hit = Hit(
                *(new_id(at), at + later + n * 20, message.id, n, event, position, url if position else None),
                *(LinkType.TRACKED, "GET", "192.0.2.0", BROWSER),
            )
            found.append(hit)
    return found


def fill(path: Path, count: int) -> None:
    """A store of so many events: some by the real code, the others copies of them."""
    with contextlib.closing(SqliteStore(path)) as store:
        for n in range(10):
            store.apply(mail(NOW + n * 10_000))
    with contextlib.closing(sqlite3.connect(path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(events)")]
        own = {"id": "printf('%08x', ?) || substr(id, 9)", "recorded": "recorded + ?"}
        chosen = ", ".join(own.get(name, name) for name in columns)
        (have, first, last) = db.execute("SELECT count(*), min(recorded), max(recorded) FROM events").fetchone()
        for turn in range(1, count // have):
            where = "WHERE recorded <= ?"
            sql = f"INSERT INTO events ({', '.join(columns)}) SELECT {chosen} FROM events {where}"
            db.execute(sql, [turn, turn * (last - first + 1), last])
        db.commit()


def serve(path: Path, bound: socket.socket) -> None:
    """A tracker over a store."""
    config = TrackerConfig.model_validate({"api_keys": [KEY]})
    store = SqliteStore(path)
    app = create_app(config, Keyring([bytes(KEY_BYTES)]), store, Recorder(store), time.time)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    server.run([bound])


@contextlib.contextmanager
def serving(path: Path) -> Iterator[int]:
    """A tracker in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        process = multiprocessing.get_context("fork").Process(target=serve, args=(path, bound), daemon=True)
        process.start()
        try:
            yield bound.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def read(port: int, query: str = "") -> tuple[int, float, float]:
    """All events: how many, and seconds until the first and the last octet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", f"/api/v1/events{query}", headers={"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    lines, first = 0, 0.0
    while octets := answer.read(1 << 16):
        first = first or time.perf_counter() - start
        lines += octets.count(b"\n")
    return lines, first, time.perf_counter() - start


@contextlib.contextmanager
def recording(path: Path) -> Iterator[list[int]]:
    """Hits that come in meanwhile, a hundred a transaction, fifty transactions a second at most."""
    done, ended = [0], threading.Event()

    def record() -> None:
        with contextlib.closing(SqliteStore(path)) as store:
            message, *facts = mail(time.time())
            store.apply([message])
            hits = [fact for fact in facts if isinstance(fact, Hit)]
            while not ended.wait(0.02):
                store.apply([replace(hit, id=new_id(), at=time.time()) for hit in hits[:100]])
                done[0] += 100

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast every event is told.")
    parser.add_argument("--events", type=int, default=100_000, help="events in the store (100000)")
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        fill(path, count)
        with serving(path) as port:
            read(port, "?limit=1")
            print(f"{'':28}{'events':>10}{'events/s':>12}{'first, ms':>12}")
            for name, query in (("lines of JSON", ""), ("CSV", "?format=csv")):
                report(name, *read(port, query))
            with recording(path) as done:
                report("while hits are recorded", *read(port))
            print(f"{'hits recorded meanwhile':28}{done[0]:10}")


def report(name: str, lines: int, first: float, seconds: float) -> None:
    print(f"{name:28}{lines:10}{lines / seconds:12.0f}{first * 1000:12.1f}", flush=True)


if __name__ == "__main__":
    main()
