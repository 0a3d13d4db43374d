"""The supervisor over processes that were really forked, in a program of its own."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import asyncio, os, socket, sys, time
from pathlib import Path
from relay import supervisor
from relay.reception.scoreboard import Scoreboard
from relay.supervisor import Life, Process, StartupError, Supervisor

folder = Path({folder!r})

def say(*words):
    with (folder / "said").open("a") as file:
        print(*words, file=file, flush=True)

def serving(name, seconds=0.0):
    async def run(life):
        say(name, "starts", os.getpid())
        life.ready()
        reloading = asyncio.create_task(reloads(name, life))
        await life.stop.wait()
        await asyncio.sleep(seconds)
        say(name, "ends")
    return run

async def reloads(name, life):
    while True:
        await life.reload.wait()
        life.reload.clear()
        say(name, "reloads")

board = Scoreboard(2)
def run(*processes):
    try:
        Supervisor(processes, board, lambda: say("reread")).run(lambda: say("announced"))
    except StartupError as error:
        say(error)
        sys.exit(3)
    say("over")
"""


class Program:
    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process

    @property
    def said(self) -> list[str]:
        file = self.folder / "said"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, text: str, times: int = 1) -> str:
        deadline = time.monotonic() + 60
        while True:
            found = [line for line in self.said if line.startswith(text)]
            if len(found) >= times:
                return found[-1]
            assert time.monotonic() < deadline, (text, self.said)
            time.sleep(0.01)

    def pid(self, name: str, times: int = 1) -> int:
        """The process of that name, when it has started so many times."""
        return int(self.wait_for(f"{name} starts", times).split()[2])

    def ends(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)


@contextmanager
def program(folder: Path, body: str) -> Iterator[Program]:
    text = PROGRAM.format(folder=str(folder)) + textwrap.dedent(body)
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stdout=errors, stderr=errors)
    try:
        yield Program(folder, process)
    finally:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> None:
    deadline = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_start_are_announced_and_end_together(tmp_path, number):
    with program(tmp_path, "run(Process('a', serving('a')), Process('b', serving('b', 0.3)))") as running:
        running.wait_for("announced")
        pids = running.pid("a"), running.pid("b")
        running.process.send_signal(number)
        assert running.ends() == 0
        gone(*pids)
    assert running.said[2] == "announced"
    assert sorted(running.said[3:5]) == ["a ends", "b ends"]
    assert running.said[5:] == ["over"]


def test_one_that_dies_is_started_anew_and_the_others_go_on(tmp_path):
    with program(tmp_path, "run(Process('a', serving('a')), Process('b', serving('b')))") as running:
        running.wait_for("announced")
        other = running.pid("b")
        for times in (1, 2, 3):
            os.kill(running.pid("a", times), signal.SIGKILL)
        running.pid("a", 4)
        assert running.pid("b") == other
        running.process.terminate()
        assert running.ends() == 0
    assert "a process has died" in (tmp_path / "errors").read_text()


def test_what_a_dead_worker_held_on_the_scoreboard_is_freed(tmp_path):
    body = """
    def worker(life):
        board.seat(1).add_memory(500)
        return serving("a")(life)
    async def other(life):
        life.ready()
        while board.memory != 500:
            await asyncio.sleep(0.01)
        say("seen")
        while not life.stop.is_set():
            if board.memory == 0:
                say("freed")
                break
            await asyncio.sleep(0.001)
        await life.stop.wait()
    async def once(life):
        if not (folder / "once").exists():
            (folder / "once").touch()
            await worker(life)
        else:
            await serving("a")(life)
    run(Process('a', once, seat=1), Process('b', other))
    """
    with program(tmp_path, body) as running:
        running.wait_for("seen")
        os.kill(running.pid("a"), signal.SIGKILL)
        running.wait_for("freed")
        running.process.terminate()
        assert running.ends() == 0


