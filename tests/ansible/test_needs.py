"""A role that needs what another role finds out says which one to include first, before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ansible.plays import Played, play, role, write_inventory, write_playbook

PLAN = "found no fact phi4_plan, needed it; include phi4_edge.edge.probe and phi4_edge.edge.plan before this role"
FACTS = "found no fact phi4_facts, needed it; include phi4_edge.edge.probe before this role"
NEEDS = {
    **dict.fromkeys(("artifact", "onnx", "ollama", "vllm", "webui", "service", "health", "receipt"), PLAN),
    "plan apply": PLAN,
    "trust present": PLAN,
    "plan": FACTS,
    "receipt status": FACTS,
    "nvidia_runtime": FACTS,
    "nvidia_runtime driver": FACTS,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Every one of these roles on a host of which nothing is known."""
    folder = tmp_path_factory.mktemp("needs")
    tasks = []
    for name in NEEDS:
        noun, _, entry = name.partition(" ")
        task = role(noun, **{"nvidia_runtime_driver_install": entry == "driver"})
        task["ansible.builtin.include_role"] |= {"tasks_from": entry} if entry else {}
        tasks.append({"name": name, "block": [task], "rescue": [said(name)]})
    return play(write_playbook(folder, *tasks), write_inventory(folder, {"here": {}}))


def said(name: str) -> dict[str, object]:
    return {"name": "What it said", "ansible.builtin.debug": {"msg": f"<{name}> {{{{ ansible_failed_result.msg }}}}"}}


@pytest.mark.parametrize("name", NEEDS)
def test_a_role_says_what_it_needs(played: Played, name: str) -> None:
    assert f"<{name}> {NEEDS[name]}" in played.output, played.output[-4000:]


def test_nothing_was_changed(played: Played, tmp_path: Path) -> None:
    counts = played.recap("here")
    assert (counts["changed"], counts["failed"], counts["rescued"]) == (0, 0, len(NEEDS))
