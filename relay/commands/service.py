"""``tracepost serve`` and ``check``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
import structlog

from relay.commands.shared import config_option, fail, read_config
from relay.config import load_config
from relay.probing import probe
from relay.service import Service
from tracker.errors import TracepostError


@click.command()
@config_option
@click.option("--only", type=click.Choice(["relay", "tracker"]), help="Run one wing alone.")
def serve(config_file: Path, only: str | None) -> None:
    """Run the service: the relay, the tracker, or both."""
    config = read_config(config_file, only)
    configure_logging()
    try:
        Service(config, only, lambda: load_config(config_file, os.environ, only)).run()
    except (OSError, TracepostError) as error:
        fail(str(error))


@click.command()
@config_option
@click.option("--connect", is_flag=True, help="Also try the smarthost, the store and the tracking URLs.")
def check(config_file: Path, connect: bool) -> None:
    """Show every error of a configuration at once."""
    config = read_config(config_file, warn=lambda sentence: click.echo(sentence, err=True))
    problems = asyncio.run(probe(config)) if connect else []
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo(f"{config_file}: no errors")


def configure_logging() -> None:
    """Logs of ours, one line each, on standard error; JSON where nobody watches. Libraries only warn."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=True) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
