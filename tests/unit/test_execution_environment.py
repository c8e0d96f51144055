"""The definition of the execution environment, as far as it can be checked without building an image."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from phi4_edge import __version__

ROOT = Path(__file__).parents[2]
TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
STEPS = [f"{when}_{stage}" for when in ("prepend", "append") for stage in ("base", "galaxy", "builder", "final")]


def table(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


PIP = table(("package_pip",), package_pip={"type": "string", "pattern": r"^[a-z-]+==[0-9.]+$"})
# What ansible-builder's documentation says of version 3 of the format.
SCHEMA = table(
    ("version", "images", "dependencies"),
    version={"const": 3},
    build_arg_defaults=table(
        ANSIBLE_GALAXY_CLI_COLLECTION_OPTS={"type": "string"}, ANSIBLE_GALAXY_CLI_ROLE_OPTS={"type": "string"}
    ),
    dependencies=table(
        python=TEXTS,
        galaxy={"type": ["string", "object"]},
        system=TEXTS,
        python_interpreter=table(package_system={"type": "string"}, python_path={"type": "string"}),
        ansible_core=PIP,
        ansible_runner=PIP,
    ),
    images=table(("base_image",), base_image=table(("name",), name={"type": "string"})),
    additional_build_files={
        "type": "array",
        "items": table(("src", "dest"), src={"type": "string"}, dest={"type": "string"}),
    },
    additional_build_steps=table(**dict.fromkeys(STEPS, TEXTS)),
    options={"type": "object"},
)


@pytest.fixture
def definition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    return found


@pytest.fixture
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_it_is_a_definition_of_version_3(definition: dict[str, Any]) -> None:
    jsonschema.validate(definition, SCHEMA)


def test_ansible_is_what_the_project_locks(definition: dict[str, Any], project: dict[str, Any]) -> None:
    pinned = {definition["dependencies"][name]["package_pip"] for name in ("ansible_core", "ansible_runner")}
    locked = (ROOT / "requirements" / "runtime.lock").read_text()
    assert all(f"{wanted} " in locked for wanted in pinned)
    ranged = [re.split(r"[<>=]", wanted)[0] for wanted in project["dependencies"]]
    assert {wanted.split("==")[0] for wanted in pinned} <= set(ranged)


def test_the_base_image_and_its_python_are_named_by_version(
    definition: dict[str, Any], project: dict[str, Any]
) -> None:
    assert re.search(r":\d[\w.]*(@sha256:[0-9a-f]{64})?$", definition["images"]["base_image"]["name"])
    python = definition["dependencies"]["python_interpreter"]
    assert python["python_path"] == f"/usr/bin/{python['package_system']}"
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    assert tuple(map(int, python["package_system"].removeprefix("python").split("."))) >= least


def test_files_that_it_takes_are_there_or_are_what_is_built(definition: dict[str, Any]) -> None:
    sources = [Path(line["src"]) for line in definition["additional_build_files"]]
    (wheel,) = [source for source in sources if source.suffix == ".whl"]
    assert wheel.name == f"phi4_edge-{__version__}-py3-none-any.whl"
    assert all((ROOT / source).is_file() for source in sources if source != wheel)
    steps = "\n".join(definition["additional_build_steps"]["append_final"])
    for source, line in zip(sources, definition["additional_build_files"], strict=True):
        assert f"/usr/share/{line['dest']}/{source.name}" in steps
    text = (ROOT / "execution-environment.yml").read_text()
    assert f"--wheel-dir {wheel.parent}" in text
    assert f"phi4-edge-ee:{__version__}" in text


def test_what_it_sets_is_what_roles_need(definition: dict[str, Any]) -> None:
    steps = definition["additional_build_steps"]["append_final"]
    settings = dict(step.removeprefix("ENV ").split("=", 1) for step in steps if step.startswith("ENV "))
    assert settings["ANSIBLE_INJECT_FACT_VARS"] == "False"
    defaults = (ROOT / "roles" / "plan" / "defaults" / "main.yml").read_text()
    assert "PHI4_EDGE_STORE" in settings
    assert "PHI4_EDGE_STORE" in defaults
    assert any("--require-hashes" in step for step in steps)
