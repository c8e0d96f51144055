"""Whether the controller of a lock's holder is known to be dead: only where its processes can be seen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import lock
from phi4_edge.remote import holder


@pytest.fixture
def dead() -> dict[str, Any]:
    """A play that has ended on this machine."""
    with subprocess.Popen(["sleep", "60"]) as process:
        found = {**holder.controller(os.getppid()), "pid": process.pid, "start": holder.started(process.pid)}
        process.kill()
    return found


def test_a_play_that_has_ended_here_is_gone(dead: dict[str, Any]) -> None:
    own = holder.controller(os.getppid())
    assert own["space"] == str(Path("/proc/self/ns/pid").readlink())
    assert lock.gone({"controller": dead}, own, holder.started)
    assert not lock.gone({"controller": own}, own, holder.started)


@pytest.mark.parametrize("other", [{"boot_id": "another"}, {"space": "pid:[1]"}, {"space": ""}])
def test_one_whose_processes_cannot_be_seen_may_live(dead: dict[str, Any], other: dict[str, str]) -> None:
    assert not lock.gone({"controller": {**dead, **other}}, holder.controller(os.getppid()), holder.started)


@pytest.mark.parametrize("controller", [None, {}, {"boot_id": 1}])
def test_one_that_says_nothing_may_live(controller: Any) -> None:
    assert not lock.gone({"controller": controller}, holder.controller(os.getppid()), holder.started)
