"""Links that live for years: whatever becomes of store, data, keys and processes, a link leads where it led, at once,
and its hit is counted once."""

from __future__ import annotations

import contextlib
import json
import secrets
import smtplib
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import eventually
from tests.e2e.test_main_job import BROWSER, newsletter, tracked_paths
from tests.endurance.service import Service, alive, identities, running
from tracker.tokens import KEY_BYTES, format_key

GOLDEN = json.loads((Path(__file__).parents[1] / "tracker" / "golden_tokens.json").read_text("utf-8"))
TARGET = "https://example.org/a?x=1&y=2#top"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, "{host: sandbox}") as found:
        yield found


def send(service: Service, name: str) -> tuple[str, str]:
    """Send a mail for one recipient; the paths of its link and its pixel."""
    mail = newsletter(name)
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        client.sendmail(
            "news@example.com", ["ann@example.net"], mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))
        )

    def arrived() -> bytes | None:
        mails = [path.read_bytes() for path in (service.data / "sandbox").glob("*.eml")]
        return next((each for each in mails if f"<{name}@example.com>".encode() in each), None)

    (link,), (pixel,) = tracked_paths(eventually(arrived))
    eventually(lambda: service.metric("queue_messages") == service.metric("queue_facts") == 0)
    return link, pixel


