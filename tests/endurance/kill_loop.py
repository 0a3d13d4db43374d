"""Kill the service without warning, again and again, amid mail: nothing that was acknowledged may be lost.

``python -m tests.endurance.kill_loop [ROUNDS [FILE]]`` prints the table of ROUNDS rounds and writes it to FILE.
"""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.harness import eventually
from tests.endurance.crowd import UNKNOWN, Arrived, Crowd, keys_of
from tests.endurance.service import QUICK, Service, alive, at, identities
from tests.fakes.smarthost import FakeSmarthost, Script

CONNECTIONS = 6
"""Connections to the smarthost. Each worker has twice its share of copies in hand, until their outcome is on disk."""
IN_HAND = 2 * CONNECTIONS

VICTIMS = {"worker": "a relay process", "supervisor": "the supervisor", "tracker": "the tracker", "all": "all at once"}


@dataclass
class Case:
    """One way of killing, and what came of it. ``served`` are seconds from each kill, or from the start by hand
    after it, to the next 250; ``refused`` is how often a client could not connect although the supervisor lived."""

    victim: str
    workers: int
    rounds: int
    acknowledged: int = 0
    delivered: int = 0
    told: int = 0
    lost: int = 0
    duplicates: int = 0
    altered: int = 0
    miscounted: int = 0
    refused: int = 0
    served: list[float] = field(default_factory=list)

    @property
    def most_duplicates(self) -> int:
        """What was in hand at each kill may come again; so may the notification that was on its way beside."""
        return self.rounds * IN_HAND

    @property
    def good(self) -> bool:
        """Nothing was lost, nothing came more often than it may, or as another mail, and all of it was counted once."""
        return (
            not (self.lost or self.altered or self.miscounted or self.refused)
            and self.duplicates <= self.most_duplicates
        )


async def kill_loop(case: Case, folder: Path) -> Case:
    """Run the rounds of a case."""
    async with FakeSmarthost() as host:
        host.script["rcpt"] = Script("550 5.7.1 unknown here", when=lambda line: UNKNOWN.encode() in line)
        host.script["after"] = Script("trickle")
        relay = f"workers: {case.workers}\n{QUICK}"
        service = Service(folder, at(host.port, f", max_connections: {CONNECTIONS}"), relay=relay)
        found = Arrived()
        try:
            await asyncio.to_thread(service.start)
            crowd = Crowd(service.smtp_port)
            async with crowd:
                for _ in range(case.rounds):
                    await crowd.until(random.randint(20, 60))
                    await asyncio.sleep(random.uniform(0, 0.05))
                    case.served.append(await _round(case, service, crowd))
                    found.take(host.messages)
            await _emptied(service, host)
            await asyncio.to_thread(eventually, lambda: not any(row["pending"] for row in service.rows()), 20)
            found.take(host.messages)
            _judge(case, crowd, found, await asyncio.to_thread(service.rows))
            assert await asyncio.to_thread(service.stop) == 0
        finally:
            await asyncio.to_thread(service.tidy)
    return case


async def _round(case: Case, service: Service, crowd: Crowd) -> float:
    """Kill, start anew what does not start by itself; seconds until mail is taken again."""
    workers = service.workers()
    if not workers:  # the last one to be killed is being started anew at this moment
        workers = await asyncio.to_thread(eventually, service.workers)
    everybody = [service.pid, *service.children()]
    known = identities(everybody)
    victims = {
        "worker": [random.choice(workers)],
        "supervisor": [service.pid],
        "tracker": [pid for pid in everybody[1:] if pid not in workers],
        "all": everybody,
    }[case.victim]
    service.kill(*victims)
    since = time.monotonic()
    if service.pid in victims:
        await asyncio.to_thread(eventually, lambda: not any(map(alive, known)), 40)
        since = time.monotonic()
        await asyncio.to_thread(service.start)
    return await crowd.served(since)


async def _emptied(service: Service, host: FakeSmarthost) -> None:
    """Wait until the queue is empty; it may be slow, but not stand still for longer than a smarthost is left alone."""
    seen, since = 0, time.monotonic()
    while await asyncio.to_thread(service.queued):
        if len(host.messages) != seen:
            seen, since = len(host.messages), time.monotonic()
        assert time.monotonic() - since < 75, service.log[-5000:]
        await asyncio.sleep(0.2)


def _judge(case: Case, crowd: Crowd, found: Arrived, rows: Sequence[dict]) -> None:
    wanted = keys_of(crowd.acknowledged)
    case.acknowledged = len(crowd.acknowledged)
    case.delivered, case.told = len(found.copies), len(found.notices)
    case.lost = len(wanted - found.keys)
    if case.victim in ("worker", "tracker"):
        case.refused = crowd.turned_away["ConnectionRefusedError"]
    case.duplicates = found.duplicates
    case.altered = len(found.altered) + len(found.copies.keys() & found.notices.keys())
    counts = {row["message_id"].strip("<>").partition("@")[0]: row for row in rows}
    case.miscounted = len(rows) - len(counts)
    for mail in crowd.acknowledged:
        row, refused = counts.get(mail.name), sum(each == UNKNOWN for each in mail.recipients)
        expected = (len(mail.recipients), len(mail.recipients) - refused, refused, 0, 0)
        fields = ("recipients", "sent", "bounced", "errors", "pending")
        case.miscounted += row is None or tuple(row[name] for name in fields) != expected


def table(cases: Sequence[Case]) -> str:
    """The cases as Markdown."""
    lines = [
        "| killed | relay processes | kills | mails acknowledged | lost | came twice | in hand at the kills, at most"
        " | counted wrongly | back after (median, longest) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        back = f"{statistics.median(case.served):.2f} s, {max(case.served):.2f} s"
        lines.append(
            f"| {VICTIMS[case.victim]} | {case.workers} | {case.rounds} | {case.acknowledged} | {case.lost}"
            f" | {case.duplicates} | {case.most_duplicates} | {case.miscounted} | {back} |"
        )
    return "\n".join(lines) + "\n"


PROSE = """\
# Killed without warning

`make kill-loop` sends mail with 20 sessions at once and meanwhile ends processes of the service with `kill -9`, round
after round: nothing gets a chance to finish, to close a file or to say goodbye. What it ends is started anew, by the
service itself or, where the supervisor was ended too, by hand on the same `data_dir`. Among the mails are small ones
and large ones, some for several people, some for an address that the smarthost refuses. At the end every mail that was
acknowledged with 250 must have been handed to the smarthost or returned to its sender, and be counted exactly once.

A process that dies is started anew within a tenth of a second, one that dies again and again after up to five; clients
that come meanwhile wait and are not refused. Where the supervisor was killed too, the last column says how long the
start by hand took.

A mail may arrive twice if its copy was on its way at the moment of the kill; such a copy must be the same mail to the
octet, with the same `Message-ID` and the same links. "Counted wrongly" are mails whose row of the stats API does not
say exactly what became of their recipients.

"""


async def run(rounds: int) -> list[Case]:
    """So many rounds, spread over the ways of killing."""
    each = max(1, rounds // 6)
    cases = [Case(victim, workers, each) for victim in ("worker", "supervisor", "all") for workers in (1, 2)]
    cases[0].rounds += max(0, rounds - each * len(cases))
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            await kill_loop(case, Path(folder))
        print(table([case]), flush=True)
    return cases


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the smarthost talks on to a service that is gone
    cases = asyncio.run(run(int(arguments[0]) if arguments else 200))
    for file in arguments[1:]:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(PROSE + table(cases))
    return 0 if all(case.good for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
