"""Contents that are too large for the database: each in a file of its own, in the folder that goes with a spool file.

All of it blocks.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from tracker.disk.held import sync_folder


class Contents:
    """The folder at ``path``, which is made when it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, mail: UUID, content: bytes) -> None:
        """Put a content on stable storage. Raises OSError, and then nothing of it stays."""
        path = self.path / str(mail)
        try:
            if not self.path.is_dir():
                self.path.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self.path.parent)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path)
        except OSError:
            self.remove(str(mail))
            raise

    def read(self, mail: UUID) -> bytes:
        """A content. Raises OSError."""
        return (self.path / str(mail)).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a content that nobody needs; where the disk does not go along, it stays an orphan."""
        with suppress(OSError):
            (self.path / name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The mails whose contents are here, orphans included."""
        try:
            return set(os.listdir(self.path))
        except OSError:
            return set()

    def keep_only(self, known: Collection[str]) -> None:
        """Remove the orphans: contents whose mail was never taken, or is done with."""
        for name in self.names().difference(known):
            self.remove(name)

    def close(self) -> None:
        """Remove the folder, if it is empty."""
        with suppress(OSError):
            self.path.rmdir()
