"""`provision --tags`: how far it goes, on this machine as a host; nothing is changed before `apply`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from phi4_edge.commands.provision import furthest

Invoke = Callable[..., Result]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(
        f"gw1 ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}\n"
        "[all:vars]\nprobe_become=false\n"
    )
    return path


@pytest.mark.parametrize(
    ("tags", "far"),
    [((), "apply"), (("detect",), "detect"), (("plan", "detect"), "plan"), (("detect", "plan", "apply"), "apply")],
)
def test_the_furthest_counts(tags: tuple[str, ...], far: str) -> None:
    assert furthest(tags) == far


def test_looking_and_planning_end_before_anything_is_asked(invoke: Invoke, inventory: Path) -> None:
    looked = invoke("provision", inventory, "--tags", "detect", "-o", "json")
    assert json.loads(looked.stdout)["format"] == "phi4-edge/detect/1", looked.stderr
    wish = ("-e", "phi4_port=8099 phi4_engine=ollama phi4_force=true")
    planned = invoke("provision", inventory, "--tags", "detect", "--tags", "plan", "-o", "json", *wish, "-v")
    found = json.loads(planned.stdout)
    assert found["format"] == "phi4-edge/plans/1", planned.stderr
    assert "gw1: ok: probe : Read what the host says about itself" in planned.stderr
    assert "Change 1 host?" not in planned.stderr
    assert [plan["port"] for plan in found["plans"] if plan["fits"]] in ([8099], [])
