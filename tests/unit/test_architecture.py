"""The import arrows of the house: who may import whom. Any other arrow fails here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.for_each import for_each

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cli" / "phi4_edge"
STDLIB = sys.stdlib_module_names

EDGE = {"core", "data", "documents", "errors", "progress"}
ALLOWED: dict[str, set[str]] = {
    "main": {"core", "errors", "__init__"},
    "__main__": {"main"},
    # The verbs: the only room beside commands that knows most others.
    "operations": EDGE
    | {"artifacts", "content", "credentials", "environment", "inference", "inventory", "remote", "report"}
    | {"rollout", "runner", "ssh", "view", "__init__"},
    "commands": EDGE
    | {"artifacts", "content", "credentials", "environment", "inference", "inventory", "lab", "operations", "report"}
    | {"rollout", "runner", "ssh", "view", "__init__"},
    "credentials": {"artifacts", "core", "errors"},
    "view": {"report", "runner", "core", "progress"},
    "inference": {"runner", "rollout", "ssh", "core", "errors"},
    "rollout": {"runner", "core", "content", "data", "documents", "errors", "__init__"},
    "runner": {"ansible_version", "content", "core", "documents", "environment", "errors", "__init__"},
    "artifacts": EDGE | {"environment", "__init__"},
    "lab": EDGE | {"environment", "__init__"},
    "ssh": EDGE | {"environment"},
    "inventory": EDGE | {"ansible_version", "content", "environment"},
    # What a host is asked and answers; the action plugins call it.
    "remote": {"core", "content", "errors", "__init__"},
    "report": EDGE,
    "data": {"content", "core", "documents", "errors"},
    "core": {"errors", "__init__"},
    "content": set(),
    "ansible_version": {"errors"},
    "documents": {"core"},
    "progress": set(),
    "environment": set(),
    "errors": set(),
    "__init__": set(),
}
# The rooms of core in the order of the data: each may use those before it. What is in no room comes first.
STAIRS = (
    *("", "facts", "engines", "gateway", "monitoring", "release", "catalog", "packages", "judge", "plan", "doctor"),
    "rollout",
)
# The only rooms that may touch each heavy or effectful library.
OWNERS = {
    "ansible_runner": {"runner"},
    "ansible": {"inventory", "runner"},
    "docker": {"lab"},
    "click": {"main", "commands", "view"},
    "paramiko": {"ssh"},
    "huggingface_hub": {"artifacts"},
    "jinja2": {"report"},
    "requests": {"artifacts", "lab"},
    "zstandard": {"artifacts"},
    "yaml": {"data", "inventory", "report", "lab", "remote"},
    "cryptography": {"artifacts", "ssh"},
}
IMPURE = {
    "subprocess", "os", "time", "random", "secrets", "socket", "threading", "tempfile", "shutil",
    "pathlib", "logging",
}  # fmt: skip


def room(path: Path) -> str:
    """Name of the room that a file is in."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


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
    return "__init__" if len(parts) == 1 or parts[1] == "__version__" else parts[1]


# What runs on a gateway lies in remote, and imports nothing of ours but its like.
HOST = PACKAGE / "remote" / "host"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != HOST)


@for_each(FILES)
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


