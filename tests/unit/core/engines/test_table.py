"""An engine is a module, an entry of the catalog and a role: it is named nowhere else, and one more needs no more."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from phi4_edge import content
from phi4_edge.core.engines.table import ENGINES

ROOT = Path(__file__).parents[4]
PACKAGE = ROOT / "cli" / "phi4_edge"
STANDIN = ROOT / "tests" / "standins" / "fourth_engine.py"
# Where an engine's name is spelt. Our own engine's source is among the roles, and is built into wheels and an image.
SPELT = {
    "onnx": {
        "core/engines/onnx.py", "remote/answers.py", "remote/engine.py",
        "artifacts/delivery.py", "artifacts/bundle/whole.py", "artifacts/images/build.py",
    },
    "ollama": {"core/engines/ollama.py", "remote/answers.py"},
    "vllm": {"core/engines/vllm.py", "remote/answers.py"},
}  # fmt: skip


def spelt(name: str) -> set[str]:
    """Modules of the package that hold a name as a text of its own."""

    def within(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        return any(isinstance(node, ast.Constant) and node.value == name for node in nodes)

    return {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if within(path)}


def test_an_engine_s_name_is_spelt_where_the_engine_is() -> None:
    assert {name: spelt(name) for name in ENGINES} == SPELT


def test_its_role_has_its_name_and_is_chosen_by_it() -> None:
    for name in ENGINES:
        assert (ROOT / "roles" / name / "tasks" / "main.yml").is_file()
    applied = (ROOT / "roles" / "plan" / "tasks" / "apply.yml").read_text()
    assert [name for name in ENGINES if name in applied.lower()] == []


CATALOG = """
  fourth:
    version: 1.0.0
    service_managers: [systemd, compose]
    on_request: []
    applicable: [systemd, compose]
    queue: 8
    disk: 300000000
    container_port: 8080
    shm_size: 67108864
    start: {cpu: {seconds: 10, measured: false}}
    builds:
      cpu:
        kv_types: [q8_0]
        architectures: {x86_64: [avx2], aarch64: [neon]}
        images: [{repository: docker.io/library/fourth, tag: 1.0.0, disk: 300000000, archive: 100000000}]
    variants:
      q4_0: {artifact: gguf-q4_0, bits: 4, weights: 2330000000, overhead: {cpu: 450000000}, measured: false}

# Variants of the model"""
# What whoever adds an engine edits, beside the module and the role that are new.
EDITED = {
    "cli/phi4_edge/core/engines/table.py": (
        ("import ollama, onnx, vllm", "import fourth, ollama, onnx, vllm"),
        ("vllm.ENGINE)", "vllm.ENGINE, fourth.ENGINE)"),
    ),
    "cli/phi4_edge/data/catalog.yml": (("\n# Variants of the model", CATALOG),),
    "cli/phi4_edge/data/plan.schema.json": (('"vllm",', '"vllm", "fourth",'),),
}  # fmt: skip
PROGRAM = """
import json
from tests.unit.core.release import test_release_files as units
from phi4_edge import data
from phi4_edge.core.engines import serving
from phi4_edge.core.facts import parse
from phi4_edge.core.layout import STANDARD
from phi4_edge.core.plan.decide import decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.remote import release
from tests.unit.core.held import whole

def planned(manager):
    wishes = Overrides.from_vars("gw1", {"phi4_engine": "fourth", "phi4_service_manager": manager})
    held = whole({}, {"phi4-edge/fourth": "a" * 64})
    made = decide(parse.parse(units.read("n150-8gb")), data.load_table(), data.load_catalog(), wishes, held).to_dict()
    image = {"engine": "sha256:" + "1" * 64}
    port = {**made, "switch": {**made["switch"], "port": 18080}}
    return {"plan": made, "files": release.staged(made, image, "/opt/phi4-edge"),
            "gate": serving.question(made, STANDARD), "seconds": serving.start_seconds(made),
            "rehearsal": release.rehearsed(port, image, "/opt/phi4-edge")}

print(json.dumps({"others": units.names(), **{name: planned(name) for name in ("systemd", "compose")}}))
"""


@pytest.fixture(scope="module")
def with_a_fourth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """A copy of the collection with one engine more, and what it plans, stages and asks."""
    root = tmp_path_factory.mktemp("fourth")
    for folder in ("cli", *content.PARTS):
        # Links in cli to the parts of the collection stay links.
        shutil.copytree(content.root() / folder, root / folder, True, shutil.ignore_patterns("__pycache__"))
    shutil.copy(STANDIN, root / "cli" / "phi4_edge" / "core" / "engines" / "fourth.py")
    for name, changes in EDITED.items():
        text = (root / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (root / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(root / "cli"), str(ROOT)))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


@pytest.mark.parametrize("manager", ["systemd", "compose"])
def test_a_fourth_engine_is_planned_and_released(with_a_fourth: tuple[Path, Mapping[str, Any]], manager: str) -> None:
    root, found = with_a_fourth
    plan, files = found[manager]["plan"], found[manager]["files"]
    assert (plan["engine"], plan["service_manager"], plan["applicable"]) == ("fourth", manager, True)
    assert plan["release"].startswith("r-") and plan["blockers"] == []
    assert plan["steps"][-4:] == ["fourth", "service", "health", "receipt"]
    schema = json.loads((root / "cli" / "phi4_edge" / "data" / "plan.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(plan)) == []
    assert "(fourth q4_0)" in files["phi4-edge.service"]
    settings = "environment" if manager == "systemd" else "compose.yml"
    assert "LLAMA_ARG_THREADS" in files[settings]
    assert "18080" in found[manager]["rehearsal"][settings]
    assert (found[manager]["gate"]["health"], found[manager]["seconds"]) == ("/health", 600)


def test_a_fourth_engine_gives_no_host_of_the_others_another_release(
    with_a_fourth: tuple[Path, Mapping[str, Any]],
) -> None:
    names = json.loads((ROOT / "tests" / "golden" / "releases.json").read_text())
    assert with_a_fourth[1]["others"] == names
