"""What an inventory sets for the roles of a plan is held to their specifications before any of them does a thing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ansible.plays import Played, play, write_inventory, write_playbook

# The last is no role of ours: what a host kept as its plan names none but ours.
STEPS = ["artifact", "service", "health", "receipt", "../../../etc"]
HOSTS: dict[str, dict[str, Any]] = {
    "well": {"health_start_seconds": 30, "artifact_retries": "4"},
    "word": {"health_start_seconds": "soon", "artifact_retries": "many"},
    "other": {"docker_is_no_role_of_this_plan": 1, "nvidia_runtime_driver_install": "perhaps"},
    "template": {"health_start_seconds": "{{ 'so' ~ 'on' }}"},
    "unknown": {"health_start_seconds": "{{ ansible_facts['phi4_gate']['seconds'] }}"},
    "unplanned": {"steps": []},
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("arguments")
    plan = {"phi4_plan": {"steps": STEPS}, "cacheable": True}
    tasks = [
        {"name": "Plan", "ansible.builtin.set_fact": plan, "when": "inventory_hostname != 'unplanned'"},
        {"name": "Check", "phi4_edge.edge.phi4_arguments": {"plan": "{{ ansible_facts['phi4_plan'] | default({}) }}"}},
        {"name": "Go on", "ansible.builtin.debug": {"msg": "went on with {{ inventory_hostname }}"}},
    ]
    return play(write_playbook(folder, *tasks), write_inventory(folder, HOSTS))


@pytest.mark.parametrize("host", ["well", "other", "unknown"])
def test_what_is_as_specified_goes_on(played: Played, host: str) -> None:
    """So does what is of no role of the plan, and what is made of facts that are found later."""
    assert f'went on with {host}"' in played.output, played.output


@pytest.mark.parametrize(
    ("host", "wrong"),
    [("word", ["health_start_seconds", "artifact_retries"]), ("template", ["health_start_seconds"])],
)
def test_what_is_not_ends_the_host_with_role_and_name(played: Played, host: str, wrong: list[str]) -> None:
    assert f"went on with {host}" not in played.output
    said = next(line for line in played.output.splitlines() if line.startswith(f"fatal: [{host}]"))
    for name in wrong:
        assert f"role {name.partition('_')[0]}: argument '{name}' is of type" in said


def test_a_host_without_a_plan_says_what_is_missing(played: Played) -> None:
    said = next(line for line in played.output.splitlines() if line.startswith("fatal: [unplanned]"))
    assert "found no fact phi4_plan, needed it; include phi4_edge.edge.probe and phi4_edge.edge.plan" in said