MODULES = {
    ".".join(("phi4_edge", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in FILES
}


def uses(module: str, path: Path) -> set[str]:
    """The modules of ours that one imports, wherever in the file it does so."""
    found = set()
    for name in imports(path):
        if name.startswith("phi4_edge"):
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return (found & MODULES.keys()) - {module}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules of a circle of imports, each with the next; [] where there is none."""
    done: set[str] = set()
    for start, first in arrows.items():
        way, stack = [start], [iter(sorted(first))] if start not in done else []
        while stack:
            following = next(stack[-1], None)
            if following is None:
                done.add(way.pop())
                stack.pop()
            elif following in way:
                return way[way.index(following) :]
            elif following not in done:
                way.append(following)
                stack.append(iter(sorted(arrows[following])))
    return []


def upward(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows inside core that lead to a later room."""

    def step(module: str) -> int:
        parts = module.split(".")
        return STAIRS.index(parts[2] if len(parts) > 3 or parts[2] in STAIRS else "")

    inside = [(one, other) for one in arrows for other in arrows[one] if one.count(".") > 1 and other.count(".") > 1]
    core = [pair for pair in inside if all(module.startswith("phi4_edge.core.") for module in pair)]
    return [(one, other) for one, other in core if step(other) > step(one)]


def test_no_circle_and_no_arrow_upward() -> None:
    arrows = {module: uses(module, path) for module, path in MODULES.items()}
    assert circle(arrows) == []
    assert upward(arrows) == []
    # One that is put in is found.
    assert "phi4_edge.core.text" in circle({**arrows, "phi4_edge.core.text": {"phi4_edge.core.facts.parse"}})
    back = {**arrows, "phi4_edge.core.facts.model": {"phi4_edge.core.plan.decide"}}
    assert upward(back) == [("phi4_edge.core.facts.model", "phi4_edge.core.plan.decide")]


def test_rooms_of_core_stay_small() -> None:
    sizes = {
        folder.name: len(list(folder.glob("*.py"))) for folder in [PACKAGE / "core", *(PACKAGE / "core").iterdir()]
    }
    assert max(sizes.values()) <= 20, sizes


@for_each(FILES)
def test_what_is_private_stays_in_its_room(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and target_room(node.module) != room(path):
            private = [alias.name for alias in node.names if re.match("_[a-z]", alias.name)]
            assert private == [] or not node.module.startswith("phi4_edge"), f"{path}: {node.module} {private}"


@for_each(sorted(ROOT.glob("plugins/action/*.py")))
def test_action_plugins_are_thin_adapters(path: Path) -> None:
    for module in imports(path):
        if module.split(".")[0] == "phi4_edge":
            assert target_room(module) in {"remote", "core", "credentials", "data", "content", "errors", "__init__"}, (
                f"{path.name} imports {module}"
            )
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text()


@for_each(sorted(ROOT.glob("plugins/inventory/*.py")))
def test_inventory_plugins_only_read_what_was_planned(path: Path) -> None:
    ours = {module for module in imports(path) if module.split(".")[0] == "phi4_edge"}
    rooms = {target_room(module) for module in ours - {"phi4_edge.operations.plan_file"}}
    assert rooms <= {"core", "errors"}, ours
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text()


@for_each(sorted([*ROOT.glob("roles/*/files/*.py"), *HOST.glob("*.py")]))
def test_host_scripts_need_only_the_standard_library_of_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    assert tree.body
    # Modules beside a script, those that all roles share, and the relay of ssh are sent in front of it.
    shared = {beside.stem for folder in (path.parent, HOST) for beside in folder.glob("*.py")} | {"relay"}
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
        "jinja2",
        "paramiko",
        "yaml",
        "rich",
        "huggingface_hub",
        "requests",
    }


@for_each(FILES)
def test_every_child_has_an_environment_that_was_chosen_for_it(path: Path) -> None:
    """A program that is started without one gets all of ours, whatever secret is in it."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert not called.startswith(("os.spawn", "os.posix_spawn", "os.system", "os.popen", "subprocess.get")), called
        if called in {f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output")}:
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert "env" in given, f"{path}:{node.lineno} starts a program with the whole environment"
            assert "environ" not in given["env"] or "allowed(" in given["env"] or "scrub(" in given["env"], given["env"]
    # The second one runs alone, in an environment that was chosen for it, which it hands on.
    if path.name not in {"environment.py", "forked.py"}:
        assert not re.search(r"\*\*os\.environ|dict\(os\.environ|environ\.copy\(", text), (
            f"{path} copies the environment"
        )


def test_the_molecule_folder_never_shadows_the_tool() -> None:
    assert not (ROOT / "molecule" / "__init__.py").exists()


@for_each(
    [
        *FILES,
        *HOST.glob("*.py"),
        *ROOT.glob("roles/**/*.py"),
        *(path for path in ROOT.glob("tests/**/*.py") if path.stat().st_size),
        *ROOT.glob("benchmarks/*.py"),
    ]
)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300, f"{path} has more than 300 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_tests_are_packages_that_mirror_the_code() -> None:
    tests = ROOT / "tests"
    folders = {path.parent for path in tests.rglob("*.py")} - {tests / "hostile" / "callback"}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    mirrors = {folder.relative_to(tests / "unit") for folder in folders if tests / "unit" in folder.parents}
    assert [str(each) for each in mirrors if not (PACKAGE / each).is_dir()] == ["standins"]


def test_a_file_that_breaks_a_rule_is_named_and_no_file_is_no_success() -> None:
    def check(path: Path) -> None:
        assert path.name != "wrong.py", "it is wrong"

    for_each([Path("right.py")])(check)()
    with pytest.raises(AssertionError, match=r"^wrong\.py: it is wrong"):
        for_each([Path("right.py"), Path("wrong.py")])(check)()
    with pytest.raises(AssertionError, match="found no file"):
        for_each([])(check)()
