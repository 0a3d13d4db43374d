"""The running service: which processes there are, and what each is given."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from relay.config import Config
from relay.hooks import Hooks
from relay.keys import API_KEY_FILE, kept_api_key
from relay.reception.scoreboard import Scoreboard
from relay.settings import Settings, keys_of
from relay.storage import store_of
from relay.supervisor import Life, Process, Supervisor
from relay.web import Web
from relay.worker import Worker
from tracker.config import ApiKey
from tracker.errors import TracepostError
from tracker.tokens import Keyring
from tracker.units import Address

log = structlog.get_logger()

_DESCRIPTORS = 65_536
_TAKEN_SECONDS = 3.0
"""How long an address may still be held by a service that is just ending."""


class Service:
    """Both wings, or the one named by ``only``: relay processes, a tracker process, and a supervisor over them.
    ``reread`` reads the configuration again, for SIGHUP."""

    def __init__(self, config: Config, only: str | None, reread: Callable[[], Config]) -> None:
        self._config = config
        self._only = only
        self._reread_file = reread
        self._hostname = config.relay.hostname or socket.gethostname()
        self._workers = config.relay.workers or os.cpu_count() or 1
        self._board = Scoreboard(self._workers)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; what is in flight is finished first. Raises OSError where an address is taken
        or ``data_dir`` cannot be written, KeyFileError for a damaged key, StartupError where a process cannot start."""
        raise_descriptor_limit()
        self._config.data_dir.mkdir(parents=True, exist_ok=True)
        keys_of(self._config)  # made once, before the processes ask for it
        processes: list[Process] = []
        if self._only != "tracker":
            processes += self._relay_processes()
        if self._only != "relay":
            self._config = with_api_key(self._config)
            processes.append(self._tracker_process())
            processes.append(Process("webhooks", self._run_webhooks, wanted=self._has_webhooks))
        Supervisor(processes, self._board, self._reread_or_stay).run(lambda: announce(self._config, self._only))

    def _relay_processes(self) -> list[Process]:
        addresses = list(self._config.relay.listen)
        processes = []
        for number in range(self._workers):
            sockets = [listen(address, shared=self._workers > 1, first=number == 0) for address in addresses]
            addresses = [Address(*each.getsockname()[:2]) for each in sockets]  # a port 0 is known now
            name = "relay" if self._workers == 1 else f"relay {number + 1}"
            processes.append(Process(name, partial(self._run_relay, number, sockets), sockets, number))
        return processes

    async def _run_relay(self, number: int, sockets: Sequence[socket.socket], life: Life) -> None:
        settings = Settings(self._config, Keyring(keys_of(self._config)), self._hostname, signs=True)
        store = store_of(self._config)
        try:
            await Worker(settings, self._board.seat(number), store, self._reread).run(life, sockets)
        finally:
            store.close()

    def _tracker_process(self) -> Process:
        config = self._config.tracker
        sockets = [listen(each) for each in (config.listen, config.admin_listen) if each is not None]
        return Process("tracker", partial(self._run_tracker, sockets), sockets)

    async def _run_tracker(self, sockets: Sequence[socket.socket], life: Life) -> None:
        settings = Settings(self._config, Keyring(keys_of(self._config)), self._hostname)
        store = store_of(self._config)
        sample = sample_command(self._config.relay.listen[0])
        try:
            await Web(settings, store, self._readiness, sample, self._reread, self._dropped).run(life, sockets)
        finally:
            store.close()

    def _has_webhooks(self) -> bool:
        return bool(self._config.tracker.webhooks)

    async def _run_webhooks(self, life: Life) -> None:
        await Hooks(self._config, self._reread).run(life)

    def _readiness(self) -> dict[str, bool]:
        return {} if self._only == "tracker" else {"smtp": self._board.listening}

    def _dropped(self) -> int:
        return self._board.dropped

    def _reread(self) -> Config:
        config = self._reread_file()
        return config if self._only == "relay" else with_api_key(config)

    def _reread_or_stay(self) -> None:
        """Take another configuration for processes that will be started anew; a wrong one changes nothing, which they
        who run will say."""
        with contextlib.suppress(TracepostError, OSError):
            self._config = self._reread()


def raise_descriptor_limit() -> None:
    """Have as many files and sockets as one who asks may: the usual 1,024 are fewer than the connections that
    ``relay.limits`` allows, and what each process needs beside them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def with_api_key(config: Config) -> Config:
    """The configuration with an API key: where none is configured, the one kept in ``data_dir``."""
    if config.tracker.api_keys:
        return config
    kept = ApiKey(key=kept_api_key(config.data_dir))
    return config.model_copy(update={"tracker": config.tracker.model_copy(update={"api_keys": (kept,)})})


def listen(address: Address, shared: bool = False, first: bool = True) -> socket.socket:
    """A listening socket, inherited by the process that serves it. ``shared``: others listen at the same address, of
    which this is the ``first``. Raises OSError where another program has it."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    deadline = time.monotonic() + _TAKEN_SECONDS
    while True:
        try:
            if shared and first:
                # SO_REUSEPORT would let two services share a port without a word.
                socket.create_server(tuple(address), family=family).close()
            return socket.create_server(tuple(address), family=family, backlog=2048, reuse_port=shared)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise OSError(error.errno, f"{address}: {error.strerror}") from error
            time.sleep(0.05)


def announce(config: Config, only: str | None) -> None:
    """Tell whoever started us where everything is."""
    lines: Sequence[str] = ()
    if only != "tracker":
        lines = [
            *(f"SMTP       {address}" for address in config.relay.listen),
            f"Smarthost  {config.relay.smarthost.host}"
            + (f", mail is kept in {config.data_dir / 'sandbox'}" if config.relay.smarthost.host == "sandbox" else ""),
        ]
    if only != "relay":
        lines = [*lines, f"Dashboard  http://{config.tracker.admin_listen or config.tracker.listen}/"]
        key_file = config.data_dir / API_KEY_FILE
        if key_file.exists():
            secret = f": {key_file.read_text().strip()}" if sys.stdout.isatty() else ""
            lines = [*lines, f"API key    in {key_file}{secret}"]
    if only is None:
        lines = [*lines, "", "Send a sample mail:", "", sample_command(config.relay.listen[0]), ""]
    print("\n".join(["Tracepost is ready.", "", *lines]), flush=True)


def sample_command(listen: Address) -> str:
    """A command to paste into a shell: sends one HTML mail with a link through the relay."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    mail = (
        r"From: Tracepost <news@example.com>\nTo: ann@example.net\nSubject: Hello from Tracepost\n"
        r"Content-Type: text/html\n\n<h1>It works</h1><p><a href=https://www.python.org/>Follow this link</a></p>\n"
    )
    return (
        f"""python3 -c "import smtplib; smtplib.SMTP('{host}', {listen.port})"""
        f""".sendmail('news@example.com', 'ann@example.net', '{mail}')\""""
    )
