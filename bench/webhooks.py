"""What webhooks cost those who take hits, and how fast they deliver: ``python bench/webhooks.py [--help]``.

Hits go into a store in batches, as the tracker folds them in, at a steady rate and as fast as they can; beside it the
process that delivers has no endpoint, one that takes everything, or one that is dead. Compare within a table only, and
ratios rather than figures: store, deliveries and receiver share the machine's cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from tests.e2e.harness import free_port
from tests.tracker.facts import accepted, hit
from tests.webhooks.receiver import Receiver
from tracker.config import Webhook
from tracker.store.sqlite import SqliteStore
from tracker.webhooks.endpoint import endpoint_of
from tracker.webhooks.service import Webhooks

BATCH = 100


def receive(told: Connection) -> None:
    """Take everything; tell the port, then how much came whenever asked."""

    async def run() -> None:
        async with Receiver() as host:
            told.send(host.port)
            while await asyncio.to_thread(told.recv):
                told.send(len(host.requests))

    asyncio.run(run())


def deliver(path: str, url: str) -> None:
    """The process that delivers, until it is ended."""

    async def run() -> None:
        webhooks = Webhooks(SqliteStore(path).deliveries(), "bench")
        hook = {"url": url, "allow_private": True, "secret": "whsec_" + "MDEy" * 12}
        webhooks.replace([endpoint_of(0, Webhook.model_validate(hook))])
        await webhooks.run(asyncio.Event())

    asyncio.run(run())


def measure(kind: str, batches: int, rate: float | None) -> tuple[float, float, float | None]:
    """Milliseconds a batch takes in the middle and in the slowest hundredth, and events delivered a second."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.db")
        store.open()
        ours, theirs = multiprocessing.Pipe()
        receiver = spawn.Process(target=receive, args=(theirs,))
        receiver.start()
        url = f"http://127.0.0.1:{ours.recv() if kind != 'dead' else free_port()}/"
        sender: Any = None
        if kind != "none":
            sender = spawn.Process(target=deliver, args=(str(store.path), url))
            sender.start()
            while not store.deliveries().endpoints():
                time.sleep(0.05)
        took = fill(store, batches, rate)
        delivered = None
        if kind == "live":
            began, before = time.perf_counter(), count(ours)
            time.sleep(5.0)
            delivered = (count(ours) - before) / (time.perf_counter() - began)
        for process in (sender, receiver):
            if process is not None:
                process.terminate()
                process.join()
        store.close()
    took.sort()
    return statistics.median(took) * 1000, took[len(took) * 99 // 100] * 1000, delivered


def fill(store: SqliteStore, batches: int, rate: float | None) -> list[float]:
    """Fold in so many batches of hits on many messages, so many hits a second; the seconds each took."""
    took = []
    mails = [accepted(people=1) for _ in range(BATCH)]
    store.apply(mails)
    due = time.perf_counter()
    for number in range(batches):
        hits = [hit(mail.id, 1, 0, mail.accepted_at + 60 + number * 20) for mail in mails]
        began = time.perf_counter()
        store.apply(hits)
        took.append(time.perf_counter() - began)
        if rate is not None:
            due += BATCH / rate
            time.sleep(max(0.0, due - time.perf_counter()))
    return took


def count(told: Connection) -> int:
    told.send(True)
    found: int = told.recv()
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batches", type=int, default=100, help=f"of {BATCH} hits each (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    asked = options.parse_args()
    print("| hits a second | endpoint | ms a batch of 100, middle | slowest hundredth | delivered/s |")
    print("| --- | --- | --- | --- | --- |")
    for rate in (1000.0, None):
        found: dict[str, list[tuple[float, float, float | None]]] = {"none": [], "dead": [], "live": []}
        for _ in range(asked.rounds):
            for kind, runs in found.items():
                runs.append(measure(kind, asked.batches, rate))
        for kind, runs in found.items():
            middle, slow = (statistics.median(run[n] for run in runs) for n in (0, 1))
            speeds = [run[2] for run in runs if run[2] is not None]
            speed = f"{statistics.median(speeds):.0f}" if speeds else ""
            print(f"| {rate or 'all it can'} | {kind} | {middle:.1f} | {slow:.1f} | {speed} |")


if __name__ == "__main__":
    main()
