"""Whether the controller of a lock's holder is known to be dead: only where its processes can be seen."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import lock
from tests.ansible.plays import ROOT

PLUGIN = ROOT / "plugins" / "action" / "phi4_lock.py"
spec = importlib.util.spec_from_file_location("phi4_lock", PLUGIN)
assert spec is not None and spec.loader is not None
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


@pytest.fixture
def dead() -> dict[str, Any]:
    """A play that has ended on this machine."""
    with subprocess.Popen(["sleep", "60"]) as process:
        found = {**plugin.controller(), "pid": process.pid, "start": plugin.started(process.pid)}
        process.kill()
    return found


def test_a_play_that_has_ended_here_is_gone(dead: dict[str, Any]) -> None:
    own = plugin.controller()
    assert own["space"] == str(Path("/proc/self/ns/pid").readlink())
    assert lock.gone({"controller": dead}, own, plugin.started)
    assert not lock.gone({"controller": own}, own, plugin.started)


@pytest.mark.parametrize("other", [{"boot_id": "another"}, {"space": "pid:[1]"}, {"space": ""}])
def test_one_whose_processes_cannot_be_seen_may_live(dead: dict[str, Any], other: dict[str, str]) -> None:
    assert not lock.gone({"controller": {**dead, **other}}, plugin.controller(), plugin.started)


@pytest.mark.parametrize("controller", [None, {}, {"boot_id": 1}])
def test_one_that_says_nothing_may_live(controller: Any) -> None:
    assert not lock.gone({"controller": controller}, plugin.controller(), plugin.started)
