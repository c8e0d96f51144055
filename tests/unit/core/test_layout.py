"""Paths, units and addresses of a host are written down in core/layout.py alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core import layout

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "cli" / "phi4_edge"
# Told to a host as it is, where nothing of ours can be imported: held to the layout below.
ON_THE_HOST = {*(PACKAGE / "remote" / "host").glob("*.py"), PACKAGE / "ssh" / "relay.py"}
# Units and settings are whole texts, which golden files show.
ENGINES = set((PACKAGE / "core" / "engines").glob("*.py"))
ELSEWHERE = sorted({*PACKAGE.rglob("*.py")} - ON_THE_HOST - ENGINES - {PACKAGE / "core" / "layout.py"})
LAID_DOWN = re.compile(r"(?:/opt|/var/lib)/phi4-edge|phi4-edge[a-z-]*\.(?:service|socket)|^127\.0\.0\.1$")


def texts(path: Path) -> Iterator[str]:
    """Every text of a module that is no docstring."""
    tree = ast.parse(path.read_text())
    said = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_writes_them_down(path: Path) -> None:
    assert [text for text in texts(path) if LAID_DOWN.search(text)] == []


def test_one_that_is_written_down_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""At /opt/phi4-edge."""\nX = f"{y}/var/lib/phi4-edge/models"\nZ = "127.0.0.1"\n')
    assert [text for text in texts(module) if LAID_DOWN.search(text)] == ["127.0.0.1", "/var/lib/phi4-edge/models"]


def constant(path: str, name: str) -> Any:
    """What a script that runs on the host calls `name`."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == name:
            return ast.literal_eval(node.value)
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for one, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(one, ast.Name) and one.id == name:
                    return ast.literal_eval(value)
    raise AssertionError(f"{path} has no {name}")


HOST = "cli/phi4_edge/remote/host"
ROLES = sorted([*ROOT.glob("roles/*/vars/main.yml"), *ROOT.glob("roles/*/defaults/main.yml")])
SAID = re.compile(r"phi4_(root|state) \| default\('([^']*)'\)")


def test_roles_have_the_same_directories_unless_the_inventory_says_others() -> None:
    found = [pair for path in ROLES for pair in SAID.findall(path.read_text())]
    assert {name for name, _ in found} == {"root", "state"}
    assert set(found) == set(layout.STANDARD.to_dict().items())
    for path in (
        *ROLES,
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/files/*.py"),
        *ROOT.glob("playbooks/*"),
    ):
        left = SAID.sub("", path.read_text()).replace("/var/lib/phi4-edge-create", "")
        assert not re.search(r"(?:/opt|/var/lib)/phi4-edge", left), path
        assert re.search(r"phi4_(?:root|state)\b", left) is None, path


def test_every_role_that_uses_one_specifies_it() -> None:
    for path in ROLES:
        for name, value in SAID.findall(path.read_text()):
            main = yaml.safe_load((path.parents[1] / "meta" / "argument_specs.yml").read_text())["argument_specs"][
                "main"
            ]
            assert main["options"][f"phi4_{name}"]["default"] == value, path


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (f"{HOST}/hostlayout.py", "NAMING", (layout.UNIT, layout.WEBUI_UNIT, layout.LOAD_UNIT)),
        (f"{HOST}/hostlayout.py", "IN_ROOT", layout.IN_ROOT),
        (f"{HOST}/hostlayout.py", "IN_STATE", layout.IN_STATE),
        (f"{HOST}/hostunit.py", "MAIN", layout.UNIT),
        (f"{HOST}/hostunit.py", "SOCKET", layout.SOCKET_UNIT),
        (f"{HOST}/hostunit.py", "WEBUI", layout.WEBUI_UNIT),
        (f"{HOST}/hostunit.py", "LOAD", layout.LOAD_UNIT),
        (f"{HOST}/hostunit.py", "REHEARSAL", layout.REHEARSAL_UNIT),
        (f"{HOST}/hostunit.py", "PROJECTS", (layout.PROJECT, layout.WEBUI_PROJECT, layout.REHEARSAL_PROJECT)),
        (f"{HOST}/hostjournal.py", "REHEARSAL", layout.REHEARSAL_UNIT),
        ("cli/phi4_edge/ssh/relay.py", "UNIT", layout.UNIT),
        ("cli/phi4_edge/ssh/relay.py", "SOCKET_UNIT", layout.SOCKET_UNIT),
        (f"{HOST}/hostunit.py", "GUARD", layout.GUARD_UNIT),
        (f"{HOST}/hostunit.py", "MEASURE", layout.MEASURE_UNIT),
        (f"{HOST}/hostunit.py", "HEALING", (layout.HEAL_UNIT, layout.HEAL_TIMER)),
        (f"{HOST}/hostaround.py", "UNITS", layout.UNITS),
        ("roles/service/files/heal.py", "UNITS", layout.UNITS),
        (
            "roles/probe/files/probe.py",
            "UNITS",
            (
                layout.UNIT,
                layout.SOCKET_UNIT,
                layout.LOAD_UNIT,
                "docker.service",
                layout.HEAL_TIMER,
                layout.GATEWAY_UNIT,
                layout.GUARD_UNIT,
            ),
        ),
        ("roles/ollama/files/load.py", "UNIT", layout.UNIT),
        ("roles/gateway/files/metrics_served.py", "MEASURE", f"/run/{layout.MEASURE_RUN}/socket"),
    ],
)
def test_what_runs_on_the_host_calls_things_the_same(path: str, name: str, value: Any) -> None:
    assert constant(path, name) == value
