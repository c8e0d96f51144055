"""Tags of the playbooks reach every task that is included, and `phi4_hosts` says which hosts a playbook is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.ansible.plays import ROOT, Played, play, write_inventory

PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))
# A host on which nothing can be done: its Python ends at once, so whatever asks it first fails.
MUTE = {"ansible_python_interpreter": "/bin/false", "ansible_become": False}
PROBE, DECIDE, LOCK = "Read what the host says about itself", "Decide what this host shall run", "Take the lock"


def tasks(played: Played) -> list[str]:
    """The tasks that ran, without the roles' names."""
    return [name.rpartition(" : ")[2] for name in re.findall(r"^TASK \[(.*)\]", played.output, re.MULTILINE)]


@pytest.mark.parametrize(
    ("tags", "ran", "not_run"),
    [("detect", [PROBE], [DECIDE, LOCK]), ("plan", [PROBE, DECIDE], [LOCK]), ("detect,plan", [PROBE, DECIDE], [LOCK])],
)
def test_provision_looks_and_plans_without_changing_anything(
    tmp_path: Path, tags: str, ran: list[str], not_run: list[str]
) -> None:
    hosts = write_inventory(tmp_path, {"gw1": {"ansible_become": False, "plan_store": str(tmp_path)}})
    played = play(ROOT / "playbooks" / "provision.yml", hosts, "--tags", tags)
    found = tasks(played)
    assert [name for name in found if name in (PROBE, DECIDE)] == ran, played.output[-3000:]
    assert not [name for name in found if any(name.startswith(word) for word in not_run)]
    assert played.recap("gw1")["changed"] == 0


@pytest.mark.parametrize(
    ("name", "tags", "first"),
    [
        ("provision", "apply", LOCK),
        ("rollback", "apply", LOCK),
        ("rollback", "plan", "Read the previous release's plan"),
        ("remove", "apply", LOCK),
        ("bake", "apply", LOCK),
        ("detect", "detect", PROBE),
        ("doctor", "detect", "Look for what would be in the way"),
        ("status", "detect", PROBE),
        ("lock", "detect", "Look who holds the host"),
    ],
)
def test_a_tag_runs_what_is_deep_in_roles(tmp_path: Path, name: str, tags: str, first: str) -> None:
    hosts = write_inventory(tmp_path, {"gw1": MUTE})
    played = play(ROOT / "playbooks" / f"{name}.yml", hosts, "--tags", tags)
    assert any(task.startswith(first) for task in tasks(played)), played.output[-3000:]
    assert played.recap("gw1")["failed"] + played.recap("gw1").get("ignored", 0) > 0


LISTED = {(): {"gw1", "gw2", "gw3"}, ("-e", "phi4_hosts=gw2:gw3"): {"gw2", "gw3"}}


@pytest.mark.parametrize(("options", "named"), LISTED.items(), ids=["all", "some"])
def test_every_playbook_is_for_phi4_hosts(options: tuple[str, ...], named: set[str], tmp_path: Path) -> None:
    hosts = write_inventory(tmp_path, {"gw1": {}, "gw2": {}, "gw3": {}, "lb1": {}})
    balancers = hosts.with_name("balancers.ini")
    balancers.write_text("[balancers]\nlb1\n")
    options = ("-i", str(balancers), *options)
    first, *others = map(str, PLAYBOOKS)
    listed = play(Path(first), hosts, *others, "--list-hosts", *options)
    said = re.split(r"^playbook: ", listed.output, flags=re.MULTILINE)[1:]
    assert [text.splitlines()[0] for text in said] == [str(path) for path in PLAYBOOKS], listed.output
    for path, text in zip(PLAYBOOKS, said, strict=True):
        # Hosts of the group balancers have no engine, and one playbook of their own.
        wanted = {"lb1"} if path.stem == "balance" and len(named) > 2 else named
        assert set(re.findall(r"^\s+(gw\d|lb\d)$", text, re.MULTILINE)) == wanted, text


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_says_so_and_has_tags(path: Path) -> None:
    [document] = yaml.safe_load(path.read_text())
    everyone = "groups['all'] | difference(groups['balancers'] | default([]))"
    usual = "'balancers'" if path.stem == "balance" else everyone
    assert document["hosts"] == f"{{{{ phi4_hosts | default({usual}) }}}}"
    assert set(document.get("tags", ["detect", "apply"])) <= {"detect", "plan", "apply"}


def test_phi4_hosts_on_a_command_line_is_no_wish_of_a_host(tmp_path: Path) -> None:
    hosts = write_inventory(tmp_path, {name: {"ansible_become": False, "plan_store": "/none"} for name in ("a", "b")})
    played = play(ROOT / "playbooks" / "provision.yml", hosts, "--tags", "plan", "-e", "phi4_hosts=b")
    assert tasks(played)[-1] == DECIDE or DECIDE in tasks(played)
    assert "is not a variable of phi4-edge" not in played.output
    assert "\na " not in played.output.split("PLAY RECAP")[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/main.yml")), ids=lambda path: path.parts[-3])
def test_every_task_of_a_role_has_a_tag_and_hands_it_to_what_it_includes(path: Path) -> None:
    wanted = {"probe": {"detect", "plan", "apply"}, "plan": {"plan", "apply"}, "doctor": set()}
    for task in yaml.safe_load(path.read_text()):
        tags = wanted.get(path.parts[-3], {"apply"})
        assert set(task.get("tags", [])) >= tags, task["name"]
        included = task.get("ansible.builtin.include_tasks")
        if included is not None:
            assert set(included["apply"]["tags"]) == tags, task["name"]


ROLES = ("docker", "ollama", "webui", "service")


@pytest.mark.parametrize("name", ROLES)
def test_a_role_of_a_play_is_selected_by_its_tag_down_to_what_it_includes(tmp_path: Path, name: str) -> None:
    playbook = tmp_path / "site.yml"
    playbook.write_text(f"- hosts: all\n  gather_facts: false\n  roles: [phi4_edge.edge.{name}]\n")
    hosts = write_inventory(tmp_path, {"gw1": MUTE})
    # The first step of these says itself when no plan exists.
    first = "Assert" if name not in ("docker", "service") else ""
    chosen = tasks(play(playbook, hosts, "--tags", "apply"))
    assert [task for task in chosen if first in task and not task.startswith("Validating")], chosen


def test_a_role_of_a_play_is_left_out_by_another_tag(tmp_path: Path) -> None:
    playbook = tmp_path / "site.yml"
    plays = [{"hosts": "all", "gather_facts": False, "roles": [f"phi4_edge.edge.{name}"]} for name in ROLES]
    playbook.write_text(yaml.safe_dump(plays))
    others = play(playbook, write_inventory(tmp_path, {"gw1": MUTE}), "--tags", "detect")
    assert others.output.count("\nPLAY [") == len(ROLES)
    assert [task for task in tasks(others) if not task.startswith("Validating")] == []
