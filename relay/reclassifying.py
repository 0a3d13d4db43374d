"""Stored hits judged by the rules of today, for the command line, beside the running service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing

from relay.config import Config
from relay.storage import store_of
from tracker.store.base import Judgement, Reclassified

_BITE = 20
"""Messages a step: hits and mail go on between two."""


def reclassify(
    config: Config, since: float, until: float, dry_run: bool, tell: Callable[[int], None] = lambda hits: None
) -> Reclassified:
    """Judge the hits made in a period anew; with ``dry_run`` nothing is changed. ``tell`` hears how many were looked at
    so far. Raises StoreError; what is done by then stays done."""
    hits, moved = 0, Counter[tuple[Judgement, Judgement]]()
    with closing(store_of(config)) as store:
        store.open()
        after: str | None = None
        while True:
            found, after = store.reclassify(after, _BITE, since, until, dry_run)
            hits, moved = hits + found.hits, moved + found.moved
            tell(hits)
            if after is None:
                return Reclassified(hits, moved)


def as_table(found: Reclassified, dry_run: bool) -> str:
    """From what to what, the most first."""
    changed = sum(found.moved.values())
    would = "would be" if dry_run else "are"
    lines = [f"{found.hits} hits looked at; {changed} {would} judged otherwise now"]
    if changed:
        rows = [("from", "to", "hits")]
        rows += [
            (f"{was.cls} {was.kind}", f"{now.cls} {now.kind}", str(count))
            for (was, now), count in sorted(found.moved.items(), key=lambda item: (-item[1], item[0]))
        ]
        lines += [f"{was:24}{now:24}{count:>8}" for was, now, count in rows]
    return "\n".join(lines)
