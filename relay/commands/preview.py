"""``tracepost preview``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from relay.commands.shared import config_option, fail, read_config
from relay.previewing import preview as preview_mail
from tracker.errors import TracepostError


@click.command()
@click.argument("mail", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MAIL.eml")
@config_option
@click.option("--sender", metavar="ADDR", help="The envelope sender; default the address in From.")
@click.option("--recipient", metavar="ADDR", help="The envelope recipient; default the address in To.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "-o", "out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.eml", help="Write the instrumented mail."
)
def preview(
    mail: Path, config_file: Path, sender: str | None, recipient: str | None, as_json: bool, out: Path | None
) -> None:
    """Show what would be done with a mail, and why; sends nothing."""
    try:
        found = preview_mail(read_config(config_file), mail.read_bytes(), sender, recipient)
        if out is not None:
            out.write_bytes(found.copy)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except TracepostError as error:
        fail(str(error))
    click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else found.as_text())
