"""One message's events as a person reads them, and its way from acceptance to clicks in steps. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracker.reading import reasons, words
from tracker.store.base import Row


@dataclass(frozen=True, slots=True)
class Line:
    """An event: ``tone`` says how it is coloured, ``chips`` are its class and kind, ``said`` are sentences about it."""

    at: float
    title: str
    tone: str
    who: str | None
    chips: tuple[tuple[str, str], ...]
    said: tuple[str, ...]
    url: str | None
    reply: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the funnel: ``value`` is None where nothing could be counted; ``width`` is its share of all targeted,
    ``rate`` its share of what ``of`` names, None where that is not known."""

    title: str
    value: int | None
    width: float | None
    rate: float | None
    of: str
    beside: str


def lines(events: Iterable[Row], message: Row, links: Mapping[int, Row], counted: bool) -> list[Line]:
    """The events by time. ``counted``: they begin with the first, so that the tries of each recipient can be
    numbered."""
    tries: dict[Any, int] = {}
    sent: set[Any] = set()
    found = []
    for event in sorted(events, key=lambda each: (each["at"], each["recorded"])):
        tried = 0
        # what bounces later was not tried again
        if event["type"] in ("sent", "deferred", "bounced") and counted and event["recipient"] not in sent:
            tried = tries[event["recipient"]] = tries.get(event["recipient"], 0) + 1
        if event["type"] == "sent":
            sent.add(event["recipient"])
        found.append(_line(event, message, links, tried, event["recipient"] in sent))
    return found


def _line(event: Row, message: Row, links: Mapping[int, Row], tried: int, gone: bool) -> Line:
    type = event["type"]
    # what is only delayed after it was taken is not in our hands any more
    title = "Delayed on its way" if gone and type == "deferred" else words.EVENTS.get(type)
    said = list(_about(event, message, links, tried))
    return Line(
        event["at"],
        title or type.replace("_", " ").capitalize(),
        _TONES.get(type, "") if event["class"] != "machine" else "machine",
        event["recipient_address"] or (f"recipient {event['recipient']}" if event["recipient"] else None),
        tuple(_chips(event)),
        tuple(said),
        event["url"],
        event["reply"],
    )


_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_TONES = {
    "sent": "good",
    "deferred": "wait",
    "bounced": "bad",
    "error": "bad",
    "complaint": "bad",
    "returned": "wait",
    "open": "human",
    "click": "human",
    "opt_out_click": "human",
    "mirror_view": "human",
    "opt_out": "wait",
}


def _chips(event: Row) -> Iterable[tuple[str, str]]:
    if event["class"]:
        person = event["class"] == "human"
        yield ("person", "sent") if person else ("machine", "")
        if event["kind"] and event["kind"] != event["class"]:
            yield words.KINDS.get(event["kind"], str(event["kind"]).replace("_", " ")), ""
    elif event["type"] in ("opt_out", "opt_in"):
        yield words.SUPPRESSIONS.get(event["kind"], str(event["kind"])), ""
    elif event["kind"]:
        yield str(event["kind"]).replace("_", " "), ""


def _about(event: Row, message: Row, links: Mapping[int, Row], tried: int) -> Iterable[str]:
    if event["type"] == "accepted":
        yield instrumented(message, links)
    if tried > 1 or (tried == 1 and event["type"] == "deferred"):
        yield f"Try {tried}."
    link = links.get(event["position"] or 0)
    if link is not None:
        yield f"Link {link['position']}: {link['label'] or 'no text'}."
    if event["reason"] and event["type"] != "accepted":
        yield _because(event["reason"])
    about = [each for each in (event["agent"], event["address"]) if each]
    if about:
        yield " · ".join(about)


def _because(reason: str) -> str:
    if not _STATUS.fullmatch(reason):
        return f"{reason[0].upper()}{reason[1:]}."
    said = words.enhanced(reason)
    return f"{reason}: {said}." if said else f"{reason}."


def instrumented(message: Row, links: Mapping[int, Row]) -> str:
    """What was done to the mail, or why nothing was."""
    if not message["instrumented"]:
        return f"Not tracked. {reasons.of_mail(message['reason']).why}"
    tracked = sum(1 for link in links.values() if link["tracked"])
    parts = [
        *(["an open pixel"] if message["pixel"] else []),
        *([f"{tracked} tracked {'link' if tracked == 1 else 'links'}"] if tracked else []),
    ]
    return f"Instrumented: {' and '.join(parts)}." if parts else "Instrumented."


_PEOPLE = {
    "open": ("Opened", "of delivered with a pixel", "pixel"),
    "click": ("Clicked", "of delivered with a tracked link", "tracked link"),
}


def funnel(row: Row) -> list[Step]:
    """From all who were meant to get a message or mailing to those who clicked. Opens and clicks are those of people
    whose copy has a pixel, or a tracked link, where they are tied to people."""
    targeted, suppressed = row["targeted"], row["suppressed"]
    wanted, unsuppressed = targeted - suppressed, "of those not suppressed"
    return [
        Step("Targeted", targeted, 1.0, None, "", f"{suppressed} suppressed" if suppressed else ""),
        _step("Sent", row["sent"], targeted, wanted, unsuppressed, "taken by the smarthost"),
        _step("Delivered", row["delivered"], targeted, wanted, unsuppressed, _lost(row)),
        people(row, "open"),
        people(row, "click"),
    ]


def _step(title: str, value: int, targeted: int, base: int, of: str, beside: str) -> Step:
    return Step(title, value, _share(value, targeted), _share(value, base), of, beside)


def people(row: Row, what: str) -> Step:
    """The step of those who opened or clicked (``what``: open or click) a message or mailing."""
    title, of, part = _PEOPLE[what]
    hits, machines, unique, tracked = (
        row[name] for name in (f"{what}s", f"machine_{what}s", f"unique_{what}s", f"{what}_tracked")
    )
    base = row.get(f"attributed_{what}_tracked", tracked)
    by_machines = [f"{machines} by machines"] if machines else []
    if not tracked and not hits:
        return Step(title, None, 0.0, None, of, ", ".join([f"no {part} in it"] * bool(row["delivered"]) + by_machines))
    if unique is None or (tracked and not base):
        return Step(title, hits, None, None, of, ", ".join(["people unknown", *by_machines]))
    said = [f"{hits} {what if hits == 1 else f'{what}s'} in all"] if hits else []
    return _step(title, unique, row["targeted"], base, of, ", ".join(said + by_machines))


def _share(value: int, base: int | None) -> float | None:
    return min(1.0, value / base) if base else None


def _lost(message: Row) -> str:
    lost = ((message["bounced"], "bounced"), (message["errors"], "given up"), (message["pending"], "on the way"))
    return ", ".join(f"{count} {what}" for count, what in lost if count)
