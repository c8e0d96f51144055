"""The import arrows of the house: who may import whom. Any other arrow fails here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cli" / "phi4_edge"
STDLIB = sys.stdlib_module_names

COMMANDS = {
    "rollout",
    "artifacts",
    "lab",
    "preflight",
    "report",
    "runner",
    "inventory",
    "core",
    "data",
    "content",
    "errors",
}
EDGE = {"core", "data", "errors"}
ALLOWED: dict[str, set[str]] = {
    "main": {"errors", "report", "__init__"},
    "__main__": {"main"},
    "commands": COMMANDS | {"__init__"},
    "rollout": {"runner", "core", "content", "data", "errors", "__init__"},
    "runner": {"content", "errors", "__init__"},
    "artifacts": EDGE | {"__init__"},
    "lab": EDGE | {"__init__"},
    "preflight": EDGE,
    "inventory": EDGE,
    "report": EDGE,
    "data": {"core", "errors"},
    "core": {"errors", "__init__"},
    "content": {"core"},
    "errors": set(),
    "__init__": set(),
}
# The only rooms that may touch each heavy or effectful library.
OWNERS = {
    "ansible_runner": {"runner"},
    "ansible": {"inventory"},
    "docker": {"lab"},
    "paramiko": {"preflight"},
    "huggingface_hub": {"artifacts"},
    "requests": {"artifacts", "lab"},
    "zstandard": {"artifacts"},
    "yaml": {"data", "inventory", "report", "lab"},
}
IMPURE = {
    "subprocess",
    "os",
    "time",
    "random",
    "secrets",
    "socket",
    "threading",
    "tempfile",
    "shutil",
    "pathlib",
    "logging",
}


def room(path: Path) -> str:
    """Name of the room that a file is in; `runner_events.py` belongs to `runner`."""
    relative = path.relative_to(PACKAGE)
    name = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    return name.split("_")[0] if name.startswith("runner_") else name


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at any depth of the file, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def target_room(module: str) -> str:
    """Room of an imported `phi4_edge…` name."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__version__":
        return "__init__"
    return "runner" if parts[1].startswith("runner_") else parts[1]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    here = room(path)
    assert here in ALLOWED, f"{path} is in no room of the architecture"
    for module in imports(path):
        top = module.split(".")[0]
        if top == "phi4_edge":
            other = target_room(module)
            assert other == here or other in ALLOWED[here], f"{here} must not import {other} ({module})"
        elif top in OWNERS:
            assert here in OWNERS[top], f"{here} must not import {top}"
        if here == "core":
            assert top == "phi4_edge" or top in STDLIB, f"core imports {module}"
            assert top not in IMPURE, f"core imports {module}: no I/O, environment, clock or random in core"


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/action_plugins/*.py")), ids=lambda path: path.name)
def test_action_plugins_are_thin_adapters(path: Path) -> None:
    for module in imports(path):
        if module.split(".")[0] == "phi4_edge":
            assert target_room(module) in {"core", "data", "content", "errors", "__init__"}, (
                f"{path.name} imports {module}"
            )
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text()


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("roles/*/files/*.py")), ids=lambda path: f"{path.parts[-3]}-{path.name}"
)
def test_host_scripts_need_only_the_standard_library_of_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    assert tree.body
    # Modules beside a script, and those that all roles share, are sent in front of it.
    shared = {beside.stem for folder in (path.parent, ROOT / "roles/receipt/files") for beside in folder.glob("*.py")}
    for module in imports(path):
        assert module.split(".")[0] in STDLIB | shared, f"{path} imports {module}"


def test_start_up_imports_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import phi4_edge.main"], capture_output=True, text=True, check=True
    ).stderr
    loaded = {
        line.split("|")[-1].strip().split(".")[0] for line in shown.splitlines() if line.startswith("import time:")
    }
    assert "phi4_edge" in loaded
    assert not loaded & {
        "ansible",
        "ansible_runner",
        "docker",
        "paramiko",
        "yaml",
        "rich",
        "huggingface_hub",
        "requests",
    }


def test_the_molecule_folder_never_shadows_the_tool() -> None:
    assert not (ROOT / "molecule" / "__init__.py").exists()


@pytest.mark.parametrize(
    "path",
    sorted([*FILES, *ROOT.glob("roles/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300, f"{path} has more than 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_modules_of_tests_have_names_of_their_own() -> None:
    # They are imported by their bare name: of two that share one, only the first would ever be seen.
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
