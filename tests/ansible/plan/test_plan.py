"""The plan role decides what `decide()` decides. Every fixture of tests/fixtures/hosts is a host of a single run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content, data
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from tests.ansible.plays import ROOT, Played, play, read_json, role, write_inventory, write_playbook

FIXTURES = {path.stem: path for path in sorted((ROOT / "tests" / "fixtures" / "hosts").glob("*.json"))}
MODEL = "phi-4-mini-instruct/onnx-int4"
DIGEST = "d" * 64


def decided(name: str, artifacts: Mapping[str, str], images: Mapping[str, str]) -> Plan:
    document = read_json(FIXTURES[name])
    inputs = Inputs(artifacts, content.runtimes(), images)
    return decide(parse.parse(document), data.load_table(), data.load_catalog(), Overrides.from_vars(name, {}), inputs)


# A controller that has all files: the role refuses what is not there.
WITHOUT = {name: decided(name, {MODEL: DIGEST}, {}) for name in FIXTURES}
IMAGES = {plan.image.key: "sha256:" + DIGEST for plan in WITHOUT.values() if plan.image}
ARTIFACTS = {MODEL: DIGEST} | {name: DIGEST for plan in WITHOUT.values() for name in plan.awaits if name not in IMAGES}
PLANS = {name: decided(name, ARTIFACTS, IMAGES) for name in FIXTURES}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, Path]:
    """One run over all fixtures: the facts as the probe gives them, the plan role, to a file."""
    folder = tmp_path_factory.mktemp("plan")
    for kind, key, held in (("index", "artifacts", ARTIFACTS), ("images", "images", IMAGES)):
        document = {key: {name: {"digest": digest} for name, digest in held.items()}}
        (folder / f"{kind}.json").write_text(json.dumps(document))
    hosts: dict[str, dict[str, Any]] = {name: {"fixture": str(path)} for name, path in FIXTURES.items()}
    for name, agreed in (("expected", "0" * 64), ("unnamed", None)):
        hosts[f"n150-8gb-{name}"] = {
            "fixture": str(FIXTURES["n150-8gb"]),
            "plan_expected": {f"n150-8gb-{name}": agreed},
        }
    hosts["n150-8gb-without"] = {"fixture": str(FIXTURES["n150-8gb"]), "phi4_engine": "vllm", "phi4_force": True}
    tasks = [
        {"name": "Facts", "ansible.builtin.set_fact": {
            "phi4_facts": "{{ lookup('ansible.builtin.file', fixture) | from_json }}", "cacheable": True}},
        role("plan", plan_store=str(folder)),
        {"name": "Plan", "ansible.builtin.copy": {
            "content": "{{ ansible_facts['phi4_plan'] | to_json }}", "mode": "0644",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}.json"}},
    ]  # fmt: skip
    playbook = write_playbook(folder, {"block": tasks})
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


def test_a_plan_that_had_no_name_when_it_was_agreed_to_is_no_leave_for_any(planned: tuple[Played, Path]) -> None:
    played, folder = planned
    assert not (folder / "n150-8gb-unnamed.json").exists()
    assert "needed unnamed, which was agreed to" in played.output


def test_a_release_whose_files_are_not_here_is_refused_before_a_change(planned: tuple[Played, Path]) -> None:
    played, folder = planned
    assert not (folder / "n150-8gb-without.json").exists()
    assert (
        "in the store of this controller, needed all that the release is made of. Nothing was changed" in played.output
    )
