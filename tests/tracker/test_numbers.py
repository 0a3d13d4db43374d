"""Every number is a plain count over what happened, in whatever order it is told, however often, whatever is killed."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracker.audit import audited
from tests.tracker.facts import BROWSER, accepted, hit, opted_in, opted_out
from tests.tracker.plain import Plain
from tracker.model import (
    Accepted,
    BounceKind,
    Complained,
    Fact,
    Link,
    LinkType,
    Outcome,
    Recipient,
    Returned,
    Status,
    new_id,
)
from tracker.store import rolling
from tracker.store.base import COLUMNS, DIMENSIONS, MessageFilter, ReportFilter
from tracker.store.sqlite import SqliteStore

START = 1_774_740_000.0
"""2026-03-28 23:20 UTC: ten minutes and a half before the night in which Europe's clocks go forward."""

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe")
PEOPLE = ("ann@example.net", "bob@example.com", "eve@example.net")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
AGENTS = (BROWSER, BROWSER, FIREFOX, "Mozilla/5.0", "curl/8", None)
REPLIES = ("550 5.1.1 no such user", "452 4.2.2 full", "552 5.2.2 full", "554 5.7.1 no")
TYPES = (LinkType.TRACKED, LinkType.TRACKED, LinkType.TRACKED, LinkType.OPT_OUT, LinkType.TRACKED, LinkType.MIRROR)


def mail(number: int, at: float, links: int, **changes: Any) -> Accepted:
    urls = [f"https://example.com/{number % 2}/{n}?m={number}" for n in range(links)]
    return accepted(
        UUID(int=new_id(at).int >> 16 << 16 | number),
        at=at,
        recipients=tuple(Recipient(n, person) for n, person in enumerate(PEOPLE, 1)),
        links=tuple(Link(n, url, url, f"Link {n % 2}", TYPES[n - 1], "r", True) for n, url in enumerate(urls, 1)),
        **changes,
    )


MAIL = (
    mail(1, START, 6, mailing=None, tag="spring", subject="one"),
    mail(2, START + 2000, 3, mailing="m", tag=None, subject="two"),
    mail(3, START + 100_000, 4, mailing=None, tag=None, subject="three", sender="shop@example.com"),
    mail(4, START + 200_000, 2, mailing="m", tag="spring", pixel=False, attributed=False),
    mail(5, START + 40 * 86_400, 1, mailing=None, tag="spring", sender="shop@example.com"),
)
TIMES = st.sampled_from((0.0, 300.0, 1800.5, 5400.0, 86_400.0)).flatmap(
    lambda base: st.integers(0, 160).map(lambda n: base + n / 4)
)


def a_hit(which: int, who: int | None, position: int, after: float, agent: str | None, method: str) -> Fact:
    message = MAIL[which]
    who = who if message.attributed else None
    position = min(position, len(message.links))
    kind = message.links[position - 1].type if position else LinkType.TRACKED
    made = hit(message.id, who, 0, message.accepted_at + after, agent=agent, method=method)
    link = {"event": "click", "position": position, "type": kind, "url": "https://example.com/x"} if position else {}
    return made.__class__(**{**{name: getattr(made, name) for name in made.__slots__}, **link})


