"""The journal files of a tracker process: one of its own, for its recorder, and those of processes that are gone."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import structlog

from tracker.disk.journal import Journal, claim
from tracker.errors import SpoolError
from tracker.hits.recorder import Recorder
from tracker.store.base import Store
from tracker.store.recording import Recording

log = structlog.get_logger()

ADOPT_SECONDS = 5.0
"""How often a process looks for files that nobody holds."""


class Journals:
    """Gives ``recorder`` a file in ``data_dir``, and tells ``store`` what lies in files whose holder is gone, which are
    then removed. A disk that does not go along is tried again."""

    def __init__(self, data_dir: Path, store: Store, recorder: Recorder) -> None:
        self._data_dir = data_dir
        self._recorder = recorder
        self._recording = Recording(store)
        self._adopted: list[Journal] = []
        self._broken: list[Journal] = []
        self._chore: asyncio.Task[None] | None = None
        recorder.metrics.journal.set_function(lambda: float(sum(each.waiting for each in self._all)))

    @property
    def _all(self) -> list[Journal]:
        own = self._recorder.journal
        return [*self._adopted, *([own] if own is not None else [])]

    async def start(self) -> None:
        """Take a file for the recorder, which is to be started after this; look for others from now on. Never
        raises."""
        await self._provide()
        self._recording.start()
        self._chore = asyncio.create_task(self._adopt_forever(), name="adoption")

    async def stop(self) -> None:
        """Let go of all files; the recorder must have stopped."""
        if self._chore is not None:
            self._chore.cancel()
            await asyncio.wait([self._chore])
        await self._recording.stop()
        for journal in (*self._all, *self._broken):
            await journal.close()
        self._recorder.journal = None

    async def _provide(self) -> None:
        """A file of its own for the recorder, the first that can be used."""
        try:
            while self._recorder.journal is None:
                found = claim(self._data_dir, fresh=True)
                if found is None:
                    return
                fresh = not found.path.exists()
                if await opened(found):
                    self._recorder.journal = found
                elif fresh:
                    await found.remove()
                    return
                else:
                    self._broken.append(found)
        except (SpoolError, OSError) as error:
            log.error("there is no journal; hits would wait in memory", cause=repr(error.__cause__))

    async def _adopt_forever(self) -> None:
        while True:
            await asyncio.sleep(ADOPT_SECONDS)
            if self._recorder.journal is None:
                await self._provide()
            with contextlib.suppress(SpoolError, OSError):
                for journal in list(self._adopted):
                    if not journal.waiting:
                        self._adopted.remove(journal)
                        self._recording.drop(journal)
                        await journal.remove()
                found = claim(self._data_dir, fresh=False)
                if found is not None:
                    await self._adopt(found)

    async def _adopt(self, found: Journal) -> None:
        if not await opened(found):
            self._broken.append(found)  # it stays locked, so that it is looked at once
            return
        log.info("a journal file is adopted", file=found.path.name, facts=found.waiting)
        self._adopted.append(found)
        self._recording.adopt(found)


async def opened(found: Journal) -> bool:
    """Open a file; False where it cannot be read."""
    try:
        await found.open()
    except SpoolError as error:
        log.error("a journal file cannot be opened", file=found.path.name, cause=repr(error.__cause__))
        return False
    return True
