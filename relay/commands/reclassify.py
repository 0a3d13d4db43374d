"""``tracepost reclassify``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from relay import reclassifying
from relay.commands.shared import answers, config_option, read_config
from tracker.reading import params
from tracker.reading.params import BadRequest


@click.command()
@config_option
@click.option("--from", "since", metavar="DATE", help="Hits from a date, or a time such as 2026-01-31T09:00:00Z.")
@click.option("--to", "until", metavar="DATE", help="Likewise; that day is included, that moment is not.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def reclassify(config_file: Path, since: str | None, until: str | None, dry_run: bool) -> None:
    """Judge stored hits by the rules of today: person or machine; counts follow."""
    config = read_config(config_file)
    zone = ZoneInfo(config.tracker.timezone)
    asked = {name: text for name, text in {"from": since, "to": until}.items() if text}
    try:
        first, last = params.instant(asked, "from", zone), params.end(asked, "to", zone)
    except BadRequest as error:
        raise click.UsageError(str(error)) from None
    begin, end = -math.inf if first is None else first, math.inf if last is None else last
    found = answers(lambda: reclassifying.reclassify(config, begin, end, dry_run, _tell))
    click.echo(reclassifying.as_table(found, dry_run))


def _tell(hits: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{hits} hits", nl=False, err=True)
