"""Files held by one process each: claimed once, claimed by another when the holder is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tracker.disk import held
from tracker.errors import SpoolFull

ROOT = Path(__file__).resolve().parents[2]


def test_each_claim_has_a_file_of_its_own(tmp_path: Path) -> None:
    found = [held.claim(tmp_path / "files", fresh=True) for _ in range(3)]
    paths = [each.path for each in found if each is not None]
    assert len(set(paths)) == 3
    assert held.claim(tmp_path / "files", fresh=False) is None
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o700
    for each in found:
        assert each is not None
        each.lock.close()


def test_a_file_without_a_holder_comes_before_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "carried-here.db").touch()
    found = held.claim(tmp_path, fresh=True)
    assert found is not None
    assert found.path.name == "carried-here.db"
    assert held.locked(found.path) is None
    found.lock.close()


def test_a_file_of_a_killed_process_can_be_claimed(tmp_path: Path) -> None:
    (tmp_path / "one.db").touch()
    script = (
        "import sys, time, pathlib\nfrom tracker.disk import held\n"
        "found = held.claim(pathlib.Path(sys.argv[1]), False)\nprint(found.path.name, flush=True)\ntime.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "one.db\n"
        assert held.claim(tmp_path, fresh=False) is None
        holder.kill()
    found = held.claim(tmp_path, fresh=False)
    assert found is not None
    assert found.path.name == "one.db"
    found.lock.close()


def test_what_is_removed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.db").touch()
    found = held.claim(tmp_path, fresh=False)
    assert found is not None
    held.remove(found)
    assert list(tmp_path.iterdir()) == []


def test_room_is_kept_free(tmp_path: Path) -> None:
    held.require_room(tmp_path, 1)
    with pytest.raises(SpoolFull):
        held.require_room(tmp_path, 10**18)
