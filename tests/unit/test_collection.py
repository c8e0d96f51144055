"""The Ansible collection: one version everywhere, full names, documentation, and no name that is somebody else's."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge import __version__, ansible_version, content
from phi4_edge.core.plan.overrides import EXTRA, PASSED, VARIABLES, Overrides
from phi4_edge.errors import HostFailedError, PreflightError
from phi4_edge.remote import collection

ROOT = content.root()
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
PLUGINS = sorted((ROOT / "plugins" / "action").glob("*.py"))
PLAYS = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/*/*.yml")]
KEYWORDS = {
    "always", "args", "become", "block", "changed_when", "check_mode", "delay", "delegate_to", "failed_when",
    "ignore_errors", "loop", "loop_control", "name", "no_log", "notify", "register", "rescue", "retries",
    "run_once", "tags", "timeout", "until", "vars", "when", "environment",
}  # fmt: skip
# What inventories have for other people's roles: geerlingguy.docker's README, and kubespray's defaults for Docker.
FOREIGN = set(yaml.safe_load((ROOT / "tests" / "fixtures" / "foreign_variables.yml").read_text()))
# What an inventory, a playbook or the command line tool may set beside phi4_*: the role's own name comes first.
HANDED = re.compile(r"__[a-z_]+|lock_operation|nvidia_runtime_\w+")


def documents(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def tasks(found: Any) -> Iterator[dict[str, Any]]:
    """Every task in a file of tasks or plays, also those in blocks."""
    for entry in found if isinstance(found, list) else []:
        if not isinstance(entry, dict):
            continue
        if "hosts" in entry or "block" in entry:
            for part in ("tasks", "pre_tasks", "block", "rescue", "always"):
                yield from tasks(entry.get(part))
        else:
            yield entry


def specs(role: str) -> dict[str, Any]:
    return dict(documents(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"])


def public(role: str) -> set[str]:
    """Names that somebody outside may set for a role."""
    defaults = ROOT / "roles" / role / "defaults" / "main.yml"
    named = {name for spec in specs(role).values() for name in spec.get("options") or {}}
    return named | set(documents(defaults) or {} if defaults.is_file() else {})


def test_one_version_and_one_range_of_ansible_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ansible-core{ansible_version.RANGE}" in project["dependencies"]
    low, high = documents(ROOT / "meta" / "runtime.yml")["requires_ansible"].split(",")
    assert f"{low.removesuffix('.0')},{high.removesuffix('.0')}" == ansible_version.RANGE
    assert documents(ROOT / "galaxy.yml")["version"] == __version__
    assert __version__ in documents(ROOT / "changelogs" / "changelog.yaml")["releases"]
    assert project["license"] == " AND ".join(documents(ROOT / "galaxy.yml")["license"])
    texts = {path.stem for path in (ROOT / "LICENSES").iterdir()}
    assert texts == set(documents(ROOT / "galaxy.yml")["license"])


@pytest.mark.parametrize("version", ["2.16.19", "2.22.0", "3.0", "2", "two.three"])
def test_another_version_of_ansible_is_one_sentence(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: version)
    with pytest.raises(
        PreflightError, match=f"found ansible-core {version}, needed >=2.17,<2.22: pip install"
    ) as caught:
        ansible_version.check()
    assert caught.value.exit_code == 3


def test_without_ansible_it_is_one_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(PreflightError, match="found ansible-core none"):
        ansible_version.check()


@pytest.mark.parametrize("version", ["2.17.0", "2.18.19", "2.19.14", "2.20.1b1", "2.21.5"])
def test_versions_of_the_range_pass(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: version)
    ansible_version.check()


def test_the_command_says_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "ansible_core-2.16.3.dist-info").mkdir()
    (tmp_path / "ansible_core-2.16.3.dist-info" / "METADATA").write_text("Name: ansible-core\nVersion: 2.16.3\n")
    (tmp_path / "hosts.ini").write_text("gw1\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from phi4_edge.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "detect", "hosts.ini"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: found ansible-core 2.16.3"), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"), [('{"collection_info": {"version": "9.9.9"}}', "9.9.9"), ("no JSON", ""), ("", "")]
)
def test_a_collection_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    folder = tmp_path / "plugins" / "action"
    folder.mkdir(parents=True)
    (tmp_path / "MANIFEST.json").write_text(text)
    (folder / "of_elsewhere.py").write_text("class ActionModule:\n    pass\n")
    monkeypatch.syspath_prepend(str(folder))
    plugin = __import__("of_elsewhere").ActionModule()
    monkeypatch.delitem(sys.modules, "of_elsewhere", raising=False)
    monkeypatch.setitem(sys.modules, "of_elsewhere", type("Module", (), {"__file__": str(folder / "of_elsewhere.py")}))
    if not said:
        collection.check(plugin)
        return
    with pytest.raises(HostFailedError, match=rf"found collection phi4_edge.edge {said} and package phi4-edge"):
        collection.check(plugin)


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_every_plugin_is_documented_with_all_of_its_options(path: Path) -> None:
    texts = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "plugins" / "modules" / path.name).read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found = yaml.safe_load(texts["DOCUMENTATION"])
    assert found["module"] == path.stem
    (taken,) = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_VALID_ARGS"
    ]
    assert isinstance(taken, ast.Call)
    options: dict[str, Any] = dict(found.get("options") or {})
    for name in found.get("extends_documentation_fragment") or ():
        shared = fragments()[name]
        assert not set(shared) & set(options), f"{name} says it too"
        options |= shared
    assert set(options) == {each.value for each in ast.walk(taken.args[0]) if isinstance(each, ast.Constant)}
    for name, option in options.items():
        assert set(option) <= {"description", "type", "required", "choices", "default", "elements"}, name
    (example,) = yaml.safe_load(texts["EXAMPLES"])
    assert set(example[f"phi4_edge.edge.{path.stem}"]) <= set(options)
    assert yaml.safe_load(texts["RETURN"])


def fragments() -> dict[str, dict[str, Any]]:
    """Options that several modules have, by the name that a module gives for them."""
    found = {}
    for path in ROOT.glob("plugins/doc_fragments/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = f"phi4_edge.edge.{path.stem}.{node.targets[0].id.lower()}"
                found[name] = yaml.safe_load(ast.literal_eval(node.value))["options"]
    return found


def test_what_several_modules_have_is_documented_once() -> None:
    texts = [(ROOT / "plugins" / "modules" / path.name).read_text() for path in PLUGINS]
    assert {name for text in texts for name in re.findall(r"phi4_edge\.edge\.options\.\w+", text)} == set(fragments())
    for name in fragments():
        assert sum(f"- {name}\n" in text for text in texts) > 1, name


def test_ansible_doc_shows_every_module_with_what_is_shared() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "-t", "module", "-j",
         *(f"phi4_edge.edge.{path.stem}" for path in PLUGINS)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(content.collections()), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert set(shown) == {f"phi4_edge.edge.{path.stem}" for path in PLUGINS}
    assert shown["phi4_edge.edge.phi4_image"]["doc"]["options"]["staging"]["required"] is True
    assert "links" in shown["phi4_edge.edge.phi4_vllm"]["doc"]["options"]


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_role_and_module_is_called_by_its_full_name(path: Path) -> None:
    found = documents(path)
    for task in tasks(found):
        bare = [key for key in task if "." not in key and key not in KEYWORDS]
        assert bare == [], f"{path}: {task.get('name')}"
        for key in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            if key in task:
                assert str(task[key]["name"]).startswith("phi4_edge.edge."), f"{path}: {task.get('name')}"
                handed = [name for name in task.get("vars") or {} if not HANDED.fullmatch(name)]
                assert handed == [] or path.parts[-3] == "molecule", f"{path}: what roles hand each other is private"
    for play in found if isinstance(found, list) else []:
        names = [each["role"] for each in play.get("roles", [])] if isinstance(play, dict) else []
        assert all(name.startswith("phi4_edge.edge.") for name in names), path


@pytest.mark.parametrize("role", ROLES)
def test_no_role_owns_a_name_of_somebody_else(role: str) -> None:
    assert public(role) & FOREIGN == set()


def test_every_variable_of_an_inventory_is_in_the_specs_with_its_default() -> None:
    named = {
        name: option
        for role in ROLES
        for spec in specs(role).values()
        for name, option in (spec.get("options") or {}).items()
    }
    assert {*VARIABLES, *PASSED} - {"phi4_hosts"} <= set(named)
    assert {name for name in named if name.startswith("phi4_")} <= {*VARIABLES, *PASSED, *EXTRA}
    options = specs("plan")["main"]["options"]
    assert set(VARIABLES) <= set(options)
    # What the specs say is what happens where nothing is said.
    wishes = {name: options[name]["default"] for name in VARIABLES}
    assert Overrides.from_vars("gw1", wishes) == Overrides(host="gw1")
    assert set(EXTRA) <= set(named) | {name for name in EXTRA if name.startswith("webui_")}


def test_read_me_files_of_roles_are_made_from_their_specs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "role-readmes"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
