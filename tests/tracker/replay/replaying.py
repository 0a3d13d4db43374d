"""A labelled day of hits, sent through a running tracker: who was taken for whom.

``agents.csv`` names the agents: ``as sent`` are those that public lists and threads show; ``by name`` are stand-ins for
vendors whose agents are known to bear their name, in a form of our own. ``hits.csv`` has a line a hit: the mail (by how
many links it has), the recipient, seconds after acceptance, the request, and the truth. Some lines cannot be told by
what a request shows, and are there to be got wrong.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tests.tracker.facts import accepted, outcome
from tests.tracker.tracked import KEYRING, Tracker, configured, tracker
from tracker.model import Link, LinkType, Recipient, new_id
from tracker.tokens import Click, Open

FOLDER = Path(__file__).parent
LINKS = {"two": 2, "three": 3, "four": 4, "eight": 8, "letter": 25}


@dataclass(frozen=True)
class Line:
    """One labelled hit."""

    mail: str
    recipient: int
    at: float
    method: str
    event: str
    link: int
    agent: str
    headers: dict[str, str]
    truth: str
    scene: str


@dataclass(frozen=True)
class Taken:
    """A line and what the tracker took it for."""

    line: Line
    cls: str
    kind: str
    reason: str


def agents() -> dict[str, tuple[str, str]]:
    """How each is known, and its agent, by name."""
    with (FOLDER / "agents.csv").open(newline="") as file:
        return {row["name"]: (row["known"], row["agent"]) for row in csv.DictReader(file)}


def lines() -> list[Line]:
    """All labelled hits, in the order of time."""
    with (FOLDER / "hits.csv").open(newline="") as file:
        return [
            Line(
                row["mail"],
                int(row["recipient"]),
                float(row["at"]),
                row["method"],
                row["event"],
                int(row["link"]),
                row["agent"],
                json.loads(row["headers"] or "{}"),
                row["truth"],
                row["scene"],
            )
            for row in csv.DictReader(file)
        ]


async def replayed(wanted: Sequence[Line], agent_kept: str = "family") -> list[Taken]:
    """Accept the mails, send the hits over HTTP as the clock goes on, and read the events from the API."""
    config = configured(privacy={"user_agent": agent_kept})
    with tempfile.TemporaryDirectory() as folder:
        async with tracker(Path(folder), config=config) as t:
            mails = {mail: new_id(t.clock.now) for mail in LINKS}
            _accept(t, mails, wanted)
            await _send(t, mails, wanted)
            await t.settle()
            return await _read(t, mails, wanted)


def _accept(t: Tracker, mails: dict[str, UUID], wanted: Sequence[Line]) -> None:
    for mail, message in mails.items():
        people = max((line.recipient for line in wanted if line.mail == mail), default=1)
        links = tuple(
            Link(n, url := f"https://example.com/{n}", url, f"Link {n}", LinkType.TRACKED, "default", True)
            for n in range(1, LINKS[mail] + 1)
        )
        recipients = tuple(Recipient(n, f"{mail}{n}@example.net") for n in range(1, people + 1))
        about = {"subject": mail, "recipients": recipients, "links": links}
        t.store.apply([accepted(message, t.clock.now, **about)])
        t.store.apply([outcome(message, recipient.ordinal, at=t.clock.now) for recipient in recipients])


async def _send(t: Tracker, mails: dict[str, UUID], wanted: Sequence[Line]) -> None:
    known, begun = agents(), t.clock.now
    for line in wanted:
        t.clock.now = begun + line.at
        message = mails[line.mail]
        if line.event == "open":
            path = f"/o/{KEYRING.seal(Open(message, line.recipient))}.gif"
        else:
            url = f"https://example.com/{line.link}"
            path = f"/c/{KEYRING.seal(Click(message, line.recipient, line.link, url))}"
        agent = known[line.agent][1]
        request = t.client.build_request(line.method, path, headers={**line.headers, "User-Agent": agent})
        if not agent:
            del request.headers["User-Agent"]
        answer = await t.client.send(request)
        assert answer.status_code == (200 if line.event == "open" else 302)


async def _read(t: Tracker, mails: dict[str, UUID], wanted: Sequence[Line]) -> list[Taken]:
    """The events match the lines by their order in time, which is one a copy."""
    taken: list[Taken] = []
    for mail, message in mails.items():
        rows = t.store.events(10_000, message=str(message)).rows
        events = sorted((row for row in rows if row["class"]), key=lambda row: (row["recipient"], row["at"]))
        sent = sorted((line for line in wanted if line.mail == mail), key=lambda line: (line.recipient, line.at))
        assert [(row["recipient"], row["type"], row["position"]) for row in events] == [
            (line.recipient, line.event, line.link) for line in sent
        ]
        taken += [Taken(line, row["class"], row["kind"], row["reason"]) for line, row in zip(sent, events, strict=True)]
    return taken


def recall(taken: Sequence[Taken]) -> float:
    """The share of machines' hits that were taken for machines'."""
    machines = [each for each in taken if each.line.truth == "machine"]
    return sum(each.cls == "machine" for each in machines) / len(machines)


def wronged(taken: Sequence[Taken]) -> float:
    """The share of people's hits that were taken for machines'."""
    people = [each for each in taken if each.line.truth == "human"]
    return sum(each.cls == "machine" for each in people) / len(people)


def report(taken: Sequence[Taken]) -> str:
    """The confusion matrix, what the machines were known by, and all that was got wrong."""
    known = agents()
    sent = [each for each in taken if known[each.line.agent][0] == "as sent"]
    counts = Counter((each.line.truth, each.cls) for each in taken)
    told = [f"{len(taken)} hits of {len({each.line.agent for each in taken})} agents", ""]
    told += [f"{'':14}{'taken: human':>14}{'taken: machine':>16}"]
    told += [f"{truth:14}{counts[truth, 'human']:14}{counts[truth, 'machine']:16}" for truth in ("human", "machine")]
    told += ["", f"machines known: {recall(taken):.1%} (without stand-ins: {recall(sent):.1%})"]
    told += [f"people taken for machines: {wronged(taken):.1%}", "", "kinds:"]
    kinds = Counter(f"{each.cls} {each.kind}" for each in taken)
    told += [f"  {kind:24}{count:5}" for kind, count in sorted(kinds.items())]
    told += ["", "got wrong:"]
    wrong = Counter(
        f"{each.line.truth} taken for {each.cls}: {each.line.agent} {each.line.event}, {each.line.scene}"
        for each in taken
        if each.cls != each.line.truth
    )
    return "\n".join([*told, *(f"  {count:3} {what}" for what, count in wrong.most_common())])
