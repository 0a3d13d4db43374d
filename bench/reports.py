"""How long reports take over many hits, and what counting costs hits: ``python bench/reports.py [--hits N]``.

The hits of 400 days, thick after each message and thin later, by 20 senders with 12 tags. Their events are inserted as
rows; the counters are made of them by the tracker's own roller. Then every report is asked for five times.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # this folder would hide the standard library's html

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from zoneinfo import ZoneInfo

from tests.tracker.facts import BROWSER, hit
from tracker.hits.classify import classify
from tracker.model import Accepted, Hit, Link, LinkType, Outcome, Recipient, Status, new_id
from tracker.reading import reports
from tracker.store import timeline
from tracker.store.base import MessageFilter, ReportFilter
from tracker.store.contributions import Firsts, of_hit, pack
from tracker.store.filing import client_text
from tracker.store.ledger import Entry, Ledger, packed
from tracker.store.periods import slot_of
from tracker.store.sqlite import SqliteStore

DAY = 86_400.0
DAYS = 400
NOW = 1_790_000_000.0
ZONE = "Europe/Berlin"
PEOPLE, LINKS, EACH = 20, 10, 5
"""Recipients and links of a message; hits of a recipient."""

AGENTS = (
    BROWSER,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17 Safari/605.1",
)


def mails(count: int, chance: random.Random) -> Iterator[Accepted]:
    """Messages of 400 days, in order; a mailing is a few messages, and its links have addresses of their own."""
    domains = [f"host{n}.example" for n in range(500)]
    weights = [1 / (n + 1) for n in range(500)]
    for number in range(count):
        at = NOW - DAYS * DAY + (DAYS - 1) * DAY * number / count
        mailing = number // max(1, count // 600)
        sender = mailing % 20
        urls = [f"https://shop{sender}.example/{mailing}/{n}?utm_campaign=c{mailing}" for n in range(LINKS)]
        to = chance.choices(domains, weights, k=PEOPLE)
        yield Accepted(
            id=new_id(at),
            message_id=f"<{number}@example.com>",
            sender=f"news{sender}@example.com",
            subject=f"Mailing {mailing}",
            tag=f"tag{mailing % 12}",
            mailing=f"m{mailing}",
            metadata={},
            accepted_at=at,
            instrumented=True,
            reason=None,
            pixel=True,
            recipients=tuple(Recipient(n, f"p{number}.{n}@{to[n - 1]}") for n in range(1, PEOPLE + 1)),
            links=tuple(
                Link(n, url, url, f"Link {n}", LinkType.TRACKED, "default", True) for n, url in enumerate(urls, 1)
            ),
        )


def told(store: SqliteStore, count: int, chance: random.Random) -> list[Accepted]:
    """Accept and deliver the mail, all but one in fifty."""
    found = []
    batch: list[Accepted | Outcome] = []
    for mail in mails(count, chance):
        found.append(mail)
        batch.append(mail)
        for person in mail.recipients:
            status = Status.BOUNCED if chance.random() < 0.02 else Status.SENT
            reply = "550 5.1.1 unknown" if status is Status.BOUNCED else "250 2.0.0 Ok"
            batch.append(Outcome(mail.id, person.ordinal, status, mail.accepted_at + 2, reply))
        if len(batch) > 2000:
            store.apply(batch)
            batch = []
    store.apply(batch)
    return found


def inserted(store: SqliteStore, found: list[Accepted], hits: int, chance: random.Random) -> None:
    """Insert hits as rows of events, with what the tracker would have them count, and have the roller count them."""
    agents = [(agent, client_text(agent)) for agent in AGENTS]
    made, each = 0, max(1, hits // max(1, len(found)))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for start in range(0, len(found), 200):
            rows, moves = [], []
            for mail in found[start : start + 200]:
                message, done = str(mail.id), set[object]()
                for _ in range(each):
                    made += 1
                    who, position = chance.randint(1, PEOPLE), chance.choice((0, 0, 0, chance.randint(1, LINKS)))
                    at = min(NOW - 1, mail.accepted_at + chance.expovariate(1 / DAY))
                    agent, client = chance.choice(agents)
                    type, human = ("click" if position else "open"), chance.random() < 0.8
                    firsts = Firsts(human and (who, type) not in done, human and (who, position) not in done)
                    done |= {(who, type), (who, position)} if human else set()
                    counts = of_hit(type, human, position > 0, firsts)
                    moves.append((Entry(message, who, position, type, client, slot_of(at)), counts))
                    url = mail.links[position - 1].url if position else None
                    judged = ("human" if human else "machine", "browser", "an ordinary browser", 1, "192.0.2.0", agent)
                    about = (message, str(new_id(at)), int(NOW * 1e6) + made, at, type, who, position, url)
                    rows.append((*about, *judged, '{"method": "GET"}', None, pack(counts), client, None))
            db.execute("BEGIN")
            db.executemany(timeline.INSERT, rows)
            db.execute("INSERT INTO moves VALUES (?, ?)", [str(new_id()), packed(moves)])
            db.execute("COMMIT")
            if start % 10_000 == 0:
                rolled(store)
    rolled(store)


def rolled(store: SqliteStore) -> None:
    """Fold in all that waits."""
    while store.roll(200_000):
        pass


def asked(store: SqliteStore) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every report and list that people ask for."""
    zone, everyone = ZoneInfo(ZONE), ReportFilter()
    one = ReportFilter("news3@example.com", "tag3")
    days: list[dict[str, str]] = [{}, {"from": "2025-08-20", "to": "2026-09-21"}]
    odd = {"from": "2026-05-03T10:11:12Z", "to": "2026-09-20T01:02:03Z"}
    for name, wanted in (("all mail", everyone), ("one sender's, one tag's", one)):
        live = reports.live(NOW, zone)
        yield f"live, {name}", lambda live=live, wanted=wanted: reports.report(store, live, wanted, zone)
        for title, dates in (("30 days", days[0]), ("397 days", days[1]), ("140 days to the second", odd)):
            period = reports.overall(dates, NOW, zone)
            yield f"{title}, {name}", lambda period=period, wanted=wanted: reports.report(store, period, wanted, zone)
    yield "100 mailings", lambda: store.mailings(MessageFilter(), 100)
    mailing = store.mailings(MessageFilter(), 100).rows[50]["id"]
    yield "one mailing's links", lambda: store.mailing_links(mailing, 100)
    yield "totals of an odd hour", lambda: store.totals(everyone, NOW - 50 * DAY - 1234.5, NOW - 50 * DAY + 2000.25)