HITS = st.builds(
    a_hit,
    st.integers(0, 4),
    st.integers(1, 2),
    st.integers(0, 6),
    TIMES,
    st.sampled_from(AGENTS),
    st.sampled_from(("GET", "GET", "GET", "HEAD")),
)
SCANS = st.tuples(st.integers(0, 4), st.integers(1, 2), TIMES, st.integers(3, 6), st.sampled_from((0.05, 0.3))).map(
    lambda scan: [a_hit(scan[0], scan[1], n, scan[2] + n * scan[4], FIREFOX, "GET") for n in range(1, scan[3] + 1)]
)
OUTCOMES = st.builds(
    lambda which, who, status, after, reply: Outcome(
        MAIL[which].id,
        who,
        status,
        MAIL[which].accepted_at + after,
        reply if status is Status.BOUNCED else "250 2.0.0 Ok",
    ),
    st.integers(0, 4),
    st.integers(1, 3),
    st.sampled_from(list(Status)),
    st.sampled_from((1.0, 2.0, 3000.0, 90_000.0)),
    st.sampled_from(REPLIES),
)
CHOICES = st.builds(
    lambda which, who, after, out: (opted_out if out else opted_in)(
        MAIL[which].id, who, MAIL[which].accepted_at + after, address=PEOPLE[who - 1]
    ),
    st.integers(0, 4),
    st.integers(1, 2),
    st.sampled_from((10.0, 20.0, 4000.0)),
    st.booleans(),
)
RETURNS = st.builds(
    lambda which, who, after, said: (
        Returned(MAIL[which].id, who, MAIL[which].accepted_at + after, *said, f"550 {said[1]}")
        if said is not None
        else Complained(MAIL[which].id, who, MAIL[which].accepted_at + after, "abuse", "Loop/1.0")
    ),
    st.integers(0, 4),
    st.integers(1, 3),
    st.sampled_from((0.5, 2.5, 91_000.0)),
    st.sampled_from(
        (None, (BounceKind.HARD, "5.1.1"), (BounceKind.SOFT, "4.4.7"), (BounceKind.DELAYED, "4.4.1")),
    ),
)
FACTS = st.lists(st.one_of(HITS, HITS, HITS, OUTCOMES, CHOICES, RETURNS, SCANS), max_size=50).map(
    lambda found: [fact for each in found for fact in (each if isinstance(each, list) else [each])]
)


def one_a_time(facts: list[Fact]) -> list[Fact]:
    """Without facts that the store takes for one: outcomes of the same recipient, time and status, and all but the
    first that is said of a copy that came back, or was complained of."""
    seen, found = set[tuple[object, ...]](), []
    for fact in facts:
        if isinstance(fact, Outcome | Returned | Complained):
            late = isinstance(fact, Returned) and fact.kind is BounceKind.DELAYED
            more = (fact.at, fact.status) if isinstance(fact, Outcome) else (type(fact).__name__, late)
            key = (fact.message, fact.recipient, *more)
            if key in seen:
                continue
            seen.add(key)
        found.append(fact)
    return found


