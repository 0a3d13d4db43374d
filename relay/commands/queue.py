"""``tracepost queue``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from relay import queueing
from relay.commands.shared import answers, config_option, fail, read_config
from relay.queueing import as_table, as_text


@click.group()
def queue() -> None:
    """See and move the mails that wait to be delivered."""


@queue.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def queue_list(config_file: Path, as_json: bool) -> None:
    """List the mails in the queue, the longest waiting first."""
    data_dir = read_config(config_file).data_dir
    mails, failing = answers(lambda: (queueing.queued(data_dir), queueing.hosts(data_dir)))
    click.echo(json.dumps([each.as_dict() for each in mails], indent=2) if as_json else as_table(mails, failing))


@queue.command("show")
@click.argument("id")
@config_option
@click.option("--content", is_flag=True, help="Print the mail itself, as it came.")
def queue_show(id: str, config_file: Path, content: bool) -> None:
    """Show one mail: its recipients, their tries, what the smarthost said."""
    data_dir = read_config(config_file).data_dir
    found = answers(lambda: queueing.one(data_dir, queue_ids([id])[0]))
    if found is None:
        fail(f"{id}: there is no such mail in the queue")
    if content:
        sys.stdout.buffer.write(found[1])
    else:
        click.echo(as_text(found[0]))


@queue.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@config_option
def queue_retry(ids: tuple[str, ...], config_file: Path) -> None:
    """Try mails again now: those named, else all of them."""
    data_dir = read_config(config_file).data_dir
    wanted = queue_ids(ids)
    count = answers(lambda: queueing.retry(data_dir, wanted))
    if count < len(wanted):
        fail(f"{count} of {len(wanted)} are tried again; the others are not in the queue, or being delivered now")
    click.echo(f"{count} mails are tried again" if count != 1 else "1 mail is tried again")


@queue.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@config_option
def queue_remove(ids: tuple[str, ...], config_file: Path) -> None:
    """Drop mails for good; their senders are not told."""
    data_dir = read_config(config_file).data_dir
    wanted = queue_ids(ids)
    removed, busy = answers(lambda: queueing.remove(data_dir, wanted))
    for id in removed:
        click.echo(f"{id}: removed")
    for id in busy:
        click.echo(f"{id}: is being delivered now; try again in a moment", err=True)
    for id in set(wanted) - set(removed) - set(busy):
        click.echo(f"{id}: there is no such mail in the queue", err=True)
    if len(removed) < len(set(wanted)):
        sys.exit(1)


def queue_ids(ids: Sequence[str]) -> list[str]:
    """Ids as the queue writes them, or the end of the program."""
    try:
        return [queueing.known_id(id) for id in ids]
    except ValueError:
        fail("an id looks like 01890a5d-ac96-774b-bcce-b302099a8057; `tracepost queue list` shows them", 2)