def cost(folder: Path, chance: random.Random) -> None:
    """What counting costs the insertion of hits, beside keeping them without what reports need."""
    plain = [replace(mail) for mail in mails(500, chance)]

    def batch(number: int) -> list[Hit]:
        found = []
        for n in range(1000):
            mail = chance.choice(plain)
            position = chance.choice((0, 0, 1, 2))
            made = hit(mail.id, chance.randint(1, PEOPLE), 0, NOW + number * 20 + n / 50)
            link = {"event": "click", "position": position, "url": mail.links[position].url} if position else {}
            made = replace(made, **link)
            found.append(replace(made, verdict=classify(made)))
        return found

    batches, spent = [batch(number) for number in range(20)], dict[str, list[float]]()
    move = Ledger.move
    stores = {name: SqliteStore(folder / f"{name}.sqlite", zone=ZONE) for name in ("with", "without")}
    for store in stores.values():
        store.apply(plain)
    for found in batches:
        for name, store in stores.items():
            if name == "without":
                Ledger.move = _only_rows  # type: ignore[method-assign]
            began = time.perf_counter()
            store.apply(found)
            spent.setdefault(name, []).append(time.perf_counter() - began)
            Ledger.move = move  # type: ignore[method-assign]
            if name == "with":
                began = time.perf_counter()
                rolled(store)
                spent.setdefault("rolled", []).append(time.perf_counter() - began)
    with_, without, rolling = (statistics.median(spent[name]) for name in ("with", "without", "rolled"))
    print("\n| hits in batches of 1,000 | µs a hit | beside the first |\n| --- | --- | --- |")
    print(f"| inserted, counted by message, recipient and link | {without * 1e3:.0f} | 1.00 |")
    print(f"| … and with what reports need | {with_ * 1e3:.0f} | {with_ / without:.2f} |")
    print(f"| folded into the counters of reports, in the background | {rolling * 1e3:.0f} | {rolling / without:.2f} |")
    for store in stores.values():
        store.close()


def _only_rows(ledger: Ledger, entry: Entry, by: dict[str, int]) -> None:
    """``Ledger.move`` without moves."""
    ledger.refiled.add(entry.message)
    _MOVE(ledger, entry, by)


_MOVE = Ledger.move


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hits", type=int, default=200_000)
    parser.add_argument("--keep", type=Path, help="a store that was built by such a run before, or is to be kept")
    options = parser.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "store.sqlite"
        fresh = not path.exists()
        store = SqliteStore(path, zone=ZONE, clock=lambda: NOW)
        if fresh:
            began = time.perf_counter()
            found = told(store, max(20, options.hits // (PEOPLE * EACH)), chance)
            rolled(store)
            print(f"{len(found)} messages to {PEOPLE} people each: {time.perf_counter() - began:.0f} s", flush=True)
            began = time.perf_counter()
            inserted(store, found, options.hits, chance)
            print(f"{options.hits} hits: {time.perf_counter() - began:.0f} s", flush=True)
        with closing(sqlite3.connect(path)) as db:
            rows = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("events", "counts")}
        print(json.dumps({**rows, "MB": path.stat().st_size >> 20}), flush=True)
        print("\n| report | median ms | longest ms |\n| --- | --- | --- |")
        for name, ask in asked(store):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                ask()
                times.append((time.perf_counter() - began) * 1000)
            print(f"| {name} | {statistics.median(times):.1f} | {max(times):.1f} |", flush=True)
        store.close()
        cost(Path(folder), chance)


if __name__ == "__main__":
    main()