def told(store: SqliteStore, facts: list[Fact], chance: random.Random) -> None:
    """Tell facts in any order, in batches of any size, some of them again, with restarts and rolls in between."""
    facts = [*facts, *chance.sample(facts, len(facts) // 4)]
    chance.shuffle(facts)
    while facts:
        size = chance.choice((1, 1, 2, 5, 20))
        store.apply(facts[:size])
        facts = facts[size:]
        if chance.random() < 0.2:
            store.roll(chance.choice((1, 10, 1000)))
        if chance.random() < 0.1:
            store.close()
            store.open()


def check_totals(store: SqliteStore, plain: Plain, chance: random.Random) -> None:
    senders, tags = (None, "news@example.com", "shop@example.com", "nobody"), (None, "spring", "autumn")
    for _ in range(4):
        wanted = ReportFilter(chance.choice(senders), chance.choice(tags))
        found = plain.wanted(wanted.sender, wanted.tag)
        bounds = sorted(chance.choice((START, START + 40 * 86_400)) + chance.randint(-4000, 200_000) for _ in range(4))
        bounds = chance.choice((bounds, [START - 1e6, START + 1e7], [0.0, 4e9]))
        for since, until, row in zip(bounds, bounds[1:], store.series(wanted, bounds), strict=False):
            expected = plain.totals(found, since, until)
            assert {name: row[name] for name in COLUMNS} == {name: expected[name] for name in COLUMNS}
            assert row["pending"] == plain.pending(found, since, until)
            assert row == store.totals(wanted, since, until)
            cohort, expected = store.totals(wanted, since, until, cohort=True), plain.totals(found, since, until, True)
            assert {name: cohort[name] for name in COLUMNS} == {name: expected[name] for name in COLUMNS}
        since, until = bounds[0], bounds[-1]
        for dimension in DIMENSIONS:
            rows = store.breakdown(wanted, dimension, since, until, ("clicks", "opens"), 1000)
            values = {row["value"]: Counter({name: row[name] for name in COLUMNS if row[name]}) for row in rows}
            assert values == plain.breakdown(found, dimension, since, until), dimension
            order = [(-row["clicks"] - row["opens"], row["value"]) for row in rows]
            assert order == sorted(order)


def check_rows(store: SqliteStore, plain: Plain) -> None:
    by_message = plain.sum(lambda each: str(each.message))
    for row in store.messages(MessageFilter(), 100).rows:
        counts = by_message[row["id"]]
        unknown = ("unique_opens", "unique_clicks") if not row["attributed"] else ()
        for name in COLUMNS:
            if name in row and name not in unknown:
                assert row[name] == counts[name], name
        people = plain.sum(lambda each: (str(each.message), each.recipient))
        for person in store.recipients(row["id"]):
            counts = people[row["id"], person["ordinal"]]
            for name in ("opens", "clicks", "machine_opens", "machine_clicks"):
                assert person[name] == counts[name], name
            for what in ("open", "click"):
                times = [
                    each.at
                    for each in plain.counted
                    if (str(each.message), each.recipient) == (row["id"], person["ordinal"])
                    and each.counts.get(f"{what}s")
                ]
                assert person[f"first_{what}_at"] == min(times, default=None)
                assert person[f"last_{what}_at"] == max(times, default=None)
        links = plain.links([UUID(row["id"])])
        for link in store.links(row["id"], 100).rows:
            for name in ("clicks", "machine_clicks", *(() if unknown else ("unique_clicks",))):
                assert link[name] == links[link["position"]][name], name


def check_mailings(store: SqliteStore, plain: Plain) -> None:
    expected = plain.mailings(store.zone)
    rows = store.mailings(MessageFilter(), 100).rows
    assert len(rows) == len(expected)
    sums = plain.sum(lambda each: each.message)
    for row in rows:
        assert store.mailing(row["id"]) == row
        ids = {UUID(one["id"]) for one in store.messages(MessageFilter(mailing_key=row["id"]), 100).rows}
        assert ids in expected.values()
        counts = sum((sums[id] for id in ids), Counter[str]())
        unknown = ("unique_opens", "unique_clicks") if row["unique_opens"] is None else ()
        for name in COLUMNS:
            assert name in unknown or row[name] == counts[name], name
        quarter = START // 900 * 900
        bounds = [0.0, *(quarter + 2700.0 * n for n in range(40)), 4e9]
        for since, until, part in zip(bounds, bounds[1:], store.mailing_series(row["id"], bounds), strict=False):
            own = [each.counts for each in plain.counted if each.message in ids and since <= each.at < until]
            counts = sum((Counter(each) for each in own), Counter[str]())
            assert {name: part[name] for name in COLUMNS} == {name: counts[name] for name in COLUMNS}
        mails = [plain.mail[id] for id in ids]
        assert row["first_accepted_at"] == min(one.accepted_at for one in mails)
        assert row["last_accepted_at"] == max(one.accepted_at for one in mails)
        assert row["instrumented"] == len(mails)
        links = plain.links(ids)
        for link in store.mailing_links(row["id"], 100).rows:
            for name in ("clicks", "machine_clicks"):
                assert link[name] == links[link["position"]][name], name


def contributions(store: SqliteStore) -> None:
    """Counters are nothing but sums of what the events bear."""
    with closing(sqlite3.connect(store.path)) as db:
        for name in ("opens", "unique_opens", "clicks", "both", "sent", "bounced", "opt_outs", "machine_clicks"):
            sql = f"SELECT message, sum(json_extract(counts, '$.{name}')) FROM events GROUP BY message"
            borne = {message: by or 0 for message, by in db.execute(sql)}
            kept = dict(db.execute(f"SELECT id, {name} FROM messages"))
            assert {message: by for message, by in borne.items() if by} == {id: by for id, by in kept.items() if by}
        assert db.execute("SELECT count(*) FROM moves").fetchone() == (0,)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    facts=FACTS, missing=st.sets(st.integers(0, 4), max_size=2), zone=st.sampled_from(ZONES), seed=st.integers(0, 10**6)
)
def test_every_number_is_a_plain_count(
    tmp_path_factory: pytest.TempPathFactory, facts: list[Fact], missing: set[int], zone: str, seed: int
) -> None:
    chance, hours = random.Random(seed), 0
    facts = one_a_time([*facts, *(one for number, one in enumerate(MAIL) if number not in missing)])
    now = START + chance.choice((0, 86_400 * 2, 86_400 * 4, 86_400 * 40))
    store = SqliteStore(tmp_path_factory.mktemp("numbers") / "s.sqlite", clock=lambda: now + hours * 3600, zone=zone)
    store.open()
    told(store, facts[::2], chance)
    hours = chance.choice((0, 5, 30, 100))
    told(store, facts[1::2], chance)
    plain = Plain(facts)
    check_rows(store, plain)
    check_totals(store, plain, chance)
    check_mailings(store, plain)
    contributions(store)
    audited(store)
    store.close()


def aged(store: SqliteStore) -> None:
    """Make a store what it was before counters were kept by time."""
    with closing(sqlite3.connect(store.path)) as db, db:
        for table in ("counts", "mailings", "mailing_links", "moves"):
            db.execute(f"DELETE FROM {table}")
        db.execute("UPDATE events SET counts = NULL, alone = NULL, client = NULL")
        db.execute("UPDATE events SET kind = NULL, reason = NULL WHERE type = 'bounced'")
        db.execute("UPDATE messages SET counted = 0, mailing_key = NULL, links = NULL, tracked_links = NULL")
        db.execute("UPDATE messages SET targeted = 0, open_tracked = 0, click_tracked = 0, both = 0")
        db.execute("UPDATE recipients SET domain = NULL, hit_at = NULL, click_at = NULL, sent_at = NULL")
        db.execute("UPDATE recipients SET bounced_at = NULL, error_at = NULL, suppressed_at = NULL")
        db.execute("UPDATE touches SET first_at = NULL")
        db.execute("UPDATE opt_outs SET event = NULL")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(facts=FACTS, later=FACTS, seed=st.integers(0, 10**6))
def test_a_store_from_before_is_counted(
    tmp_path_factory: pytest.TempPathFactory, facts: list[Fact], later: list[Fact], seed: int
) -> None:
    chance = random.Random(seed)
    facts = [fact for fact in facts if not isinstance(fact, Returned | Complained)]  # there were none before
    store = SqliteStore(tmp_path_factory.mktemp("aged") / "s.sqlite")
    store.open()
    facts = [fact for fact in facts if not isinstance(fact, Returned | Complained)]  # there were none then
    told(store, one_a_time([*facts, *MAIL]), chance)
    numbers = audited(store)
    aged(store)
    # What comes in meanwhile finds its message counted first.
    told(store, later := one_a_time(later), chance)
    audited(store)
    check_rows(store, plain := Plain(one_a_time([*facts, *later, *MAIL])))
    check_totals(store, plain, chance)
    check_mailings(store, plain)
    if not later:
        assert audited(store) == numbers
    store.close()


def test_what_is_left_of_events_that_are_gone_is_counted_by_acceptance(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.apply([MAIL[0], Outcome(MAIL[0].id, 1, Status.SENT, START + 1, "250 Ok"), a_hit(0, 1, 0, 5, BROWSER, "GET")])
    before = store.totals(ReportFilter(), START, START + 1, cohort=True)
    day = store.totals(ReportFilter(), START - 1e6, START + 1e6, cohort=True)
    store.drop_events(START * 2, 1000)
    aged(store)
    while store.roll(100):
        pass
    for since, until, expected in ((START, START + 1, before), (START - 1e6, START + 1e6, day)):
        found = store.totals(ReportFilter(), since, until, cohort=True)
        same = [name for name in COLUMNS if "tracked" not in name and name != "both"]
        assert [found[name] for name in same] == [expected[name] for name in same]
    assert store.totals(ReportFilter(), 0, START * 2)["opens"] == 0
    (mailing,) = store.mailings(MessageFilter(), 10).rows
    assert (mailing["messages"], mailing["sent"], mailing["opens"]) == (1, 1, 1)
    store.close()


@pytest.mark.parametrize("zone", ZONES)
def test_days_of_another_zone_are_counted_from_the_next_day_on(tmp_path: Path, zone: str) -> None:
    path, chance, now, facts = tmp_path / "s.sqlite", random.Random(7), START, list[Fact](MAIL[:2])
    for name in ("America/St_Johns", zone, "Pacific/Chatham", "Pacific/Chatham", zone):
        now += chance.choice((3600, 200_000))
        clicks = [a_hit(n % 2, 1, n % 3, chance.uniform(0, now - START - 2000), BROWSER, "GET") for n in range(40)]
        facts += clicks
        store = SqliteStore(path, clock=lambda at=now: at, zone=name)  # type: ignore[misc]
        told(store, [*MAIL[:2], *clicks], chance)
        audited(store)
        check_totals(store, Plain(facts), chance)
        store.close()
    with closing(sqlite3.connect(path)) as db:
        assert {name for _, name in rolling.calendar_of(db).zones} >= {"America/St_Johns", zone}
