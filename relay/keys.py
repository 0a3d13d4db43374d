"""Keys that are made for whoever configured none, and kept in ``data_dir`` where only its owner can read them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from tracker.errors import KeyFileError
from tracker.tokens import KEY_BYTES, format_key, parse_key

SIGNING_KEY_FILE = "signing.key"
API_KEY_FILE = "api.key"


def new_signing_key() -> str:
    """A fresh signing key in its text form."""
    return format_key(secrets.token_bytes(KEY_BYTES))


def read_signing_key(data_dir: Path) -> bytes | None:
    """The signing key kept in ``data_dir``, None where none is. Raises KeyFileError for a damaged one."""
    path = data_dir / SIGNING_KEY_FILE
    return _parsed(path, path.read_text("ascii", "replace")) if path.exists() else None


def kept_signing_key(data_dir: Path) -> bytes:
    """The signing key kept in ``data_dir``, made at the first call. Raises KeyFileError for a damaged one."""
    path = data_dir / SIGNING_KEY_FILE
    return _parsed(path, _kept(path, new_signing_key))


def kept_api_key(data_dir: Path) -> str:
    """The API key kept in ``data_dir``, made at the first call."""
    return _kept(data_dir / API_KEY_FILE, lambda: secrets.token_urlsafe(24))


def _parsed(path: Path, text: str) -> bytes:
    try:
        return parse_key(text)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}; put the right one back, or links already sent will break") from None


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file, which is made, whole and durable, where it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path.read_text("ascii", "replace").strip()
