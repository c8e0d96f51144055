"""The plan role decides what `decide()` decides, and what the templates make of it is checked in as golden files.

Every fixture of tests/fixtures/hosts is one host of a single playbook run. To accept a change of the golden files, look
at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/ansible/test_roles_plan.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_support import ROOT, Played, play, read_json, role, write_inventory, write_playbook

from phi4_edge import content, data
from phi4_edge.core import facts
from phi4_edge.core.overrides import Overrides
from phi4_edge.core.plan import Inputs, Plan, decide
from phi4_edge.core.receipt import OUR_DESCRIPTION

FIXTURES = {path.stem: path for path in sorted((ROOT / "tests" / "fixtures" / "hosts").glob("*.json"))}
GOLDEN = ROOT / "tests" / "golden"
MODEL = "phi-4-mini-instruct/onnx-int4"
DIGEST = "d" * 64
RENDERED = {
    "phi4-edge.service": "service/templates/phi4-edge.service.j2",
    "environment": "onnx/templates/environment.j2",
}


def decided(name: str) -> Plan:
    document = read_json(FIXTURES[name])
    inputs = Inputs(artifacts={MODEL: DIGEST}, runtimes=content.runtimes())
    return decide(facts.parse(document), data.load_table(), data.load_catalog(), Overrides.from_vars(name, {}), inputs)


def native(plan: Plan) -> bool:
    return plan.applicable and plan.engine == "onnx" and not plan.blockers


PLANS = {name: decided(name) for name in FIXTURES}
NATIVE = [name for name, plan in PLANS.items() if native(plan)]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, Path]:
    """One run over all fixtures: the facts as the probe gives them, the plan role, then the release's files."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "index.json").write_text(json.dumps({"artifacts": {MODEL: {"digest": DIGEST}}}))
    hosts: dict[str, dict[str, Any]] = {name: {"fixture": str(path)} for name, path in FIXTURES.items()}
    hosts["n150-8gb-expected"] = {
        "fixture": str(FIXTURES["n150-8gb"]),
        "plan_expected": {"n150-8gb-expected": "0" * 64},
    }
    templates = {name: str(ROOT / "roles" / path) for name, path in RENDERED.items()}
    tasks = [
        {"name": "Facts", "ansible.builtin.set_fact": {
            "phi4_facts": "{{ lookup('ansible.builtin.file', fixture) | from_json }}", "cacheable": True}},
        role("plan", plan_store=str(folder)),
        {"name": "Plan", "ansible.builtin.copy": {
            "content": "{{ ansible_facts['phi4_plan'] | to_json }}", "mode": "0644",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}.json"}},
        {"name": "Files", "ansible.builtin.template": {
            "src": "{{ item.value }}", "mode": "0644",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}.{{{{ item.key }}}}"},
         "loop": "{{ templates | dict2items }}", "when": "ansible_facts['phi4_plan']['engine'] == 'onnx'"},
    ]  # fmt: skip
    playbook = write_playbook(folder, {"block": tasks, "vars": {"templates": templates}})
    text = playbook.read_text().replace(
        "gather_facts: false",
        f"gather_facts: false\n  vars_files: [{ROOT}/roles/service/vars/main.yml, {ROOT}/roles/onnx/vars/main.yml]",
    )
    playbook.write_text(text)
    return play(playbook, write_inventory(folder, hosts), "--forks", "2"), folder


@pytest.mark.parametrize("name", FIXTURES)
def test_both_callers_get_the_same_plan(planned: tuple[Played, Path], name: str) -> None:
    played, folder = planned
    plan = PLANS[name]
    path = folder / f"{name}.json"
    if plan.applicable and not plan.blockers:
        assert path.exists(), played.output[-4000:]
        assert Plan.from_dict(read_json(path)) == plan
    else:
        assert not path.exists()
        assert played.recap(name)["failed"] == 1


def test_a_host_that_cannot_be_served_says_why(planned: tuple[Played, Path]) -> None:
    output = planned[0].output
    assert "nothing fits this host" in output
    assert "the plan cannot be applied" in output


def test_a_plan_that_nobody_agreed_to_is_refused(planned: tuple[Played, Path]) -> None:
    played, folder = planned
    assert not (folder / "n150-8gb-expected.json").exists()
    assert "needed 000000000000, which was agreed to" in played.output


def normal(text: str, plan: Plan) -> str:
    """The text without what every change of the engine's code changes: the names of release and environment."""
    assert plan.release
    return text.replace(plan.release, "r-000000000000")


@pytest.mark.parametrize("kind", RENDERED)
@pytest.mark.parametrize("name", NATIVE)
def test_rendered_files_are_the_golden_ones(planned: tuple[Played, Path], name: str, kind: str) -> None:
    text = normal((planned[1] / f"{name}.{kind}").read_text(), PLANS[name])
    golden = GOLDEN / name / kind
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


def test_there_is_no_golden_file_without_its_host() -> None:
    assert {path.parent.name for path in GOLDEN.glob("*/phi4-edge.service")} == set(NATIVE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", NATIVE)
def test_units_are_readable_by_systemd_and_closed(name: str) -> None:
    unit = GOLDEN / name / "phi4-edge.service"
    read = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    complaints = [
        line for line in read.stderr.splitlines()
        # The command is not installed on this machine; two settings are younger than Debian 12's systemd.
        if "phi4-edge" in line and not any(known in line for known in ("is not executable", "'Restart"))
    ]  # fmt: skip
    assert complaints == []
    closed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=21", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert closed.returncode == 0, closed.stdout[-2000:] + closed.stderr


def test_every_unit_of_ours_is_recognised_by_its_description() -> None:
    units = sorted(GOLDEN.glob("*/*.service"))
    assert units
    for unit in units:
        assert f"Description={OUR_DESCRIPTION}" in unit.read_text()
