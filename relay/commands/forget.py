"""``tracepost forget``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from relay import forgetting
from relay.commands.shared import address_argument, answers, config_option, fail, read_config
from relay.storage import store_of


@click.command()
@address_argument
@config_option
def forget(address: str, config_file: Path) -> None:
    """Erase a person's data, wherever it stands; the counts stay."""
    config = read_config(config_file)
    with closing(store_of(config)) as store:
        found = answers(lambda: forgetting.forget(config.data_dir, store, address))
    if not found.done:
        fail(
            f"mails still queued that name it: {found.queued}; they go first, then the service goes on by itself,"
            " or run this again"
        )
    click.echo(f"forgotten; messages that it had got: {found.messages}")
