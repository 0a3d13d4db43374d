"""Where the store is."""

from __future__ import annotations

from relay.config import Config
from tracker.store.sqlite import SqliteStore

STORE_FILE = "tracepost.db"


def store_of(config: Config) -> SqliteStore:
    """The store, not opened yet."""
    return SqliteStore(config.data_dir / STORE_FILE, zone=config.tracker.timezone)
