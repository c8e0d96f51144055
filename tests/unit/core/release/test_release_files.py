"""The units and settings of every fixture's plan are checked in as golden files, and so are the names of releases.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/engines
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phi4_edge import content, data
from phi4_edge.core.facts import parse
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.release import release_files
from tests.unit.core.fixture_hosts import HOSTS, read

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests" / "golden"
NAMES = GOLDEN / "releases.json"
WRITE = os.environ.get("PHI4_EDGE_GOLDEN") == "write"
FIXTURES = sorted(path.stem for path in HOSTS.glob("*.json"))
DIGEST = "d" * 64
OLLAMA = {"phi4_engine": "ollama", "phi4_service_manager": "systemd"}
# Digests of programs are left out: a release is another with each change in one of them.
BUILT = {"phi4-edge/onnx": "a" * 64, "ollama store": "b" * 64}


@functools.cache
def planned(name: str, ollama: bool = False) -> Plan:
    """The plan of a controller that has all files, which is asked for Ollama under systemd or for nothing."""
    seen = parse.parse(read(name))
    wishes = Overrides.from_vars(name, OLLAMA if ollama else {})
    table, catalog = data.load_table(), data.load_catalog()
    held = {f"phi-4-mini-instruct/{kind}": DIGEST for kind in ("onnx-int4", "gguf-q4_0", "gguf-q4_K_M")}
    held |= {f"phi-4-mini-instruct/{kind}": DIGEST for kind in ("gguf-q5_1", "gguf-q8_0", "hf-bf16")}
    first = decide(seen, table, catalog, wishes, Inputs(held, BUILT))
    images = {image.key: "sha256:" + DIGEST for image in (first.image,) if image is not None}
    whole = held | {artifact: DIGEST for artifact in first.awaits if artifact not in images}
    return decide(seen, table, catalog, wishes, Inputs(whole, BUILT, images))


def applied(plan: Plan) -> bool:
    return plan.applicable and not plan.blockers


ONNX = [name for name in FIXTURES if applied(planned(name)) and planned(name).engine == "onnx"]
NATIVE = [name for name in FIXTURES if applied(planned(name, True))]
FOLDERS = {f"{name}": planned(name) for name in ONNX}
FOLDERS |= {f"{name}/ollama-{planned(name, True).quantization}": planned(name, True) for name in NATIVE}


def files(plan: Plan) -> dict[str, str]:
    named = {**plan.to_dict(), "release": "r-000000000000"}
    found = release_files.unit_files(named, "/opt/phi4-edge/releases/r-000000000000")
    # What loads Ollama's model is of one kind, see test_units.py.
    return {name: text for name, text in found.items() if name != "phi4-edge-load.service"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_units_and_settings_are_the_golden_ones(folder: str) -> None:
    for name, text in files(FOLDERS[folder]).items():
        path = GOLDEN / folder / name
        if WRITE:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text


def test_there_is_no_golden_file_without_its_host() -> None:
    units = {str(path.parent.relative_to(GOLDEN)) for path in GOLDEN.glob("**/environment")}
    assert units == set(FOLDERS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("folder", FOLDERS)
def test_units_are_readable_by_systemd_and_closed(folder: str) -> None:
    unit, plan = GOLDEN / folder / "phi4-edge.service", FOLDERS[folder]
    read = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    complaints = [
        line for line in read.stderr.splitlines()
        # The command is not installed on this machine; two settings are younger than Debian 12's systemd.
        if "phi4-edge" in line and not any(known in line for known in ("is not executable", "'Restart"))
    ]  # fmt: skip
    assert complaints == []
    # Ollama may listen on other ports than its own too; with a GPU less can be closed.
    most = "21" if plan.engine == "onnx" else "40" if plan.accelerator == "cuda" else "22"
    closed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert closed.returncode == 0, closed.stdout[-2000:] + closed.stderr


@pytest.mark.parametrize("name", NATIVE)
def test_ollamas_environment_is_the_planned_one_and_where_the_store_is(name: str) -> None:
    text = files(planned(name, True))["environment"]
    for variable, value in (planned(name, True).knobs or {})["environment"].items():
        assert f'{variable}="{value}"\n' in text
    assert 'OLLAMA_MODELS="/opt/phi4-edge/releases/r-000000000000/store"\n' in text
    assert "0.0.0.0" not in text


def test_every_unit_of_ours_is_recognised_by_its_description() -> None:
    units = sorted(GOLDEN.glob("*/*.service"))
    assert units
    for unit in units:
        assert f"Description={OUR_DESCRIPTION}" in unit.read_text()


def names() -> dict[str, str | None]:
    """The name of each fixture's release, under both wishes."""
    found = {name: planned(name).release for name in FIXTURES}
    return found | {f"{name} ollama": planned(name, True).release for name in FIXTURES}


def test_names_of_releases_are_the_golden_ones() -> None:
    """Whoever changes one gives every such host of every fleet a new release: say so in the changelog."""
    if WRITE:
        NAMES.write_text(json.dumps(names(), indent=2) + "\n")
    assert names() == json.loads(NAMES.read_text())
    assert sum(name is not None for name in names().values()) > 20


def elsewhere(tmp_path: Path, change: str) -> dict[str, str | None]:
    """The names that a copy of the package gives, after a change of its source."""
    # Links to the parts of the collection come along as such: the copy is a checkout again.
    shutil.copytree(content.root() / "cli", tmp_path / "cli", True, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in content.PARTS:
        shutil.copytree(content.root() / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    core = tmp_path / "cli" / "phi4_edge" / "core"
    if change == "comments":
        for path in [*core.rglob("*.py"), *(tmp_path / "roles").glob("*/vars/*.yml")]:
            path.write_text(path.read_text() + "# A comment.\n")
    elif change == "a name":
        engines = core / "engines"
        (engines / "container_unit.py").rename(engines / "client_of_docker.py")
        for path in core.rglob("*.py"):
            path.write_text(path.read_text().replace("container_unit", "client_of_docker"))
    else:
        unit = core / "engines" / "unit_lines.py"
        unit.write_text(unit.read_text().replace("RestartSec=2", "RestartSec=3"))
    program = f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); import {__name__} as it; "
    done = subprocess.run(
        [sys.executable, "-c", program + "print(json.dumps(it.names()))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "cli")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("change", ["comments", "a name"])
def test_a_release_is_not_named_after_our_source(tmp_path: Path, change: str) -> None:
    assert elsewhere(tmp_path, change) == names()


def test_a_changed_line_of_a_unit_is_another_release_of_all_that_have_it(tmp_path: Path) -> None:
    before, after = names(), elsewhere(tmp_path, "a line")
    assert {name for name in before if before[name]} == {name for name in after if after[name] != before[name]}
