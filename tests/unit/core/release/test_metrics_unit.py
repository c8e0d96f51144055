"""The unit of the exporter is checked in as golden files, and systemd understands every line of it.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/release
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.release import metrics_unit

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests" / "golden" / "units"
FRONT = {"bind": "127.0.0.1", "exporter_port": 9102}
PLAN: dict[str, Any] = {"bind": "127.0.0.1", "accelerator": "cpu", "gateway": FRONT}
RELEASE = "/opt/phi4-edge/releases/r-000000000000"
CASES: dict[str, dict[str, Any]] = {
    "metrics": PLAN,
    "metrics-gpu": {**PLAN, "accelerator": "cuda", "gateway": {"bind": "192.0.2.7", "exporter_port": 9202}},
    "metrics-elsewhere": {
        **PLAN, "layout": {"root": "/data/phi4", "state": "/data/phi4-state"}, "gateway": {**FRONT, "bind": "0.0.0.0"},
    },
}  # fmt: skip


def rendered(name: str) -> str:
    return metrics_unit.service(CASES[name], RELEASE)


@pytest.mark.parametrize("name", CASES)
def test_units_are_the_golden_ones(name: str) -> None:
    golden = GOLDEN / f"{name}.service"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(rendered(name))
    assert golden.read_text() == rendered(name)


def test_every_directive_is_one_of_systemd() -> None:
    listed = (ROOT / "tests" / "fixtures" / "systemd" / "257.txt").read_text().splitlines()
    known = {line.partition(".")[2] for line in listed} | {"WantedBy"}
    for name in CASES:
        used = {line.partition("=")[0] for line in rendered(name).splitlines() if "=" in line and line[0] != "#"}
        assert used - known == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", CASES)
def test_units_are_closed(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", GOLDEN / f"{name}.service"]
    closed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert closed.returncode == 0, closed.stdout[-2000:] + closed.stderr


def test_only_a_host_with_a_gpu_opens_its_devices() -> None:
    assert "DeviceAllow" not in rendered("metrics")
    assert "PrivateDevices=yes" in rendered("metrics").splitlines()
    assert "DeviceAllow=char-nvidia* rw" in rendered("metrics-gpu").splitlines()


def test_it_listens_on_its_port_alone_and_asks_this_host_alone() -> None:
    lines = rendered("metrics-gpu").splitlines()
    assert {"SocketBindDeny=any", "SocketBindAllow=tcp:9202", "IPAddressDeny=any"} < {*lines}
    assert "IPAddressAllow=localhost 192.0.2.7" in lines
    assert "IPAddressAllow=localhost" in rendered("metrics").splitlines()
    assert "IPAddressAllow=localhost" in rendered("metrics-elsewhere").splitlines()


def test_the_release_has_every_module_that_the_program_imports() -> None:
    folders = (ROOT / "roles" / "gateway" / "files", ROOT / "cli" / "phi4_edge" / "remote" / "host")
    files = {path.name: path for folder in reversed(folders) for path in folder.glob("*.py")}
    needed, left = set(), [metrics_unit.PROGRAM]
    while left:
        name = left.pop()
        needed.add(name)
        for node in ast.walk(ast.parse(files[name].read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            left += [f"{module}.py" for module in modules if f"{module}.py" in files.keys() - needed]
    assert needed == set(metrics_unit.PROGRAMS)
