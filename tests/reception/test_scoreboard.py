"""What workers share: sums over processes that were really forked."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from relay.config import RelayConfig
from relay.reception.scoreboard import FAILURES_ALLOWED, WINDOW, Scoreboard, Seat
from relay.reception.smtpd import Queueing, SmtpServer, Submission


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork beside threads
        return os.fork()


def in_child(work: Callable[[], object]) -> None:
    """Do something in a forked process, and wait for its end."""
    pid = fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_connections_are_counted_over_processes() -> None:
    board = Scoreboard(3)
    first, second = board.seat(0), board.seat(1)
    first.enter("10.0.0.1")
    first.enter("10.0.0.2")
    in_child(lambda: [second.enter("10.0.0.1") for _ in range(5)])
    assert (first.connections, second.connections, board.connections) == (7, 7, 7)
    assert first.connections_from("10.0.0.1") == 6
    assert first.connections_from("10.0.0.2") == 1
    in_child(lambda: [second.leave("10.0.0.1") for _ in range(4)])
    first.leave("10.0.0.2")
    assert (first.connections, first.connections_from("10.0.0.1"), first.connections_from("10.0.0.2")) == (2, 2, 0)


def test_memory_spool_and_listening_are_shared() -> None:
    board = Scoreboard(2)
    first, second = board.seat(0), board.seat(1)

    def work() -> None:
        second.add_memory(70)
        second.add_memory(-30)
        second.set_spool(1 << 40)
        second.add_spool(-1)
        assert not second.listening
        second.listening = True

    first.add_memory(2)
    first.add_spool(3)
    assert not board.listening
    in_child(work)
    assert (first.memory, first.spool, first.listening, board.listening) == (42, (1 << 40) + 2, False, True)


def test_a_worker_that_died_holds_nothing_but_its_failures_stay() -> None:
    board = Scoreboard(2)
    first, second = board.seat(0), board.seat(1)

    def work() -> None:
        for _ in range(FAILURES_ALLOWED):
            second.failed("10.9.9.9", 5.0)
        second.enter("10.0.0.1")
        second.add_memory(100)
        second.set_spool(100)
        second.listening = True
        second.add_dropped(3)
        os.kill(os.getpid(), 9)

    with pytest.raises(AssertionError):
        in_child(work)
    first.enter("10.0.0.1")
    assert (first.connections, first.memory, first.spool, board.listening) == (2, 100, 100, True)
    board.clear(1)
    assert (first.connections, first.memory, first.spool, board.listening) == (1, 0, 0, False)
    assert first.connections_from("10.0.0.1") == 1
    assert board.dropped == 3
    assert first.blocked("10.9.9.9", 6.0)


def test_failures_of_all_workers_block_an_address_for_the_rest_of_its_window() -> None:
    board = Scoreboard(2)
    first, second = board.seat(0), board.seat(1)
    for number in range(FAILURES_ALLOWED - 1):
        first.failed("10.0.0.1", 1000.0 + number)
    assert not second.blocked("10.0.0.1", 1100.0)
    in_child(lambda: second.failed("10.0.0.1", 1500.0))
    assert first.blocked("10.0.0.1", 1500.0)
    assert second.blocked("10.0.0.1", 999.9 + WINDOW)
    assert not first.blocked("10.0.0.1", 1000.0 + WINDOW)
    first.failed("10.0.0.1", 1001.0 + WINDOW)
    assert board.failures("10.0.0.1", 1002.0 + WINDOW) == 1
    assert not first.blocked("10.0.0.2", 1500.0)


def test_nobody_is_blocked_for_another_however_many_fail() -> None:
    seat = Scoreboard(1).seat(0)
    for number in range(20_000):
        seat.failed(f"2001:db8::{number:x}", 1.0)
    assert not any(seat.blocked(f"2001:db8::{number:x}", 2.0) for number in range(25_000))


def test_an_address_that_fails_often_is_not_forgotten_for_many_that_fail_once() -> None:
    seat = Scoreboard(1).seat(0)
    for _ in range(FAILURES_ALLOWED):
        seat.failed("10.0.0.1", 1.0)
    for number in range(20_000):
        seat.failed(f"2001:db8::{number:x}", 1.0)
    assert seat.blocked("10.0.0.1", 2.0)


def test_counters_of_addresses_are_apart() -> None:
    seat = Scoreboard(1).seat(0)
    addresses = [f"10.{number >> 8}.{number & 255}.1" for number in range(5000)]
    for address in addresses:
        seat.enter(address)
    assert max(map(seat.connections_from, addresses)) < 10
    for address in addresses:
        seat.leave(address)
    assert max(map(seat.connections_from, addresses)) == 0


def test_there_are_no_more_seats_than_workers() -> None:
    board = Scoreboard(2)
    for number in (-1, 2):
        with pytest.raises(IndexError):
            board.seat(number)


LIMITED = RelayConfig(listen=["127.0.0.1:1"], limits={"connections": 6, "connections_per_address": 6})


@contextmanager
def workers(number: int) -> Iterator[tuple[Scoreboard, tuple[str, int]]]:
    """So many forked processes that serve one socket."""
    board, listening = Scoreboard(number), socket.create_server(("127.0.0.1", 0))
    pids = []
    for each in range(number):
        if not (pid := fork()):
            try:
                asyncio.run(serve(board.seat(each), listening))
            finally:
                os._exit(0)
        pids.append(pid)
    try:
        while not all(board.seat(each).listening for each in range(number)):
            time.sleep(0.01)
        yield board, listening.getsockname()
    finally:
        listening.close()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


async def serve(seat: Seat, listening: socket.socket) -> None:
    async def accept(submission: Submission) -> str:
        return "ID"

    await SmtpServer(LIMITED, "relay.test", partial(Queueing, accept), seat).start([listening])
    await asyncio.sleep(60)


def test_a_limit_holds_for_all_workers_together() -> None:
    with workers(3) as (board, address), ExitStack() as stack:
        greetings = []
        for _ in range(9):
            connection = stack.enter_context(socket.create_connection(address, timeout=5))
            greetings.append(connection.recv(100)[:3])
        assert greetings == [b"220"] * 6 + [b"421"] * 3
        deadline = time.monotonic() + 60
        while board.connections > 6 and time.monotonic() < deadline:
            time.sleep(0.01)  # those who were refused may still be leaving
        assert board.connections_from("127.0.0.1") == 6


def test_mail_under_way_is_counted_over_all_workers() -> None:
    with workers(2) as (board, address), ExitStack() as stack:
        for _ in range(6):
            connection = stack.enter_context(socket.create_connection(address, timeout=5))
            connection.sendall(b"EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n" + b"x" * 1000)
        deadline = time.monotonic() + 60
        while board.memory < 6000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 6000 <= board.memory <= 6012
