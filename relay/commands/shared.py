"""What several commands have in common: options, the configuration, how a command fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from relay.config import Config, load_config
from relay.doubts import doubts
from tracker.errors import ConfigError, TracepostError
from tracker.reading import entries
from tracker.reading.params import BadRequest

T = TypeVar("T")

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="config.yaml",
    show_default=True,
    metavar="FILE",
    help="The configuration file.",
)


def address_of(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A mail address that was given."""
    try:
        return entries.address(value, "ADDR")
    except BadRequest as error:
        raise click.UsageError(str(error), context) from None


def sender_address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The address of a sender that was given, or ``*``."""
    try:
        entries.sender(value)
    except BadRequest as error:
        raise click.UsageError(str(error), context) from None
    return value


address_argument = click.argument("address", metavar="ADDR", callback=address_of)


def answers(ask: Callable[[], T]) -> T:
    """What the spool or the store answers, or the end of the program."""
    try:
        return ask()
    except TracepostError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def read_config(file: Path, only: str | None = None, warn: Callable[[str], None] = lambda _: None) -> Config:
    """The configuration, or the end of the program: 2 where there is no file, 1 where it is wrong."""
    if not file.exists():
        fail(f"{file}: no such file; copy config.example.yaml to {file} and edit it, or name another with -c", 2)
    try:
        config = load_config(file, os.environ, only, doubts, warn)
    except ConfigError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    return config


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Say what is wrong on standard error and end."""
    click.echo(sentence, err=True)
    sys.exit(code)