def test_one_that_fails_again_and_again_is_not_started_without_a_pause(tmp_path):
    body = """
    async def fails(life):
        if (folder / "ready").exists():
            say("a fails", time.monotonic())
            raise RuntimeError("a bug")
        (folder / "ready").touch()
        life.ready()
    run(Process('a', fails), Process('b', serving('b')))
    """
    with program(tmp_path, body) as running:
        running.wait_for("a fails", 5)
        times = [float(line.split()[2]) for line in running.said if line.startswith("a fails")]
        pauses = [after - before for before, after in itertools.pairwise(times)]
        assert pauses[3] > 0.8  # 0.05 s doubled with each failure
        assert pauses[3] > pauses[0]
        running.process.terminate()
        assert running.ends() == 0


def test_one_that_cannot_start_ends_the_service_with_a_sentence(tmp_path):
    body = """
    async def cannot(life):
        raise OSError("the disk is on fire")
    run(Process('a', serving('a')), Process('b', cannot))
    """
    with program(tmp_path, body) as running:
        assert running.ends() == 3
        gone(running.pid("a"))
    assert "the b process could not start" in running.said
    assert "announced" not in running.said
    assert "the disk is on fire" in (tmp_path / "errors").read_text()
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_a_hangup_rereads_first_and_then_reaches_all(tmp_path):
    with program(tmp_path, "run(Process('a', serving('a')), Process('b', serving('b')))") as running:
        running.wait_for("announced")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("a reloads")
        running.wait_for("b reloads")
        running.process.terminate()
        assert running.ends() == 0
    assert running.said.index("reread") < min(running.said.index("a reloads"), running.said.index("b reloads"))


def test_a_hangup_does_not_end_a_process_that_is_just_starting(tmp_path):
    body = """
    real = Supervisor._live
    def slow(self, process, ready):
        time.sleep(0.3)  # before there is a handler
        return real(self, process, ready)
    Supervisor._live = slow
    run(Process('a', serving('a')))
    """
    with program(tmp_path, body) as running:
        running.wait_for("announced")
        os.kill(running.pid("a"), signal.SIGKILL)
        time.sleep(0.2)
        for _ in range(20):
            running.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        running.pid("a", 2)
        running.wait_for("a reloads")
        running.process.terminate()
        assert running.ends() == 0
    assert (tmp_path / "errors").read_text().count("a process has died") == 1


def test_where_the_supervisor_is_killed_the_processes_end(tmp_path):
    with program(tmp_path, "run(Process('a', serving('a')), Process('b', serving('b')))") as running:
        running.wait_for("announced")
        pids = running.pid("a"), running.pid("b")
        running.process.kill()
        gone(*pids)
    assert sorted(running.said[-2:]) == ["a ends", "b ends"]


def test_one_that_does_not_end_is_cut_off(tmp_path):
    body = """
    supervisor.DRAIN_SECONDS = -4.5
    run(Process('a', serving('a', 3600)), Process('b', serving('b')))
    """
    with program(tmp_path, body) as running:
        running.wait_for("announced")
        pid = running.pid("a")
        running.process.terminate()
        assert running.ends() == 0
        gone(pid)
    assert "a ends" not in running.said
    assert running.said[-1] == "over"


def test_each_has_its_own_sockets_and_nobody_is_refused_meanwhile(tmp_path):
    body = """
    one, two = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    def holding(name):
        async def run(life):
            mine, other = (one, two) if name == "a" else (two, one)
            say(name, "holds", mine.fileno() >= 0, other.fileno() >= 0)
            await serving(name)(life)
        return run
    say("port", one.getsockname()[1])
    run(Process('a', holding('a'), [one]), Process('b', holding('b'), [two]))
    """
    with program(tmp_path, body) as running:
        running.wait_for("announced")
        assert {"a holds True False", "b holds True False"} <= set(running.said)
        port = int(running.wait_for("port").split()[1])
        os.kill(running.pid("a"), signal.SIGKILL)
        socket.create_connection(("127.0.0.1", port), 5).close()
        running.pid("a", 2)
        running.process.terminate()
        assert running.ends() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
