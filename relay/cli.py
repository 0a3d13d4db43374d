"""The command ``tracepost``. Each command is a few lines: read the configuration, call what does the work, print."""

from __future__ import annotations

import os
import sys

import click

from relay.commands.forget import forget
from relay.commands.keys import hash_password_command, key
from relay.commands.preview import preview
from relay.commands.queue import queue
from relay.commands.reclassify import reclassify
from relay.commands.report import report
from relay.commands.service import check, serve
from relay.commands.shared import fail
from relay.commands.suppress import suppress

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="tracepost", prog_name="tracepost")
def cli() -> None:
    """A mail-tracking SMTP relay: tracked links, an open pixel, honest counts."""


for command in (serve, check, preview, key, hash_password_command, forget, queue, report, reclassify, suppress):
    cli.add_command(command)


def main() -> None:
    """Entry point of the command. Click would put three lines of usage before what is wrong."""
    try:
        sys.exit(cli(prog_name="tracepost", standalone_mode=False))
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except click.Abort:
        fail("stopped")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to print finds nobody
        sys.exit(1)


if __name__ == "__main__":
    main()
