"""``tracepost suppress``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO

import click

from relay import suppressing
from relay.commands.shared import address_argument, answers, config_option, fail, read_config, sender_address
from tracker.model import SuppressionKind
from tracker.reading import entries


@click.group()
def suppress() -> None:
    """See and change the suppression list: who gets no marketing mail, or mail without tracking."""


sender_option = click.option(
    "--sender", metavar="ADDR", callback=sender_address, help="One sender alone; * is the entry for every sender."
)
kind_option = click.option(
    "--kind", type=click.Choice([kind.value for kind in SuppressionKind]), help="No mail, or no tracking."
)


@suppress.command("list")
@click.argument("address", required=False, metavar="[ADDR]")
@config_option
@sender_option
@kind_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def suppress_list(address: str | None, config_file: Path, sender: str | None, kind: str | None, as_json: bool) -> None:
    """List the entries, the newest first."""
    config = read_config(config_file)
    rows = answers(lambda: list(suppressing.listed(config, address=address, sender=sender, kind=kind)))
    if as_json:
        click.echo(json.dumps([suppressing.as_dict(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(suppressing.as_text, rows)) or "There is no such entry on the list.")


@suppress.command("add")
@address_argument
@config_option
@click.option(
    "--sender",
    metavar="ADDR",
    callback=sender_address,
    help="The sender that it wants no mail from; default every sender.",
)
@kind_option
@click.option("--reason", metavar="TEXT", help=f"Why; default {entries.BY_HAND!r}.")
def suppress_add(address: str, config_file: Path, sender: str | None, kind: str | None, reason: str | None) -> None:
    """Put an address on the list."""
    config = read_config(config_file)
    added = answers(lambda: suppressing.add(config, address=address, sender=sender, kind=kind, reason=reason))
    click.echo(f"{address}: {'added' if added else 'is on the list already'}")


@suppress.command("remove")
@address_argument
@config_option
@sender_option
@kind_option
def suppress_remove(address: str, config_file: Path, sender: str | None, kind: str | None) -> None:
    """Take an address off the list."""
    config = read_config(config_file)
    count = answers(lambda: suppressing.remove(config, address, sender, kind))
    if not count:
        fail(f"{address}: there is no such entry on the list")
    click.echo(f"{address}: {count} entries removed" if count != 1 else f"{address}: removed")


@suppress.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE.csv")
@config_option
def suppress_import(file: IO[bytes], config_file: Path) -> None:
    """Put all of a CSV file with a column `address` on the list; where a row is wrong, nothing."""
    config = read_config(config_file)
    added, known = answers(lambda: suppressing.take_in(config, file.read()))
    click.echo(f"{added} added, {known} were on the list already")


@suppress.command("export")
@config_option
@sender_option
@kind_option
def suppress_export(config_file: Path, sender: str | None, kind: str | None) -> None:
    """Print the list as CSV."""
    config = read_config(config_file)
    sys.stdout.buffer.write(answers(lambda: suppressing.as_csv(suppressing.listed(config, sender=sender, kind=kind))))
