"""Mail through Tracepost beside Postfix and beside nothing at all: ``python bench/relay.py [--help]``.

smtp-source -> one of the rigs -> smtp-sink, on loopback, the same mail for all, in interleaved rounds. Compare within a
table only, and ratios rather than figures: loader, rig and sink share the machine's cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # this folder would hide the standard library's html

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.mails import newsletter, notice
from bench.rigs import RIGS, Sink, Unavailable, cpu_seconds

MAILS = {"newsletter": newsletter, "notice": notice}


@dataclass(frozen=True)
class Run:
    """One measurement: mails a second until accepted and until delivered, CPU in ms a mail, and how many arrived."""

    accepted: float
    delivered: float
    cpu: float | None
    arrived: int


def measure(name: str, mail: Path, count: int, sessions: int) -> Run:
    """Send so many mails through a rig. Raises Unavailable where it cannot run here."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Sink(Path(folder) / "counter").running() as sink,
        RIGS[name](sink.port) as rig,
    ):
        before = cpu_seconds(rig.pid) if rig.pid else 0.0
        start = time.perf_counter()
        load(rig.port, mail, count, sessions)
        accepted = time.perf_counter()
        delivered = max(accepted, sink.wait(count))
        cpu = (cpu_seconds(rig.pid) - before) * 1000 / count if rig.pid else None
        time.sleep(0.3)  # what arrives twice shall be seen
        rig.check()
        return Run(count / (accepted - start), sink.count / (delivered - start), cpu, sink.count)


def load(port: int, mail: Path, count: int, sessions: int) -> None:
    """Send a mail so many times in so many sessions, which stay open."""
    options = ["-d", "-s", str(sessions), "-m", str(count), "-F", str(mail)]
    options += ["-f", "news@example.com", "-t", "ann@example.net"]
    sent = subprocess.run(["smtp-source", *options, f"127.0.0.1:{port}"], capture_output=True, text=True)
    if sent.returncode or sent.stderr:
        print(f"smtp-source: {sent.stderr.strip()[:200]}", file=sys.stderr)


def compare(names: list[str], mail: Path, count: int, sessions: int, rounds: int) -> bool:
    """Measure in turn and print a table; whether every mail arrived once."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    absent: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for name in names:
            if name not in absent:
                try:
                    runs[name].append(measure(name, mail, count, sessions))
                except Unavailable as reason:
                    absent[name] = str(reason)
            if sys.stderr.isatty():
                print(f"round {number} of {rounds}: {name}{'':20}", end="\r", file=sys.stderr, flush=True)
    size = mail.stat().st_size / 1000
    print(f"\n{mail.name}, {size:.0f} KB, {sessions} sessions, {count} mails, medians of {rounds} rounds")
    print(f"{'through':12}{'accepted/s':>12}{'delivered/s':>13}{'x Postfix':>12}{'CPU ms/mail':>13}   arrived")
    base = statistics.median(run.delivered for run in runs["postfix"]) if runs.get("postfix") else None
    for name in names:
        print(f"{name:12}{absent[name]}" if name in absent else row(name, runs[name], base, count), flush=True)
    return all(run.arrived == count for each in runs.values() for run in each)


def row(name: str, runs: list[Run], base: float | None, count: int) -> str:
    accepted = statistics.median(run.accepted for run in runs)
    delivered = statistics.median(run.delivered for run in runs)
    ratio = f"{delivered / base:.2f}" if base else "-"
    spent = [run.cpu for run in runs if run.cpu is not None]
    cpu = f"{statistics.median(spent):.2f}" if spent else "-"
    wrong = [str(run.arrived) for run in runs if run.arrived != count]
    arrived = f"NOT {count} BUT {', '.join(wrong)}" if wrong else "all, every round"
    return f"{name:12}{accepted:12.0f}{delivered:13.0f}{ratio:>12}{cpu:>13}   {arrived}"


def arguments() -> argparse.Namespace:
    def chosen(known: Mapping[str, object]) -> Callable[[str], list[str]]:
        def names(text: str) -> list[str]:
            if unknown := set(text.split(",")) - set(known):
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
            return text.split(",")

        return names

    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description="Mail through Tracepost beside Postfix.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--count", type=int, default=1000, help="mails in each measurement (1000)")
    parser.add_argument("--sessions", type=numbers, default=[20, 100], help="SMTP sessions at once (20,100)")
    parser.add_argument("--cases", type=chosen(RIGS), default=list(RIGS), help=f"of {','.join(RIGS)} (all)")
    parser.add_argument("--mails", type=chosen(MAILS), default=list(MAILS), help=f"of {','.join(MAILS)} (all)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if not (shutil.which("smtp-source") and shutil.which("smtp-sink")):
        sys.exit("smtp-source and smtp-sink are wanted; Postfix brings them")
    whole = True
    with tempfile.TemporaryDirectory() as folder:
        for name in options.mails:
            mail = Path(folder) / name
            mail.write_bytes(MAILS[name]().replace(b"\r\n", b"\n"))  # smtp-source makes CRLF itself
            for sessions in options.sessions:
                whole &= compare(options.cases, mail, options.count, sessions, options.rounds)
    sys.exit(0 if whole else "some mail did not arrive exactly once")


if __name__ == "__main__":
    main()
