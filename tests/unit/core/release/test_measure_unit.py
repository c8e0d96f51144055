"""The unit of what measures prompts is checked in as golden files, and systemd understands every line of it.

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

from phi4_edge.core import layout
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.release import measure_unit, release_files

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests" / "golden" / "units"
RELEASE = "/opt/phi4-edge/releases/r-000000000000"
CASES: dict[str, dict[str, Any]] = {
    "measure": {},
    "measure-elsewhere": {"layout": {"root": "/data/phi4", "state": "/data/phi4-state"}},
}


def rendered(name: str) -> str:
    return measure_unit.service(CASES[name], RELEASE)


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
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", GOLDEN / f"{name}.service"]
    closed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert closed.returncode == 0, closed.stdout[-2000:] + closed.stderr


def test_only_a_gateway_of_an_engine_that_cuts_prompts_measures_them() -> None:
    plan = {"knobs": {"variants": {}}, "context_length": 4096, "service_manager": "systemd", "gateway": {}}
    cutting = {name for name, engine in ENGINES.items() if engine.serving.cuts_beyond}
    assert cutting == {"ollama"}
    for name in ENGINES:
        assert measure_unit.wanted({**plan, "engine": name}) == (name in cutting)
        assert not measure_unit.wanted({**plan, "engine": name, "gateway": None})
        held = set(release_files.programs({**plan, "engine": name}))
        assert (held & set(measure_unit.PROGRAMS) == set(measure_unit.PROGRAMS)) == (name in cutting)


@pytest.mark.parametrize(
    ("variants", "beyond"),
    [
        ({}, (4095 - 128) // 6),
        ({"a": None}, (4095 - 128) // 6),
        ({"a": {"from": "b", "parameters": {}, "system": "é" * 500}}, (4095 - 128 - 1000) // 6),
        ({"a": {"from": "b", "parameters": {"num_ctx": 1024}, "system": ""}}, (1023 - 128) // 6),
        ({"a": {"from": "b", "parameters": {}, "system": "é" * 5000}}, 0),
    ],
)
def test_no_prompt_that_might_be_cut_goes_unmeasured(variants: dict[str, Any], beyond: int) -> None:
    asked = ENGINES["ollama"].serving.cuts_beyond
    assert asked is not None and asked({"context_length": 4096, "knobs": {"variants": variants}}) == beyond


def test_the_release_has_every_module_that_the_program_imports() -> None:
    files = {path.name: path for path in (ROOT / "roles" / "gateway" / "files").glob("*.py")}
    needed, left = set(), [measure_unit.PROGRAM]
    while left:
        name = left.pop()
        needed.add(name)
        for node in ast.walk(ast.parse(files[name].read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            left += [f"{module}.py" for module in modules if f"{module}.py" in files.keys() - needed]
    assert {*needed, measure_unit.ASKING} == set(measure_unit.PROGRAMS)


def test_its_socket_is_where_the_unit_makes_a_directory_for_it() -> None:
    assert f"RuntimeDirectory={layout.MEASURE_RUN}" in rendered("measure").splitlines()
    assert f"/run/{layout.MEASURE_RUN}/socket" == measure_unit.SOCKET
