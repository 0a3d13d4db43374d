"""The suppression list for the command line, on the store itself, beside the running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from relay.config import Config
from relay.storage import store_of
from tracker.errors import ListError
from tracker.reading import entries, shapes
from tracker.reading.params import BadRequest
from tracker.reading.suppressions import wanted
from tracker.store.base import Lists, Row

_BATCH = 1000


def listed(config: Config, **asked: str | None) -> Iterator[Row]:
    """The entries of a ``sender``, ``kind`` or ``address``, the newest first. Raises ListError, StoreError."""
    with _list(config) as store:
        which = wanted({name: value for name, value in asked.items() if value})
        after, more = None, True
        while more:
            page = store.suppressions(which, _BATCH, after)
            yield from page.rows
            after, more = page.next, page.next is not None


def add(config: Config, **fields: str | None) -> bool:
    """Put one entry on the list; False where it is there already. Raises ListError, StoreError."""
    with _list(config) as store:
        return store.suppress([entries.entry(fields)]) > 0


def remove(config: Config, address: str, sender: str | None, kind: str | None) -> int:
    """Take the entries of an address off the list; how many there were. Raises ListError, StoreError."""
    with _list(config) as store:
        which = wanted({name: value for name, value in {"sender": sender, "kind": kind}.items() if value})
        return store.unsuppress(entries.address(address, "address"), which.sender, which.kind)


def take_in(config: Config, file: bytes) -> tuple[int, int]:
    """Put all of a CSV file on the list: how many entries are new, and how many were there already. Raises ListError,
    StoreError."""
    with _list(config) as store:
        found = entries.from_csv(file)
        added = store.suppress(found)
        return added, len(found) - added


def as_csv(rows: Iterator[Row]) -> bytes:
    """The list as CSV, which ``take_in`` reads."""
    return shapes.to_csv([as_dict(row) for row in rows], entries.COLUMNS)


def as_dict(row: Row) -> dict[str, Any]:
    """An entry as plain data."""
    return shapes.shape(row, entries.COLUMNS)


def as_text(row: Row) -> str:
    """An entry as a person reads it."""
    since = datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%dT%H:%M:%S")
    address, sender = row["address"] or "(address forgotten)", row["sender"] or "every sender"
    return f"{since}  {row['kind']:8}  {address}  {sender}  {row['reason']}".rstrip()


@contextmanager
def _list(config: Config) -> Iterator[Lists]:
    store = store_of(config)
    try:
        store.open()
        yield store
    except BadRequest as error:
        raise ListError(str(error)) from None
    finally:
        store.close()
