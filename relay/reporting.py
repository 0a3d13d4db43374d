"""The reports for the command line, on the store itself, beside the running service."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from zoneinfo import ZoneInfo

from relay.config import Config
from relay.storage import store_of
from tracker.reading import reports
from tracker.reading.reports import Period
from tracker.store.base import ReportFilter


def report(config: Config, period: Period, wanted: ReportFilter) -> dict[str, Any]:
    """A report, as the API answers it. Raises StoreError."""
    with closing(store_of(config)) as store:
        store.open()
        return reports.report(store, period, wanted, ZoneInfo(config.tracker.timezone))