class Visits:
    """A reader who follows one link again and again, long enough apart not to be a repeat, and opens its mail."""

    def __init__(self, service: Service, paths: tuple[str, str]) -> None:
        self.service = service
        self.link, self.pixel = paths
        self.clicks = self.opens = 0

    def click(self, times: int = 1) -> None:
        """Each click leads there, and half of several in less than 100 ms."""
        took = []
        for _ in range(times):
            began = time.monotonic()
            answer = self.service.web.get(self.link, headers={"User-Agent": "curl/8"})
            took.append(time.monotonic() - began)
            assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
            self.clicks += 1
        assert sorted(took)[len(took) // 2] < (0.1 if times >= 5 else 1.0), took

    def open(self) -> None:
        answer = self.service.web.get(self.pixel, headers={"User-Agent": "curl/8"})
        assert (answer.status_code, len(answer.content)) == (200, 43)
        self.opens += 1

    def hits(self) -> list[dict]:
        """The events of all hits that were counted, or lie there as repeats."""
        lines = self.service.web.get("/api/v1/events", params={"limit": 1000}).text.splitlines()
        return [event for event in map(json.loads, lines) if event["type"] in ("open", "click")]

    def are_counted(self) -> None:
        """Every hit is there once, and so it stays."""

        def found() -> bool:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                kinds = [event["type"] for event in self.hits()]
                return (kinds.count("click"), kinds.count("open")) == (self.clicks, self.opens)
            return False

        eventually(lambda: self.service.metric("journal_facts") == 0)
        eventually(found)
        ids = [event["id"] for event in self.hits()]
        assert len(set(ids)) == len(ids)
        assert self.service.metric("hits_lost_total") == 0


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """The store belongs to somebody else."""
    with contextlib.closing(sqlite3.connect(store, isolation_level=None, timeout=30)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


@contextlib.contextmanager
def a_folder(store: Path) -> Iterator[None]:
    """Where the store was there is a folder."""
    aside = store.with_name("aside")
    store.rename(aside)
    store.mkdir()
    yield
    store.rmdir()
    aside.rename(store)


@pytest.mark.parametrize("away", [locked, a_folder])
def test_while_the_store_is_away(service: Service, away) -> None:
    visits = Visits(service, send(service, "away"))
    visits.click()
    visits.open()
    with away(service.data / "tracepost.db"):
        visits.click(9)
        visits.open()
        eventually(lambda: service.metric("journal_facts") >= 10)
    visits.are_counted()
    visits.click(3)
    visits.are_counted()


@pytest.mark.parametrize("away", [locked, a_folder])
def test_the_tracker_dies_and_the_service_is_started_anew_while_the_store_is_away(service: Service, away) -> None:
    visits = Visits(service, send(service, "anew"))
    with away(service.data / "tracepost.db"):
        visits.click(5)
        tracker = service.tracker()
        (this_one,) = identities([tracker])
        service.kill(tracker)
        eventually(lambda: not alive(this_one))
        eventually(lambda: reachable(service))
        visits.click(5)
        service.stop()
        service.start(ready="/livez")
        visits.click(3)
        visits.open()
    visits.are_counted()


def reachable(service: Service) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return service.web.get("/livez").status_code == 200
    return False


def test_after_the_store_is_lost(service: Service) -> None:
    visits = Visits(service, send(service, "lost"))
    visits.click()
    visits.are_counted()
    for path in service.data.glob("tracepost.db*"):
        path.unlink()
    visits.clicks = 0
    visits.click(5)
    visits.open()
    visits.are_counted()


def test_a_year_later_with_its_data_purged(service: Service) -> None:
    visits = Visits(service, send(service, "later"))
    visits.click()
    visits.open()
    visits.are_counted()
    service.stop()
    service.start(by=[sys.executable, "-m", "tests.e2e.later", "401"])

    def purged() -> dict | None:
        (row,) = service.rows()
        return row if (row["subject"], visits.hits()) == ("", []) else None

    row = eventually(purged)
    assert (row["opens"] + row["machine_opens"], row["clicks"] + row["machine_clicks"]) == (1, 1)
    people = service.web.get(f"/api/v1/messages/{row['id']}").json()["recipients_detail"]
    assert [each["address"] for each in people] == [None]
    visits.clicks = visits.opens = 0
    visits.click(5)
    visits.open()
    visits.are_counted()
    (row,) = service.rows()
    # the first of the five, and what there was; the others are repeats
    assert (row["machine_opens"], row["machine_clicks"]) == (2, 2)


def test_after_the_keys_were_changed_twice(tmp_path: Path) -> None:
    keys = [format_key(secrets.token_bytes(KEY_BYTES)) for _ in range(3)]

    def signing(*numbers: int) -> str:
        return "signing_keys: [" + ", ".join(f'"{keys[number]}"' for number in numbers) + "]\n"

    with running(tmp_path, "{host: sandbox}", top=signing(0)) as service:
        everyone = [Visits(service, send(service, "first"))]
        for name, numbers in (("second", (1, 0)), ("third", (2, 1, 0))):
            told = service.log.count("the keys are reloaded")
            service.configure(top=signing(*numbers))
            service.hang_up()
            eventually(lambda told=told: service.log.count("the keys are reloaded") > told)
            eventually(lambda: service.log.count("the configuration is reloaded") >= len(everyone))
            everyone.append(Visits(service, send(service, name)))
            for visits in everyone:
                visits.click()
                visits.open()
        service.stop()
        service.start()
        for visits in everyone:
            visits.click()
        visits.clicks, visits.opens = 3 + 3 + 2, 2 + 2 + 1
        visits.are_counted()


def test_tokens_of_the_first_version_lead_where_they_led(tmp_path: Path) -> None:
    top = f'signing_keys: ["{format_key(secrets.token_bytes(KEY_BYTES))}", "{GOLDEN["key"]}"]\n'
    with running(tmp_path, "{host: sandbox}", top=top, by=[sys.executable, "-m", "tests.e2e.later", "1500"]) as service:
        count = 0
        with locked(service.data / "tracepost.db"):
            for claim, token in ((line["claim"], line["token"]) for line in GOLDEN["tokens"]):
                if claim["purpose"] == "Click":
                    answer = service.web.get(f"/c/{token}", headers={"User-Agent": BROWSER})
                    plain = claim["url"].startswith("http")
                    assert answer.headers.get("location") == (claim["url"] if plain else None)
                    count += plain
                elif claim["purpose"] == "Open":
                    assert service.web.get(f"/o/{token}.gif", headers={"User-Agent": BROWSER}).status_code == 200
                    count += 1
                elif claim["purpose"] == "OptOut":
                    assert service.web.get(f"/u/{token}").status_code == 200
                    count += 1
        assert count == 12
        eventually(lambda: service.metric("journal_facts") == 0)
        assert len(service.web.get("/api/v1/events", params={"limit": 1000}).text.splitlines()) == count
        for claim, token in ((line["claim"], line["token"]) for line in GOLDEN["tokens"]):
            if claim["purpose"] == "Mirror":
                assert service.web.get(f"/m/{token}").status_code == 410
