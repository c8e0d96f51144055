"""A role's argument specification says exactly what its defaults say, for every entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.plays import ROOT

ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))
PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def specs(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_default_is_specified_and_every_optional_specification_has_a_default(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml") or {}
    options = {name: option for spec in specs(role).values() for name, option in spec.get("options", {}).items()}
    # What inventories set for us, phi4_*, has its default where it is read.
    optional = {name for name, option in options.items() if not option.get("required")}
    assert set(defaults) == {name for name in optional if not name.startswith("phi4_")}
    for name, value in defaults.items():
        # A computed default is described in words: a specification cannot hold an expression.
        computed = isinstance(value, str) and "{{" in value
        assert ("default" in options[name]) is not computed, name
        if not computed:
            assert options[name]["default"] == value, name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_options_are_complete(role: Path) -> None:
    for entry, spec in specs(role).items():
        assert (role / "tasks" / f"{entry}.yml").exists()
        assert spec["short_description"]
        for name, option in spec.get("options", {}).items():
            assert name.startswith((f"{role.name}_", "phi4_")), name
            assert option["type"] in {"bool", "dict", "float", "int", "list", "path", "raw", "str"}
            assert option["description"]


def test_every_entry_point_that_is_included_is_specified() -> None:
    for path in [*PLAYBOOKS, *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("molecule/*/*.yml")]:
        for included in included_roles(load(path)):
            if "{{" not in included["name"]:
                known = specs(ROOT / "roles" / included["name"].removeprefix("phi4_edge.edge."))
                assert included.get("tasks_from", "main") in known, f"{path}: {included}"


def included_roles(node: Any) -> list[dict[str, str]]:
    """Every include_role and import_role in a document, at any depth."""
    if isinstance(node, list):
        return [found for item in node for found in included_roles(item)]
    if not isinstance(node, dict):
        return []
    here = [node[name] for name in ("ansible.builtin.include_role", "ansible.builtin.import_role") if name in node]
    return here + [found for value in node.values() for found in included_roles(value)]


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_tasks_stay_short_and_honest(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 60
    for forbidden in ("ignore_errors", "failed_when: false", "set_fact"):
        assert forbidden not in text
