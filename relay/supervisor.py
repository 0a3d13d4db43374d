"""The processes of the service: forks them, starts those anew that die, ends them all.

Listening sockets are opened here and inherited, so that an address that is taken is said at once, and that nobody is
refused while a process is started anew. The supervisor itself has no thread and no event loop: forking is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

import structlog

from relay.reception.scoreboard import Scoreboard
from tracker.errors import TracepostError

log = structlog.get_logger()

DRAIN_SECONDS = 30.0
"""Seconds that what is in flight has to end once the service is to stop."""

_READY_SECONDS = 60.0
_SLOWEST_RESTART = 5.0
_STEADY_SECONDS = 30.0
_LONGEST_WAIT = 5.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


@dataclass(slots=True)
class Life:
    """What a process gets from the supervisor: ``stop`` is set when it is to end, ``reload`` when the configuration is
    to be read again; ``ready`` is called once it serves."""

    stop: asyncio.Event
    reload: asyncio.Event
    ready: Callable[[], None]


Run = Callable[[Life], Awaitable[None]]


@dataclass(slots=True)
class Process:
    """One process: its name, what it runs, the sockets it serves, its seat on the scoreboard if it has one; ``wanted``
    says whether there is anything for it to do, and is asked again at SIGHUP."""

    name: str
    run: Run
    sockets: Sequence[socket.socket] = ()
    seat: int | None = None
    wanted: Callable[[], bool] = lambda: True
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = None
    ready: IO[bytes] | None = field(default=None, repr=False)


class StartupError(TracepostError):
    """The service cannot be started; a process has said why."""


class Supervisor:
    """Runs ``processes`` until SIGTERM or SIGINT. ``reread`` is called at SIGHUP before the processes are told."""

    def __init__(self, processes: Sequence[Process], board: Scoreboard | None, reread: Callable[[], None]) -> None:
        self._processes = processes
        self._board = board
        self._reread = reread
        self._stopping = False
        # Its other end is held by nobody else: where it closes, the supervisor is gone.
        self._life, self._held = os.pipe()

    def run(self, announce: Callable[[], None]) -> None:
        """Serve; returns once all has ended. Raises StartupError where a process ends before it served."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._start_wanted()
            self._await_ready()
            announce()
            while not self._stopping:
                self._turn()
        finally:
            self._end()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _turn(self) -> None:
        """Wait for a signal and do what it asks for; start anew what has died."""
        began = time.monotonic()
        due = (each.restart_at - began for each in self._processes if each.restart_at is not None)
        found = signal.sigtimedwait(_SIGNALS, max(0.0, min(due, default=_LONGEST_WAIT)))
        if found is not None and found.si_signo in (signal.SIGTERM, signal.SIGINT):
            log.info("stopping; finishing what is in flight")
            self._stopping = True
            return
        if found is not None and found.si_signo == signal.SIGHUP:
            self._reread()
            self._signal(signal.SIGHUP)
            self._start_wanted()
        now = time.monotonic()
        for process in self._dead():
            steady = now - process.started > _STEADY_SECONDS
            process.failures = 1 if steady else process.failures + 1
            process.restart_at = now + min(_SLOWEST_RESTART, 0.05 * 2.0**process.failures)
        for process in self._processes:
            if process.restart_at is not None and now >= process.restart_at:
                self._start(process)

    def _start_wanted(self) -> None:
        """Start what does not run, is not about to and has something to do."""
        for process in self._processes:
            if not process.pid and process.restart_at is None and process.wanted():
                self._start(process)

    def _dead(self) -> list[Process]:
        """The processes that have ended since this was last asked."""
        dead = []
        for process in self._processes:
            if process.pid and os.waitpid(process.pid, os.WNOHANG)[0]:
                log.error("a process has died", process=process.name, pid=process.pid)
                process.pid = 0
                if self._board is not None and process.seat is not None:
                    self._board.clear(process.seat)
                dead.append(process)
        return dead

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        for process in self._processes:
            if process.ready is None:
                continue  # not wanted
            if not select.select([process.ready], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise StartupError(f"the {process.name} process took too long to start")
            if not process.ready.read(1):
                raise StartupError(f"the {process.name} process could not start")

    def _start(self, process: Process) -> None:
        ours, theirs = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        process.restart_at, process.started = None, time.monotonic()
        pid = os.fork()
        if not pid:
            os.close(ours)
            self._child(process, theirs)
        os.close(theirs)
        if process.ready is not None:
            process.ready.close()
        process.pid, process.ready = pid, os.fdopen(ours, "rb", buffering=0)

    def _child(self, process: Process, ready: int) -> None:
        """The life of a process; never returns."""
        code = 1
        try:
            gc.freeze()
            os.close(self._held)
            for other in self._processes:
                if other is not process:
                    for each in other.sockets:
                        each.close()
            asyncio.run(self._live(process, ready))
            code = 0
        except (OSError, TracepostError) as error:
            print(error, file=sys.stderr)
        except BaseException:
            log.exception("a process failed", process=process.name)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    async def _live(self, process: Process, ready: int) -> None:
        loop = asyncio.get_running_loop()
        life = Life(asyncio.Event(), asyncio.Event(), lambda: _tell(ready))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, life.stop.set)
        loop.add_signal_handler(signal.SIGHUP, life.reload.set)
        # Only now: a SIGHUP that nobody handles would end the process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

        def orphaned() -> None:
            loop.remove_reader(self._life)
            life.stop.set()

        loop.add_reader(self._life, orphaned)
        await process.run(life)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _end(self) -> None:
        """Stop listening, let every process finish, cut off those that do not."""
        for process in self._processes:
            for each in process.sockets:
                each.close()
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_SECONDS + 5.0
        while any(process.pid for process in self._processes):
            for process in self._processes:
                if process.pid and os.waitpid(process.pid, os.WNOHANG)[0]:
                    process.pid = 0
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        os.close(self._held)
        os.close(self._life)


def _tell(ready: int) -> None:
    with contextlib.suppress(OSError):
        os.write(ready, b"1")
        os.close(ready)
