"""The command ``tracepost``. Each command is a few lines: read the configuration, call what does the work, print."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import click
import structlog

from relay import forgetting, queueing, suppressing
from relay.config import Config, load_config
from relay.doubts import doubts
from relay.keys import new_signing_key
from relay.passwords import hash_password
from relay.previewing import preview as preview_mail
from relay.probing import probe
from relay.queueing import as_table, as_text
from relay.service import Service
from relay.storage import store_of
from tracker.errors import ConfigError, TracepostError
from tracker.model import SuppressionKind
from tracker.reading import entries
from tracker.reading.params import BadRequest

T = TypeVar("T")

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

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


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="tracepost", prog_name="tracepost")
def cli() -> None:
    """A mail-tracking SMTP relay: tracked links, an open pixel, honest counts."""


@cli.command()
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


@cli.command()
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


@cli.command()
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


@cli.command()
def key() -> None:
    """Print a new signing key, for `signing_keys`."""
    click.echo(new_signing_key())


@cli.command("hash-password")
def hash_password_command() -> None:
    """Print a password's hash, for `relay.auth.users`."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("there was no password on standard input")
    click.echo(hash_password(password))


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return entries.address(value, "ADDR")
    except BadRequest as error:
        raise click.UsageError(str(error), context) from None


def _sender(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        entries.sender(value)
    except BadRequest as error:
        raise click.UsageError(str(error), context) from None
    return value


address_argument = click.argument("address", metavar="ADDR", callback=_address)


@cli.command("forget")
@address_argument
@config_option
def forget_command(address: str, config_file: Path) -> None:
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


@cli.group()
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


@cli.group()
def suppress() -> None:
    """See and change the suppression list: who gets no marketing mail, or mail without tracking."""


sender_option = click.option(
    "--sender", metavar="ADDR", callback=_sender, help="One sender alone; * is the entry for every sender."
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
    "--sender", metavar="ADDR", callback=_sender, help="The sender that it wants no mail from; default every sender."
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


def queue_ids(ids: Sequence[str]) -> list[str]:
    """Ids as the queue writes them, or the end of the program."""
    try:
        return [queueing.known_id(id) for id in ids]
    except ValueError:
        fail("an id looks like 01890a5d-ac96-774b-bcce-b302099a8057; `tracepost queue list` shows them", 2)


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
