"""The same numbers by the API, as CSV, by the command, by Postmark's paths, and by a plain count over the events."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli import cli
from relay.storage import STORE_FILE
from tests.tracker.facts import BROWSER, NOW, accepted, hit, opted_out, outcome
from tests.tracker.tracked import READ_KEY, Tracker, configured, tracker
from tracker.model import Accepted, Fact, Status
from tracker.reading.params import rfc3339
from tracker.reading.reports import RATES
from tracker.store.sqlite import SqliteStore

ZONE = "Europe/Berlin"
DAY = 86400
AGENTS = (BROWSER, "curl/8", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15")
LIVES = (
    *([], [Status.SENT], [Status.SENT, Status.BOUNCED], [Status.BOUNCED], [Status.ERROR], [Status.SUPPRESSED]),
    [Status.PENDING, Status.SENT],
)
COUNTED = {"open": "opens", "click": "clicks", "opt_out_click": "opt_out_clicks", "mirror_view": "mirror_views"}


@st.composite
def stories(draw: st.DrawFn) -> list[Fact]:
    """What became of some mails, in whatever order it was heard of."""
    facts: list[Fact] = []
    for n in range(draw(st.integers(1, 4))):
        at = NOW + draw(st.integers(0, 4 * DAY)) + n / 7
        people, attributed = draw(st.integers(1, 3)), draw(st.booleans())
        sender, tag = draw(st.sampled_from(["a@example.com", "b@example.com"])), draw(st.sampled_from([None, "=x"]))
        message = accepted(
            **{"at": at, "people": people, "sender": sender, "tag": tag, "attributed": attributed},
            pixel=draw(st.booleans()),
        )
        facts.append(message)
        for person in range(1, people + 1):
            for step, status in enumerate(draw(st.sampled_from(LIVES))):
                facts.append(outcome(message.id, person, status, at + 5 + step * draw(st.integers(1, DAY))))
            who = person if attributed else None
            for _ in range(draw(st.integers(0, 5))):
                when = at + 10 + draw(st.integers(0, 40)) * draw(st.sampled_from([0.5, 3, 5000]))
                position, agent = draw(st.integers(0, 4)), draw(st.sampled_from(AGENTS))
                facts.append(hit(message.id, who, position, when, agent=agent))
            if draw(st.booleans()):
                reader = f"person{person}@example.net"
                facts.append(opted_out(message.id, who, at + draw(st.integers(20, DAY)), address=reader))
    return draw(st.permutations(facts))


def plain(events: Sequence[dict[str, Any]], mails: dict[str, Accepted]) -> list[tuple[float, float, Counter[str]]]:
    """When, of mail accepted when, what: each event by itself, read as the documents say."""
    bounced = {(event["message"], event["recipient"]) for event in events if event["type"] == "bounced"}
    done: set[tuple[str, str, str]] = set()
    told: list[tuple[float, float, Counter[str]]] = []
    for event in sorted(events, key=lambda event: event["at"]):
        mail, who = mails[event["message"]], (event["message"], event["recipient"])
        counts = Counter[str]()
        kind = event["type"]
        if kind == "accepted":
            counts.update(messages=1, targeted=len(mail.recipients))
        elif kind == "sent":
            counts["sent"] = 1
            if who not in bounced:
                counts.update(delivered=1, open_tracked=mail.pixel, click_tracked=1)
                if mail.attributed:
                    counts.update(attributed_open_tracked=mail.pixel, attributed_click_tracked=1)
        elif kind in ("bounced", "suppressed", "error"):
            counts["errors" if kind == "error" else kind] = 1
        elif kind == "opt_out":
            counts["opt_outs"] = 1
        elif kind in COUNTED and event["kind"] != "repeat":
            if event["class"] == "machine":
                counts["machine_opens" if kind == "open" else "machine_clicks"] = 1
            else:
                counts[COUNTED[kind]] = 1
                if event["recipient"] and kind in ("open", "click") and (*who, kind) not in done:
                    done.add((*who, kind))
                    counts[f"unique_{COUNTED[kind]}"] = 1
                    counts["both"] = {(*who, "open"), (*who, "click")} <= done
        told.append((event["at"], mail.accepted_at, counts))
    return told


def links_of(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a click that counts."""
    return [
        {"url": event["url"], "clicks": event["class"] == "human", "machine_clicks": event["class"] == "machine"}
        for event in events
        if event["type"] == "click" and event["position"] and event["kind"] != "repeat"
    ]


