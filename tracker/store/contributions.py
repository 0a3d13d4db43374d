"""What one event contributes to the counters, by what is known of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tracker.bounces import SOFT_CODES
from tracker.model import Status

Counts = Mapping[str, int]
"""By the name of a column; ``link_…`` are those of a link, which has its own."""

LINK_COLUMNS = ("clicks", "unique_clicks", "machine_clicks")

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")


def pack(counts: Counts) -> str | None:
    """Contributions as an event keeps them."""
    return _packed(tuple(counts.items())) if counts else None


@lru_cache(maxsize=1024)
def _packed(items: tuple[tuple[str, int], ...]) -> str:
    return json.dumps(dict(items), separators=(",", ":"))


@lru_cache(maxsize=1024)
def unpack(counts: str | None) -> Counts:
    """Contributions that an event keeps."""
    return json.loads(counts) if counts else {}


def difference(old: Counts, new: Counts) -> dict[str, int]:
    """What must be added to counters that hold ``old`` for them to hold ``new``."""
    return {name: by for name in {*old, *new} if (by := new.get(name, 0) - old.get(name, 0))}


@dataclass(frozen=True, slots=True)
class Firsts:
    """What a hit is the first of: of its recipient's opens or clicks in the message, of its clicks on the link; and
    whether by it the recipient has done both."""

    unique: bool = False
    on_link: bool = False
    both: bool = False


def of_hit(type: str, human: bool, on_link: bool, firsts: Firsts) -> Counts:
    """A hit that is counted. ``on_link``: one link of the mail led there."""
    return _of_hit(type, human, on_link, firsts.unique, firsts.on_link, firsts.both)


@lru_cache(maxsize=256)
def _of_hit(type: str, human: bool, on_link: bool, unique: bool, first_on_link: bool, both: bool) -> Counts:
    name = {"open": "opens", "click": "clicks", "opt_out_click": "opt_out_clicks", "mirror_view": "mirror_views"}[type]
    counts: dict[str, int] = {}
    if not human:
        counts["machine_opens" if type == "open" else "machine_clicks"] = 1
    else:
        counts[name] = 1
        if unique and type in ("open", "click"):
            counts[f"unique_{name}"] = 1
        if both:
            counts["both"] = 1
    if on_link:
        counts["link_clicks" if human else "link_machine_clicks"] = 1
        if human and first_on_link:
            counts["link_unique_clicks"] = 1
    return counts


def of_outcomes(status: str | None, was_sent: bool, tracked: Counts) -> dict[str, Counts]:
    """By status, what the event bears that first brought a recipient there. ``tracked`` is what a delivered copy of
    this message adds."""
    if status == Status.SENT:
        return {status: {"sent": 1, "delivered": 1, **tracked}}
    if status == Status.BOUNCED and was_sent:
        return {status: {"bounced": 1, "bounced_later": 1}, Status.SENT: {"sent": 1}}
    column = {Status.BOUNCED: "bounced", Status.ERROR: "errors", Status.SUPPRESSED: "suppressed"}.get(
        Status(status or Status.PENDING)
    )
    return {str(status): {column: 1}} if column else {}


def of_copy(pixel: bool, tracked_links: int, attributed: bool) -> Counts:
    """What a delivered copy adds to those that can be opened and clicked."""
    names = [name for name, there in (("open_tracked", pixel), ("click_tracked", tracked_links)) if there]
    return dict.fromkeys(names + [f"attributed_{name}" for name in names if attributed], 1)


def bounce_of(reply: str) -> tuple[str, str]:
    """Whether a bounce is ``hard`` or ``soft``, and its enhanced code (RFC 3463): that of the reply, else by its first
    digit. What will pass is soft, a full mailbox for one, whatever it is said to be."""
    found = _ENHANCED.search(reply)
    if found and found[1] != "2":
        code = ".".join(str(int(part)) for part in found.groups())
    else:
        code = "4.0.0" if reply.lstrip().startswith("4") else "5.0.0"
    return ("soft" if code.startswith("4") or code in SOFT_CODES else "hard"), code
