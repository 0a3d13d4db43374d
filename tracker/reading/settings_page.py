"""The dashboard's page of settings: the configuration that is in force. It only shows: the file is edited by hand."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from tracker.reading.beside import Configuration
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import Frame, Visit, signed_in

HIDDEN = "(hidden)"


class SettingsPage:
    """What ``configuration`` says whenever it is asked."""

    def __init__(self, frame: Frame, configuration: Callable[[], Configuration]) -> None:
        self.frame = frame
        self._configuration = configuration

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/settings", self.show)]

    @signed_in
    async def show(self, visit: Visit) -> Response:
        """Every key with its value, its purpose and where it was given."""
        asked = visit.asked(*CSV)
        found = await run_in_threadpool(self._configuration)
        rows = [
            {
                "key": each.key,
                "value": HIDDEN if each.value is None else each.value,
                "source": each.source or "default",
                "purpose": each.purpose,
            }
            for _, _, settings in found.sections
            for each in settings
        ]
        file = await file_of(asked, {"settings": Table.of(("key", "value", "source", "purpose"), lambda: rows)})
        if file is not None:
            return file
        pending = [each.key for _, _, settings in found.sections for each in settings if each.pending]
        return visit.page("settings.html", found=found, pending=pending)
