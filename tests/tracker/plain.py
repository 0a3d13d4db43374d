"""A plain count over facts, written apart from the store: slow, whole, and easy to believe."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tracker.hits.agents import client_of
from tracker.hits.classify import classify
from tracker.hits.judging import Judged, judge
from tracker.model import (
    Accepted,
    BounceKind,
    Complained,
    Fact,
    Hit,
    HitClass,
    LinkType,
    OptedIn,
    OptedOut,
    Outcome,
    Returned,
    Status,
    SuppressionKind,
)

RANK = [Status.PENDING, Status.SUPPRESSED, Status.ERROR, Status.SENT, Status.BOUNCED]


@dataclass
class Counted:
    """One thing that happened and what it counts as."""

    at: float
    message: UUID
    recipient: int | None
    what: str
    counts: dict[str, int]
    position: int | None = None
    link: dict[str, int] = field(default_factory=dict)
    agent: str | None = None
    reply: str = ""


class Plain:
    """What some facts amount to; a fact told twice is one."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.mail: dict[UUID, Accepted] = {}
        outcomes: dict[tuple[UUID, int], set[Outcome]] = defaultdict(set)
        hits: dict[UUID, Hit] = {}
        said: dict[UUID, OptedOut | OptedIn] = {}
        back: dict[tuple[UUID, int], Returned] = {}
        spam: dict[tuple[UUID, int], Complained] = {}
        for fact in facts:
            if isinstance(fact, Accepted):
                self.mail.setdefault(fact.id, fact)
            elif isinstance(fact, Outcome):
                outcomes[fact.message, fact.recipient].add(fact)
            elif isinstance(fact, Returned) and fact.kind is not BounceKind.DELAYED:
                back.setdefault((fact.message, fact.recipient), fact)
            elif isinstance(fact, Complained):
                spam.setdefault((fact.message, fact.recipient), fact)
            elif isinstance(fact, Hit):
                hits.setdefault(fact.id, fact)
            elif isinstance(fact, OptedOut | OptedIn):
                said.setdefault(fact.id, fact)
        self.counted: list[Counted] = []
        for mail in self.mail.values():
            counts = {"messages": 1, "targeted": len(mail.recipients)}
            self.counted.append(Counted(mail.accepted_at, mail.id, None, "accepted", counts))
        for key in {*outcomes, *back}:
            self._outcomes(outcomes[key], back.get(key))
        for complaint in spam.values():
            about = (complaint.at, complaint.message, complaint.recipient)
            self.counted.append(Counted(*about, "complaint", {"complaints": 1}))
        copies: dict[tuple[UUID, int | None], list[Hit]] = defaultdict(list)
        for hit in hits.values():
            copies[hit.message, hit.recipient].append(hit)
        for copy in copies.values():
            self._copy(sorted(copy, key=lambda hit: (hit.at, str(hit.id))))
        self._opt_outs(said.values())

    def _outcomes(self, said: set[Outcome], back: Returned | None) -> None:
        if back is not None:
            sent = min((each for each in said if each.status is Status.SENT), key=lambda each: each.at, default=None)
            counts = {"bounced": 1, "bounced_later": 1} if sent else {"bounced": 1}
            first = min(
                (each for each in said if each.status is Status.BOUNCED), key=lambda each: each.at, default=None
            )
            if first is not None and first.at < back.at:
                self._add(first, counts)
            else:
                about = (back.at, back.message, back.recipient, "bounced", counts)
                self.counted.append(Counted(*about, reply=f"550 {back.status}"))
            if sent:
                self._add(sent, {"sent": 1})
            return
        told = sorted(said, key=lambda each: (each.at, RANK.index(each.status)))
        last, firsts = told[-1], dict[Status, Outcome]()
        for each in told:
            firsts.setdefault(each.status, each)
        mail, sent, bears = self.mail.get(last.message), firsts.get(Status.SENT), firsts[last.status]
        if last.status is Status.SENT and sent is not None:
            counts = {"sent": 1, "delivered": 1}
            if mail and mail.pixel:
                counts["open_tracked"] = 1
            if mail and any(link.tracked and link.type is LinkType.TRACKED for link in mail.links):
                counts["click_tracked"] = 1
            if mail and mail.attributed:
                counts |= {f"attributed_{name}": 1 for name in counts if name.endswith("tracked")}
            self._add(sent, counts)
        elif last.status is Status.BOUNCED:
            self._add(bears, {"bounced": 1, "bounced_later": 1} if sent else {"bounced": 1})
            if sent:
                self._add(sent, {"sent": 1})
        elif last.status is Status.ERROR:
            self._add(bears, {"errors": 1})
        elif last.status is Status.SUPPRESSED:
            self._add(bears, {"suppressed": 1})

    def _add(self, fact: Outcome, counts: dict[str, int]) -> None:
        self.counted.append(Counted(fact.at, fact.message, fact.recipient, fact.status.value, counts, reply=fact.reply))

    def _copy(self, hits: Sequence[Hit]) -> None:
        mail = self.mail.get(hits[0].message)
        links = len({link.position for link in mail.links if link.tracked}) if mail else None
        verdicts = [hit.verdict or classify(hit) for hit in hits]
        if hits[0].recipient is not None:
            judged = [
                Judged(str(hit.id), hit.at, hit.event, hit.position, verdict)
                for hit, verdict in zip(hits, verdicts, strict=True)
            ]
            verdicts = judge(judged, links)
        done: set[Any] = set()
        for hit, verdict in zip(hits, verdicts, strict=True):
            if verdict.kind == "repeat":
                continue
            counts, link = Counter[str](), Counter[str]()
            on_link = hit.event == "click" and hit.position > 0
            if verdict.cls is HitClass.MACHINE:
                counts[f"machine_{hit.event}s"] += 1
                link["machine_clicks"] += on_link
            else:
                name = {LinkType.OPT_OUT: "opt_out_clicks", LinkType.MIRROR: "mirror_views"}.get(hit.type, "clicks")
                name = "opens" if hit.event == "open" else name
                counts[name] += 1
                link["clicks"] += on_link
                if hit.recipient is not None:
                    if name in ("opens", "clicks") and name not in done:
                        done.add(name)
                        counts[f"unique_{name}"] += 1
                        counts["both"] += {"opens", "clicks"} <= done
                    if on_link and hit.position not in done:
                        done.add(hit.position)
                        link["unique_clicks"] += 1
            what = hit.event if hit.type is LinkType.TRACKED else "other"
            self.counted.append(
                Counted(hit.at, hit.message, hit.recipient, what, dict(counts), hit.position, dict(link), hit.agent)
            )

    def _opt_outs(self, said: Iterable[OptedOut | OptedIn]) -> None:
        readers: dict[tuple[UUID, str], list[OptedOut | OptedIn]] = defaultdict(list)
        for fact in said:
            if fact.kind is SuppressionKind.MAIL:
                readers[fact.message, fact.address].append(fact)
        for words in readers.values():
            last = max(words, key=lambda each: (each.at, isinstance(each, OptedOut), str(each.id)))
            if isinstance(last, OptedOut):
                self.counted.append(Counted(last.at, last.message, last.recipient, "opt_out", {"opt_outs": 1}))

    # -- sums --------------------------------------------------------------------------------------------------------

    def wanted(self, sender: str | None, tag: str | None) -> list[Counted]:
        """What is of one sender's, one tag's mail."""
        return [
            each
            for each in self.counted
            if (sender is None and tag is None)
            or (
                (mail := self.mail.get(each.message)) is not None
                and sender in (None, mail.sender)
                and tag in (None, mail.tag)
            )
        ]

    def totals(self, found: Iterable[Counted], since: float, until: float, cohort: bool = False) -> Counter[str]:
        """Sums over a period, by the time of the event or of acceptance."""
        sums = Counter[str]()
        for each in found:
            mail = self.mail.get(each.message)
            at = each.at if not cohort else mail.accepted_at if mail else None
            if at is not None and since <= at < until:
                sums.update(each.counts)
        return sums

    def pending(self, found: Iterable[Counted], since: float, until: float) -> int:
        """How many still wait, of the mail accepted in a period."""
        sums = self.totals(found, since, until, cohort=True)
        done = sums["suppressed"] + sums["sent"] + sums["bounced"] - sums["bounced_later"] + sums["errors"]
        return sums["targeted"] - done

    def breakdown(
        self, found: Iterable[Counted], dimension: str, since: float, until: float
    ) -> dict[str, Counter[str]]:
        """Sums by the values of a dimension."""
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for each in found:
            if since <= each.at < until:
                for value, counts in self._values(each, dimension):
                    if value:
                        sums[value].update(counts)
        return {value: +counts for value, counts in sums.items() if +counts}

    def _values(self, each: Counted, dimension: str) -> Iterable[tuple[str | None, dict[str, int]]]:
        mail = self.mail.get(each.message)
        if dimension == "tag":
            yield mail and mail.tag, each.counts
        elif dimension in ("url", "path", "label"):
            link = next((one for one in mail.links if one.position == each.position), None) if mail else None
            if link and each.what == "click":
                yield {"url": link.url, "path": link.url.partition("?")[0], "label": link.label}[dimension], each.link
        elif dimension == "domain" and mail:
            for domain in sorted({person.address.rpartition("@")[2] for person in mail.recipients}):
                people = [person.ordinal for person in mail.recipients if person.address.endswith(f"@{domain}")]
                if each.what == "accepted":
                    yield domain, {"messages": 1, "targeted": len(people)}
                elif each.recipient in people:
                    yield domain, each.counts
        elif dimension == "reason" and each.what == "bounced":
            code = each.reply.split()[1]
            kind = "soft" if code.startswith("4") or code == "5.2.2" else "hard"
            yield f"{kind} {code}", each.counts
        elif dimension in ("device", "system", "client") and each.agent:
            yield client(each.agent)[dimension], each.counts

    def mailings(self, zone: str) -> dict[tuple[Any, ...], set[UUID]]:
        """Messages by what makes them one mailing."""
        found: dict[tuple[Any, ...], set[UUID]] = defaultdict(set)
        for mail in self.mail.values():
            day = datetime.fromtimestamp(mail.accepted_at, UTC).astimezone(ZoneInfo(zone)).date()
            name: tuple[Any, ...] = ("subject", mail.subject, day)
            if mail.mailing:
                name = ("mailing", mail.mailing)
            elif mail.tag:
                name = ("tag", mail.tag, day)
            found[mail.sender, *name].add(mail.id)
        return found

    def sum(self, key: Callable[[Counted], Any]) -> dict[Any, Counter[str]]:
        """Sums by what ``key`` says of each."""
        sums: dict[Any, Counter[str]] = defaultdict(Counter)
        for each in self.counted:
            sums[key(each)].update(each.counts)
        return sums

    def links(self, messages: Iterable[UUID]) -> dict[int, Counter[str]]:
        """Sums by the position of a link."""
        sums: dict[int, Counter[str]] = defaultdict(Counter)
        wanted = set(messages)
        for each in self.counted:
            if each.message in wanted and each.position is not None and each.position > 0:
                sums[each.position].update(each.link)
        return sums


def client(agent: str) -> dict[str, str]:
    """Device, system and program."""
    return client_of(agent)._asdict()
