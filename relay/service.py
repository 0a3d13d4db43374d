"""The running service: makes the parts, starts them in order, stops them in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import structlog
import uvicorn

from relay.acceptance import Acceptance
from relay.config import Config
from relay.dispatch.delivery import Delivery
from relay.dispatch.sandbox import Sandbox
from relay.dispatch.smarthost import Smarthost
from relay.keys import API_KEY_FILE, kept_api_key, kept_signing_key
from relay.reception.smtpd import SmtpServer
from tracker.app import create_admin_app, create_app
from tracker.config import ApiKey
from tracker.hits.recorder import Recorder
from tracker.store.sqlite import SqliteStore
from tracker.tokens import Keyring, parse_key

log = structlog.get_logger()

STORE_FILE = "tracepost.db"

Address = tuple[str, int]


class _WebServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service has one pair for all its parts."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Service:
    """Both wings, or the one named by ``only``, in one process and one event loop."""

    def __init__(self, config: Config, only: str | None = None) -> None:
        self._config = with_api_key(config) if only != "relay" else config
        self._only = only
        self._hostname = config.relay.hostname or socket.gethostname()
        self._smtp: SmtpServer | None = None

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Serve until SIGTERM, SIGINT or ``stop``; what is in flight is finished first. Raises OSError where an
        address is taken or ``data_dir`` cannot be written, StoreError where the store cannot be opened."""
        stop = stop or stop_on_signals()
        self._config.data_dir.mkdir(parents=True, exist_ok=True)
        keyring = keyring_of(self._config)
        async with AsyncExitStack() as stack:
            store = SqliteStore(self._config.data_dir / STORE_FILE)
            stack.callback(store.close)
            await asyncio.to_thread(store.open)
            recorder = Recorder(store)
            await recorder.start()
            stack.push_async_callback(recorder.stop)
            if self._only != "relay":
                await self._start_tracker(stack, keyring, store, recorder)
            if self._only != "tracker":
                await self._start_relay(stack, keyring, recorder)
            announce(self._config, self._only)
            await stop.wait()
            log.info("stopping; finishing what is in flight")

    async def _start_tracker(
        self, stack: AsyncExitStack, keyring: Keyring, store: SqliteStore, recorder: Recorder
    ) -> None:
        config, sample = self._config.tracker, sample_command(self._config.relay.listen[0])
        app = create_app(config, keyring, store, recorder, time.time, self._readiness, sample)
        await stack.enter_async_context(web_server(app, config.listen))
        if config.admin_listen is not None:
            admin = create_admin_app(config, store, recorder, time.time, self._readiness, sample)
            await stack.enter_async_context(web_server(admin, config.admin_listen))

    async def _start_relay(self, stack: AsyncExitStack, keyring: Keyring, recorder: Recorder) -> None:
        config = self._config.relay
        smarthost: Smarthost | Sandbox
        if config.smarthost.host == "sandbox":
            smarthost = Sandbox(self._config.data_dir)
        else:
            smarthost = Smarthost(config.smarthost, self._hostname)
        stack.push_async_callback(smarthost.close)
        acceptance = Acceptance(self._config, self._hostname, keyring, Delivery(smarthost), recorder, time.time)
        self._smtp = SmtpServer(config, self._hostname, acceptance.accept)
        await self._smtp.start()
        stack.push_async_callback(self._smtp.stop)

    def _readiness(self) -> dict[str, bool]:
        return {} if self._only == "tracker" else {"smtp": self._smtp is not None and self._smtp.listening}


def keyring_of(config: Config) -> Keyring:
    """The configured keys, else the one kept in ``data_dir``."""
    keys = [parse_key(key.get_secret_value()) for key in config.signing_keys]
    return Keyring(keys or [kept_signing_key(config.data_dir)])


def with_api_key(config: Config) -> Config:
    """The configuration with an API key: where none is configured, the one kept in ``data_dir``."""
    if config.tracker.api_keys:
        return config
    kept = ApiKey(key=kept_api_key(config.data_dir))
    return config.model_copy(update={"tracker": config.tracker.model_copy(update={"api_keys": (kept,)})})


@asynccontextmanager
async def web_server(app: Any, listen: Address) -> AsyncIterator[None]:
    """uvicorn on an address, up when entered. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
    bound = socket.create_server(tuple(listen), family=family, backlog=2048, reuse_port=False)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # it would write tokens
        server_header=False,
        proxy_headers=False,  # trusted_proxies decides, not uvicorn
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    server = _WebServer(config)
    serving = asyncio.create_task(server.serve([bound]), name=f"web {listen[0]}:{listen[1]}")
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        bound.close()


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop


def announce(config: Config, only: str | None) -> None:
    """Tell whoever started us where everything is."""
    lines: Sequence[str] = ()
    if only != "tracker":
        lines = [
            *(f"SMTP       {show(address)}" for address in config.relay.listen),
            f"Smarthost  {config.relay.smarthost.host}"
            + (f", mail is kept in {config.data_dir / 'sandbox'}" if config.relay.smarthost.host == "sandbox" else ""),
        ]
    if only != "relay":
        lines = [*lines, f"Dashboard  http://{show(config.tracker.admin_listen or config.tracker.listen)}/"]
        key_file = config.data_dir / API_KEY_FILE
        if key_file.exists():
            secret = f": {key_file.read_text().strip()}" if sys.stdout.isatty() else ""
            lines = [*lines, f"API key    in {key_file}{secret}"]
    if only is None:
        lines = [*lines, "", "Send a sample mail:", "", sample_command(config.relay.listen[0]), ""]
    print("\n".join(["Tracepost is ready.", "", *lines]), flush=True)


def show(address: Address) -> str:
    """An address as it stands in a URL."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def sample_command(listen: Address) -> str:
    """A command to paste into a shell: sends one HTML mail with a link through the relay."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen[0], listen[0])  # noqa: S104
    mail = (
        r"From: Tracepost <news@example.com>\nTo: ann@example.net\nSubject: Hello from Tracepost\n"
        r"Content-Type: text/html\n\n<h1>It works</h1><p><a href=https://www.python.org/>Follow this link</a></p>\n"
    )
    return (
        f"""python3 -c "import smtplib; smtplib.SMTP('{host}', {listen[1]})"""
        f""".sendmail('news@example.com', 'ann@example.net', '{mail}')\""""
    )
