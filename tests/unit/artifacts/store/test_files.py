"""Locks of the store's files."""

from __future__ import annotations

import os
from pathlib import Path

from phi4_edge.artifacts.store import files


def test_a_lock_is_free_where_a_program_that_was_being_started_still_has_its_file(tmp_path: Path) -> None:
    lock = tmp_path / "it.lock"
    with files.locked(lock):
        # What a fork of another thread has until it becomes the program.
        held = [os.dup(int(name)) for name in os.listdir("/proc/self/fd") if points_to(name, lock)]
        assert len(held) == 1
        assert not files.try_lock(lock)
    try:
        assert files.try_lock(lock)
    finally:
        os.close(held[0])


def points_to(name: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}") == str(path)
    except OSError:  # the listing's own
        return False
