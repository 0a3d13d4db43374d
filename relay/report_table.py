"""A report as plain text, for a terminal of 80 columns. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tracker.reading import figures
from tracker.reading.reports import CLIENTS, LINKS

WIDTH = 80
_SHOWN = 10
_WIDE = 10

_TOTALS = (
    ("messages", None, "accepted from apps"),
    ("targeted", None, "recipients of these"),
    ("suppressed", None, "left out: on the suppression list"),
    ("sent", None, "copies the smarthost accepted"),
    ("delivered", "delivery", "sent, less bounces that came later"),
    ("bounced", "bounce", "refused for good, at once or later"),
    ("errors", "error", "given up without a refusal"),
    ("pending", None, "of the mail accepted here, undecided"),
    ("open_tracked", None, "delivered copies with a pixel"),
    ("opens", "open", "by people"),
    ("unique_opens", "unique_open", "recipients who opened"),
    ("machine_opens", None, "by prefetches, proxies, scanners, bots"),
    ("click_tracked", None, "delivered copies with a tracked link"),
    ("clicks", "click", "by people"),
    ("unique_clicks", "unique_click", "recipients who clicked"),
    ("machine_clicks", None, "by scanners and bots"),
    ("opt_outs", "opt_out", "confirmed opt-outs"),
    ("opt_out_clicks", None, "clicks on opt-out links"),
    ("mirror_views", None, "views of web copies"),
    ("complaints", "complaint", "reported as spam"),
)
_SERIES = ("delivered", "bounced", "opens", "unique_opens", "clicks", "unique_clicks")
_OF_A_NAME = ("delivered", "bounced", "opens", "clicks")
_SHORT = {"unique_opens": "u.opens", "unique_clicks": "u.clicks", "machine_clicks": "m.clicks"}
_CLICKS = ("clicks", "unique_clicks", "machine_clicks")


def as_table(report: Mapping[str, Any]) -> str:
    """All of a report; of each list the first ten rows."""
    zone = ZoneInfo(report["timezone"])
    return "\n".join(line.rstrip() for line in _lines(report, zone)) + "\n"


def _lines(report: Mapping[str, Any], zone: ZoneInfo) -> Iterator[str]:
    yield f"{report['kind'].capitalize()} report, {_when(report['from'], zone)} to {_when(report['to'], zone)}, {zone}"
    yield from (fit(f"{name.capitalize()}: {report[name]}", WIDTH) for name in ("sender", "tag") if report[name])
    yield from _totals(report)
    name, form = ("hour", "%Y-%m-%d %H:%M") if report["kind"] == "live" else ("day", "%Y-%m-%d")
    yield from _head(f"By the {name}", _SERIES, name)
    for row in report["series"]:
        begun = datetime.fromisoformat(row["start"]).astimezone(zone)
        yield _numbers(row, _SERIES) + f"  {begun.strftime(form)}"
    for dimension, place in LINKS.items():
        yield from _top(f"Links by {dimension}", report["top_links"][place], _CLICKS, dimension)
    yield from _top("Recipient domains", report["recipient_domains"], _OF_A_NAME, "domain")
    reasons = [{**row, "reason": f"{row['class']} {row['code']}"} for row in report["bounce_reasons"]]
    yield from _top("Bounce reasons", reasons, ("bounced",), "reason")
    for place in CLIENTS.values():
        yield from _top(
            place.replace("_", " ").capitalize() + "s", report["clients"][place], ("opens", "clicks"), "name"
        )
    yield from _top("Tags", report["tags"], _OF_A_NAME, "tag")
    yield ""
    yield "u. recipients who did, m. by machines, - not known or nothing to be a part of."
    yield "Counts are of what happened in the period; rates are of the mail accepted in it."


def _totals(report: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{'Totals':16}{'count':>13}{'rate':>10}"
    for name, rate, meaning in _TOTALS:
        share = _percent(report["rates"][rate]) if rate else ""
        yield f"{name.replace('_', ' '):16}{_number(report['totals'][name]):>13}{share:>10}  {meaning}"
    share = _percent(report["rates"]["click_to_open"])
    yield f"{'click to open':29}{share:>10}  of those who opened, who clicked too"


def _top(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], value: str) -> Iterator[str]:
    if not rows:
        return
    yield from _head(title, columns, value)
    left = WIDTH - _WIDE * len(columns) - 2
    for row in rows[:_SHOWN]:
        yield f"{_numbers(row, columns)}  {fit(str(row[value]) or '(none)', left)}"
    if len(rows) > _SHOWN:
        yield " " * (_WIDE * len(columns) + 2) + f"and {len(rows) - _SHOWN} more"


def _head(title: str, columns: Iterable[str], value: str) -> Iterator[str]:
    yield ""
    yield title
    yield "".join(f"{_SHORT.get(name, name):>{_WIDE}}" for name in columns) + f"  {value}"


def _numbers(row: Mapping[str, Any], columns: Iterable[str]) -> str:
    return "".join(f"{_number(row[name]):>{_WIDE}}" for name in columns)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else figures.percent(rate)


def _when(text: str, zone: ZoneInfo) -> str:
    moment = datetime.fromisoformat(text).astimezone(zone)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M")


def fit(text: str, width: int) -> str:
    """The text in at most so many columns of a terminal, with nothing in it that a terminal would obey."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    if sum(map(_columns, clean)) <= width:
        return clean
    shown, used = "", 1
    for letter in clean:
        used += _columns(letter)
        if used > width:
            break
        shown += letter
    return f"{shown}…"


def _columns(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
