"""What the writing parts of the SQLite store have in common: many rows at once, read by key or added to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

Deltas = dict[tuple[Any, ...], dict[str, int]]
"""By the key of a row, what is to be added to its counters."""

_CHUNK = 200
"""Keys a SELECT: three columns each stay under SQLite's smallest limit of 999 variables."""


def page_of(url: str) -> str:
    """A URL without its query and fragment."""
    return url.partition("#")[0].partition("?")[0]


def select(
    db: sqlite3.Connection, table: str, columns: str, by: tuple[str, ...], keys: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a table whose columns ``by`` have one of these values."""
    wanted = list(keys)
    names = [f"wanted_{name}" for name in by]
    joined = " AND ".join(f"{name} = {key}" for name, key in zip(by, names, strict=True))
    row = f"({', '.join('?' * len(by))})"
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        rows = ", ".join([row] * len(chunk))
        # CROSS keeps the order of the join: by an IN of several columns SQLite reads the whole table.
        sql = (
            f"WITH wanted ({', '.join(names)}) AS (VALUES {rows})"  # noqa: S608
            f" SELECT {columns} FROM wanted CROSS JOIN {table} ON {joined}"
        )
        yield from db.execute(sql, [value for key in chunk for value in key])


def add(
    db: sqlite3.Connection, table: str, keys: tuple[str, ...], deltas: Deltas, first: dict[str, dict[Any, Any]]
) -> None:
    """Add to counters, making bare rows where there are none with the columns in ``first``."""
    names = sorted({name for counts in deltas.values() for name in counts})
    columns = [*keys, *first, *names]
    moves = ", ".join(f"{name} = {name} + excluded.{name}" for name in names)
    conflict = f"DO UPDATE SET {moves}" if moves else "DO NOTHING"
    db.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        f" ON CONFLICT ({', '.join(keys)}) {conflict}",
        [
            [*key, *(values[key] for values in first.values()), *(counts.get(name, 0) for name in names)]
            for key, counts in deltas.items()
        ],
    )
