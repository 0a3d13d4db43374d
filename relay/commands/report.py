"""``tracepost report``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from relay import reporting
from relay.commands.shared import answers, config_option, read_config
from relay.config import Config
from relay.report_table import as_table
from tracker.reading import reports
from tracker.reading.params import BadRequest
from tracker.reading.reports import Period
from tracker.store.base import ReportFilter

Command = Callable[..., None]


@click.group()
def report() -> None:
    """Print the numbers: what was sent, delivered, opened and clicked."""


def narrowed(command: Command) -> Command:
    """The options of every report."""
    for option in (
        click.option("--table", type=click.Choice(reports.TABLES), help="Which table of it, as CSV; default series."),
        click.option(
            "--format",
            "form",
            type=click.Choice(["table", "json", "csv"]),
            default="table",
            show_default=True,
            help="For people, all of it for programs, or one table of it for spreadsheets.",
        ),
        click.option("--tag", metavar="TAG", help="Mail with this tag alone."),
        click.option("--sender", metavar="ADDR", help="Mail of this sender alone."),
        config_option,
    ):
        command = option(command)
    return command


@report.command("live")
@narrowed
def report_live(config_file: Path, **wanted: str | None) -> None:
    """The last 24 hours, by the hour."""
    config = read_config(config_file)
    _print(config, reports.live(time.time(), ZoneInfo(config.tracker.timezone)), **wanted)


@report.command("global")
@click.option("--from", "since", metavar="DATE", help="A date, or a time such as 2026-01-31T09:00:00Z.")
@click.option("--to", "until", metavar="DATE", help="Likewise; that day is included, that moment is not.")
@narrowed
def report_global(config_file: Path, since: str | None, until: str | None, **wanted: str | None) -> None:
    """Any period, by the day; without --from and --to the last 30 days."""
    config = read_config(config_file)
    asked = {name: text for name, text in {"from": since, "to": until}.items() if text}
    try:
        period = reports.overall(asked, time.time(), ZoneInfo(config.tracker.timezone))
    except BadRequest as error:
        raise click.UsageError(str(error)) from None
    _print(config, period, **wanted)


def _print(
    config: Config, period: Period, sender: str | None, tag: str | None, form: str | None, table: str | None
) -> None:
    if table and form != "csv":
        raise click.UsageError("Give --table together with --format csv; the other formats hold all tables.")
    found: dict[str, Any] = answers(
        lambda: reporting.report(config, period, ReportFilter((sender or "").lower() or None, tag or None))
    )
    if form == "csv":
        sys.stdout.buffer.write(reports.as_csv(found, table or "series"))
    else:
        text = json.dumps(found, indent=2, ensure_ascii=False) if form == "json" else as_table(found)
        click.echo(text.rstrip("\n"))
