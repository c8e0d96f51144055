"""Locks of the store's files."""

from __future__ import annotations

import os
from pathlib import Path

from phi4_edge.artifacts.store import files


def test_a_lock_is_free_where_a_program_that_was_being_started_still_has_its_file(tmp_path: Path) -> None:
    lock = tmp_path / "it.lock"
    with files.locked(lock):
        # What a fork of another thread has until it becomes the program.
        (ours,) = [int(one.name) for one in Path("/proc/self/fd").iterdir() if one.resolve() == lock]
        held = os.dup(ours)
        assert not files.try_lock(lock)
    try:
        assert files.try_lock(lock)
    finally:
        os.close(held)
