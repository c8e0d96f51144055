"""What the gate makes of the unit that keeps Ollama's model loaded: runs, starts, or gives up."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, load

gateollama = load("health", "gateollama")
StepError = gateollama.StepError


def args(tmp_path: Path, rehearsal: bool = False) -> dict[str, Any]:
    return {"releases": str(tmp_path / "releases"), "release": ONE, "rehearsal": rehearsal}


@pytest.mark.parametrize(
    ("installed", "rehearsal", "found", "passes"),
    [
        (True, False, "active", True), (True, False, "failed", False), (True, False, "inactive", False),
        (True, True, "inactive", True), (False, False, "inactive", True),
    ],
)  # fmt: skip
def test_what_loads_the_model_after_the_next_start_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    installed: bool, rehearsal: bool, found: str, passes: bool,
) -> None:  # fmt: skip
    release = tmp_path / "releases" / ONE
    release.mkdir(parents=True)
    if installed:
        (release / gateollama.LOAD).write_text("[Service]")
    monkeypatch.setattr(gateollama, "shown", lambda _unit, _properties: {"ActiveState": found})
    if passes:
        gateollama.keeper(args(tmp_path, rehearsal), math.inf)
        return
    with pytest.raises(StepError, match=f"found phi4-edge-load.service {found}, needed it active"):
        gateollama.keeper(args(tmp_path, rehearsal), math.inf)


@pytest.mark.parametrize(
    ("states", "passes"),
    [
        ([{"ActiveState": "inactive", "Job": "7"}, {"ActiveState": "activating"}, {"ActiveState": "active"}], True),
        ([{"ActiveState": "activating", "NRestarts": "1"}, {"ActiveState": "activating", "NRestarts": "2"}], False),
        ([{"ActiveState": "activating"}, {"ActiveState": "failed"}], False),
    ],
)
def test_what_loads_the_model_may_still_be_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[dict[str, str]], passes: bool
) -> None:
    release = tmp_path / "releases" / ONE
    release.mkdir(parents=True)
    (release / gateollama.LOAD).write_text("[Service]")
    monkeypatch.setattr(gateollama.Pauses, "rest", lambda _pauses: None)
    given = iter(states)
    monkeypatch.setattr(gateollama, "shown", lambda _unit, _properties: next(given))
    with contextlib.nullcontext() if passes else pytest.raises(StepError, match="needed it active"):
        gateollama.keeper(args(tmp_path), math.inf)
    assert next(given, None) is None
    monkeypatch.setattr(gateollama, "shown", lambda _unit, _properties: {"ActiveState": "activating"})
    with pytest.raises(StepError, match="activating, needed it active"):
        gateollama.keeper(args(tmp_path), 0)
