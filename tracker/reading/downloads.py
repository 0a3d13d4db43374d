"""CSV beside every table: ``?format=csv`` on a page's own address gives its table as a file, ``&table=NAME`` another of
its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tracker.reading import params
from tracker.reading.answers import Select, download, whole_list
from tracker.reading.params import BadRequest
from tracker.store.base import Page, Row

CSV = ("format", "table")
"""The parameters by which a page gives its tables as files."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page: its columns, and who reads its rows. ``shaped`` makes of a row what is written."""

    columns: Sequence[str]
    select: Select
    shaped: Callable[[Row], Mapping[str, Any]] | None = None

    @classmethod
    def of(cls, columns: Sequence[str], read: Callable[[], Iterable[Row]]) -> Table:
        """A table that is read all at once."""
        return cls(columns, lambda limit, after: Page(list(read()), None))


Made = Callable[[], bytes]
"""Makes a whole file at once."""


async def file_of(asked: Mapping[str, str], tables: Mapping[str, Table | Made]) -> Response | None:
    """The file that is asked for, the first table where none is named; None where the page itself is wanted. Raises
    BadRequest and StoreError."""
    if params.choice(asked, "format", ("html", "csv")) != "csv":
        if "table" in asked:
            raise BadRequest("Give 'table' together with format=csv.")
        return None
    name = params.choice(asked, "table", list(tables)) or next(iter(tables))
    table = tables[name]
    if not isinstance(table, Table):
        return Response(await run_in_threadpool(table), 200, download(name), "text/csv; charset=utf-8")
    return await whole_list(table.select, table.columns, name, table.shaped)
