"""The hits of one recipient's copy in the light of each other: bursts, then repeats (contract, section 6). Pure.

What comes out depends on the hits alone, never on the order in which they came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tracker.model import HitClass, Verdict

REPEAT_SECONDS = 10.0
"""A counted hit of the same class on the same token this shortly before makes the next one a repeat."""

BURST_SECONDS = 1.0
"""So long a time with so many distinct links in it is a burst."""

BURST_LINKS = 5
"""How many distinct links make a burst; where a copy has three or four, all of them do."""

WINDOW = REPEAT_SECONDS + BURST_SECONDS
"""A hit with no other of its copy within so many seconds changes nothing, and nothing changes it."""

_FEWEST_LINKS = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A hit of one recipient's copy and what its request showed by itself. ``id`` breaks ties in time."""

    id: str
    at: float
    event: str
    position: int
    verdict: Verdict

    @property
    def token(self) -> tuple[str, int]:
        """What names the token among those of the copy."""
        return self.event, self.position


def judge(hits: Sequence[Judged], links: int | None, standing: Mapping[str, Verdict] | None = None) -> list[Verdict]:
    """The verdicts of all hits, in the order given.

    ``links`` is how many links of the copy lead through us, None where that is not known. ``standing`` holds the
    verdicts, by id, of hits that are given only because others lean on them: they stay (see ``stands``)."""
    standing = standing or {}
    burst, reason = _bursts([hit for hit in hits if hit.event == "click"], links)
    counted: dict[tuple[HitClass, tuple[str, int]], float] = {}
    judged: dict[str, Verdict] = {}
    for hit in _in_order(hits):
        verdict = standing.get(hit.id)
        if verdict is None:
            verdict = hit.verdict
            if hit.id in burst and verdict.cls is HitClass.HUMAN:
                verdict = replace(verdict, cls=HitClass.MACHINE, kind="scanner", reason=reason)
            verdict = as_repeat(verdict, hit.at, counted.get((verdict.cls, hit.token)))
        if verdict.kind != "repeat":
            counted[verdict.cls, hit.token] = hit.at
        judged[hit.id] = verdict
    return [judged[hit.id] for hit in hits]


def as_repeat(verdict: Verdict, at: float, counted_at: float | None) -> Verdict:
    """The verdict in the light of the last counted hit of the same class on the same token, at ``counted_at``."""
    if counted_at is None or verdict.kind == "repeat" or abs(at - counted_at) > REPEAT_SECONDS:
        return verdict
    return replace(verdict, kind="repeat", reason=f"again within 10 s ({verdict.kind})")


def stands(at: float, first: float) -> bool:
    """Whether the verdict on a hit made ``at`` stays as it is, whatever hits come in that were made at ``first`` or
    later. Of those that stay, only the ones from ``first - WINDOW`` on bear on the others."""
    return at < first - BURST_SECONDS


def parted(at: float, then: float) -> bool:
    """Whether two neighbouring hits of a copy are so far apart that nothing before the gap bears on what is after."""
    return then - at > REPEAT_SECONDS


def _in_order(hits: Iterable[Judged]) -> list[Judged]:
    return sorted(hits, key=lambda hit: (hit.at, hit.id))


def _bursts(clicks: Sequence[Judged], links: int | None) -> tuple[set[str], str]:
    """The ids of the clicks in a burst, and how that is said."""
    all_of_them = links is not None and _FEWEST_LINKS <= links < BURST_LINKS
    needed = links if links is not None and all_of_them else BURST_LINKS
    reason = "every link of the copy" if all_of_them else "five or more links of the copy"
    ordered, found = _in_order(clicks), set[str]()
    seen: dict[int, int] = {}
    start = marked = 0
    for end, click in enumerate(ordered):
        seen[click.position] = seen.get(click.position, 0) + 1
        while click.at - ordered[start].at > BURST_SECONDS:
            gone = ordered[start].position
            seen[gone] -= 1
            if not seen[gone]:
                del seen[gone]
            start += 1
        if len(seen) >= needed:
            found.update(each.id for each in ordered[max(start, marked) : end + 1])
            marked = end + 1
    return found, f"{reason} within a second"