def clicks_by_url(rows: Sequence[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Clicks of people and of machines, by URL."""
    found = Counter[tuple[str, str]]()
    for row in rows:
        for name in ("clicks", "machine_clicks"):
            found[row["url"], name] += row[name]
    return +found


def seconds(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"at": datetime.fromisoformat(event["at"]).timestamp()}


async def asked(folder: Path, facts: Sequence[Fact], paths: dict[str, dict[str, str]]) -> dict[str, str]:
    """What the API answers, by path."""
    async with tracker(folder, SqliteStore(folder / "data" / STORE_FILE), configured(timezone=ZONE)) as t:
        t.store.open()
        for fact in facts:
            t.store.apply([fact])
        return {path: await text_of(t, path, params) for path, params in paths.items()}


async def text_of(t: Tracker, path: str, params: dict[str, str]) -> str:
    headers = {"Authorization": f"Bearer {READ_KEY}", "X-Postmark-Server-Token": READ_KEY}
    answer = await t.client.get(path.partition("#")[0], params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories(), st.integers(-DAY, 3 * DAY), st.integers(1, 5 * DAY), st.sampled_from([None, "a@example.com"]))
def test_every_way_of_asking_tells_the_same(facts: list[Fact], begin: int, length: int, sender: str | None) -> None:
    since, until = float(int(NOW) + begin), float(int(NOW) + begin + length)
    period = {"from": str(rfc3339(since)), "to": str(rfc3339(until))} | ({"sender": sender} if sender else {})
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths: dict[str, dict[str, str]] = {
            "/api/v1/reports/global": period,
            "/api/v1/reports/global#totals": period | {"format": "csv", "table": "totals"},
            "/api/v1/reports/global#series": period | {"format": "csv"},
            "/api/v1/events": {},
            "/stats/outbound": {"fromdate": "2026-01-01", "todate": "2026-12-31"},
            "/api/v1/reports/global#all": {"from": "2026-01-01", "to": "2026-12-31"},
        }
        told = asyncio.run(asked(folder, facts, paths))
        config = folder / "config.yaml"
        config.write_text(f"data_dir: data\nrelay: {{smarthost: {{host: sandbox}}}}\ntracker: {{timezone: {ZONE}}}\n")
        words = [word for name, value in period.items() for word in (f"--{name}", value)]
        by_command = CliRunner().invoke(cli, ["report", "global", *words, "--format", "json", "-c", str(config)])
    report = json.loads(told["/api/v1/reports/global"])
    assert json.loads(by_command.stdout) == report

    mails = {str(fact.id): fact for fact in facts if isinstance(fact, Accepted)}
    events = [seconds(json.loads(line)) for line in told["/api/v1/events"].splitlines()]
    mine = [event for event in events if sender in (None, mails[event["message"]].sender)]
    counted, cohort = Counter[str](), Counter[str]()
    for at, accepted_at, counts in plain(mine, mails):
        counted.update(counts if since <= at < until else {})
        cohort.update(counts if since <= accepted_at < until else {})
    totals = report["totals"]
    for name, value in totals.items():
        if name not in ("recipients", "pending", "complaints") and value is not None:
            assert value == counted[name], name
            assert value == sum(row[name] for row in report["series"]), name
    period_events = [event for event in mine if since <= event["at"] < until]
    assert clicks_by_url(report["top_links"]["by_url"]) == clicks_by_url(links_of(period_events))
    assert sum(row["bounced"] for row in report["bounce_reasons"]) == counted["bounced"]
    for name in ("sent", "delivered", "opens", "machine_clicks", "targeted"):
        assert sum(row[name] for row in report["recipient_domains"]) <= counted[name]
    cohort["tried"] = cohort["targeted"] - cohort["suppressed"]
    for name, (part, base) in RATES.items():
        assert report["rates"][name] == (round(cohort[part] / cohort[base], 6) if cohort[base] else None), name

    (by_csv,) = csv.DictReader(io.StringIO(told["/api/v1/reports/global#totals"], newline=""))
    assert {name: by_csv[name] for name in totals} == {name: said(value) for name, value in totals.items()}
    assert {name: by_csv[f"{name}_rate"] for name in RATES} == {name: said(report["rates"][name]) for name in RATES}
    rows = list(csv.DictReader(io.StringIO(told["/api/v1/reports/global#series"], newline="")))
    assert [row["opens"] for row in rows] == [str(row["opens"]) for row in report["series"]]

    everything = json.loads(told["/api/v1/reports/global#all"])["totals"]
    overview = json.loads(told["/stats/outbound"])
    for ours, theirs in {
        "opens": "Opens",
        "clicks": "TotalClicks",
        "bounced": "Bounced",
        "errors": "SMTPApiErrors",
    }.items():
        assert overview[theirs] == everything[ours]
    assert overview["UniqueOpens"] == (everything["unique_opens"] or 0)


def said(value: float | None) -> str:
    return "" if value is None else str(value)
