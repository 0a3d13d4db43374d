"""What is wrong now, the worst first, in plain words and with a place to look. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tracker.reading.figures import number, percent
from tracker.store.base import Row

_OLD_SECONDS = 1800
_MANY_BOUNCES, _BOUNCE_RATE, _TIMES_BEFORE = 5, 0.02, 2.0
_MANY_COMPLAINTS, _COMPLAINT_RATE = 2, 0.001
"""Gmail and Yahoo want spam rates below 0.1 % (support.google.com/a/answer/81126)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong; ``bad``: mail or numbers suffer now. ``path`` is the page to look at."""

    title: str
    text: str
    path: str | None = None
    link: str = ""
    bad: bool = False


def troubles(day: Row, before: Row, readiness: Mapping[str, bool], figures: Mapping[str, float]) -> list[Trouble]:
    """All that is wrong. ``day`` and ``before`` are totals of the mail accepted in the last 24 hours, and in the seven
    days before that; ``figures`` are those of ``/metrics`` by their names, as far as there are such."""
    found = [*_service(readiness, figures), *_queue(figures), *_webhooks(figures), *_mail(day, before)]
    return sorted(found, key=lambda each: not each.bad)


def _service(readiness: Mapping[str, bool], figures: Mapping[str, float]) -> Iterator[Trouble]:
    missing = sorted(name for name, fine in readiness.items() if not fine)
    if missing:
        text = f"Not ready: {', '.join(missing)}. The log of the service says why."
        yield Trouble("The service is not ready.", text, bad=True)
    lost = figures.get("hits_lost_total", 0)
    if lost:
        yield Trouble(
            f"{_some(lost, 'hit', 'hits')} lost.",
            "No disk took them, so they are never counted. Look for room on the disk of data_dir.",
            bad=True,
        )
    waiting = figures.get("journal_facts", 0)
    if waiting:
        text = "The store is away or slow; they are counted once it is back. Until then numbers are behind."
        yield Trouble(f"{_some(waiting, 'hit waits', 'hits wait')} in the journal.", text)


def _queue(figures: Mapping[str, float]) -> Iterator[Trouble]:
    failing, oldest = figures.get("smarthosts_failing", 0), figures.get("queue_oldest_seconds", 0)
    mails = figures.get("queue_messages", 0)
    look = ("/queue", "See the queue")
    if failing:
        text = f"{_some(mails, 'mail waits', 'mails wait')} in the queue and will be tried again."
        # Each worker counts for itself, so how many there are is not known.
        yield Trouble("A smarthost fails.", text, *look, bad=True)
    if oldest > _OLD_SECONDS:
        text = f"{_some(mails, 'mail waits', 'mails wait')} in the queue; each is tried again until it is given up."
        yield Trouble(f"The oldest mail has waited for {_long(oldest)}.", text, *look)


def _webhooks(figures: Mapping[str, float]) -> Iterator[Trouble]:
    stopped, waiting = figures.get("webhooks_stopped", 0), figures.get("webhooks_waiting", 0)
    look = ("/webhooks", "See the webhooks")
    if stopped:
        text = "It answered that it is gone, so nothing is sent there any more."
        yield Trouble(f"{_some(stopped, 'webhook has', 'webhooks have')} stopped.", text, *look, bad=True)
    if waiting:
        text = "A webhook does not take them; they are tried again until they are given up."
        yield Trouble(f"{_some(waiting, 'event waits', 'events wait')} for a webhook.", text, *look)


def _mail(day: Row, before: Row) -> Iterator[Trouble]:
    if day["errors"]:
        title = f"{_some(day['errors'], 'recipient was', 'recipients were')} given up in the last 24 hours."
        text = "Their mail was tried until its time was over; the senders were told."
        yield Trouble(title, text, "/messages?status=error", "See the messages", bad=True)
    now, past = _rate(day, "bounced"), _rate(before, "bounced")
    if now is not None and day["bounced"] >= _MANY_BOUNCES and now > max(_BOUNCE_RATE, _TIMES_BEFORE * (past or 0)):
        usual = f"; in the week before it was {percent(past)}" if past is not None else ""
        text = f"{percent(now)} of the mail of the last 24 hours was refused{usual}."
        yield Trouble("More bounces than usual.", text, "/report?period=7d#reasons", "See the reasons")
    complained = day["complaints"] / day["delivered"] if day["delivered"] else 0
    if day["complaints"] >= _MANY_COMPLAINTS and complained > _COMPLAINT_RATE:
        text = f"{percent(complained)} of the last 24 hours’ mail; hosts want less than 0.1%."
        yield Trouble(f"{_some(day['complaints'], 'complaint', 'complaints')} of spam.", text, bad=True)


def _rate(row: Row, column: str) -> float | None:
    tried = row["targeted"] - row["suppressed"]
    return row[column] / tried if tried > 0 else None


def _some(count: float, one: str, more: str) -> str:
    return f"{number(count)} {one if count == 1 else more}"


def _long(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
