"""Files in a folder, each held by one process: by a lock (``flock``), so that no two write the same one. A file whose
holder is gone, or that was carried here from another machine, can be claimed by any process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from tracker.errors import SpoolFull
from tracker.model import new_id

SPARE = 64 * 1024 * 1024
"""Octets of the disk, or a quarter of a small one, that nothing new is taken into: what was done must be noted, so
files that had filled their disk to the end could never empty."""


class Held(NamedTuple):
    """A file of SQLite's and its lock, which is ours until it is closed."""

    path: Path
    lock: IO[bytes]


def claim(folder: Path, fresh: bool, but: Collection[Path] = ()) -> Held | None:
    """A file that nobody holds: the first there is beside those in ``but``; where there is none, the name of a new one
    if ``fresh``, else None. The folder is made where it is missing. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)
    for path in files(folder):
        lock = locked(path) if path not in but else None
        if lock is not None:
            return Held(path, lock)
    path = folder / f"{new_id()}.db"
    lock = locked(path) if fresh else None
    return None if lock is None else Held(path, lock)


def files(folder: Path) -> list[Path]:
    """The files of a folder, whoever holds them, oldest first."""
    return sorted(folder.glob("*.db"))


def locked(path: Path) -> IO[bytes] | None:
    """The lock of a file, ours until it is closed; None where another process has it. Raises OSError."""
    lock = lock_of(path).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    # Its last holder may have removed the file, and the lock's name with it, between our opening and locking.
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock.fileno()), lock_of(path).stat()):
            return lock
    lock.close()
    return None


def remove(held: Held) -> None:
    """Delete a file that is no longer open, and let go of its lock."""
    for path in (*files_of(held.path), lock_of(held.path)):
        path.unlink(missing_ok=True)
    held.lock.close()


def lock_of(path: Path) -> Path:
    """The lock that goes with a file."""
    return path.with_suffix(".lock")


def files_of(path: Path) -> list[Path]:
    """The database and what SQLite keeps beside it."""
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def require_room(folder: Path, size: int, reusable: int = 0) -> None:
    """Raise SpoolFull unless the disk has room for so many octets beside what is kept free, of which ``reusable`` ones
    in the database may be up to a half; OSError where it cannot be asked."""
    disk = os.statvfs(folder)
    free, spare = disk.f_bavail * disk.f_frsize, min(SPARE, disk.f_blocks * disk.f_frsize // 4)
    if free + reusable < size + spare or free < spare // 2:
        raise SpoolFull("the disk has no room for more; trying again later may help")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
