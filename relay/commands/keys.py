"""``tracepost key`` and ``hash-password``."""

from __future__ import annotations

import sys

import click

from relay.commands.shared import fail
from relay.keys import new_signing_key
from relay.passwords import hash_password


@click.command()
def key() -> None:
    """Print a new signing key, for `signing_keys`."""
    click.echo(new_signing_key())


@click.command("hash-password")
def hash_password_command() -> None:
    """Print a password's hash, for `relay.auth.users`."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("there was no password on standard input")
    click.echo(hash_password(password))
