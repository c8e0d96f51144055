"""What playbooks say of each host: one line, in the words of the command, and nothing of it is obeyed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.doctor import examine
from phi4_edge.core.doctor import words as doctor_words
from phi4_edge.core.facts import lock, parse, status, words
from phi4_edge.core.rollout import words as rollout_words
from tests.ansible.plays import ROOT, Played, play, read_json, write_inventory, write_playbook
from tests.standins.rollout_documents import plan
from tests.unit.core.doctor import faults

FIXTURES = ROOT / "tests" / "fixtures"
# The last one's names are templates and escape sequences.
HOSTS = ("n150-8gb", "pi4-4gb", "xeon-rtx3060-driver570", "hostile")
FAULTS = ("healthy", "port-taken", "no-swap", "docker-snap", "no-fit", "path-link")
HELD = {
    "present": True, "id": "one", "user": "{{ 1 + 1 }}", "host": "ops1", "operation": "provision", "version": "0.1.0",
    "started": "2026-11-29T00:00:00Z", "pid": 42, "age": 3.0, "left": 27.0, "state": "held",
}  # fmt: skip


def report(**options: Any) -> dict[str, Any]:
    return {"name": f"Report {options['about']}", "phi4_edge.edge.phi4_report": options}


def facts(**found: str) -> dict[str, Any]:
    """A task that sets facts as our roles set them; each is a file named by a variable."""
    read = {name: f"{{{{ lookup('ansible.builtin.file', {path}) | from_json }}}}" for name, path in found.items()}
    return {"name": "Facts", "ansible.builtin.set_fact": {**read, "cacheable": True}}


def said(played: Played) -> list[str]:
    """What was said, in any order of the hosts; also by tasks that failed."""
    found = []
    for line in played.output.splitlines():
        if line.startswith('    "msg": '):
            found.append(json.loads(line.removeprefix('    "msg": ').rstrip(",")))
        elif line.startswith("fatal: "):
            found.append(json.loads(line.partition("=> ")[2])["msg"])
    return sorted(found)


def test_hosts_are_told_in_the_words_of_detect_and_status(tmp_path: Path) -> None:
    inventory = write_inventory(tmp_path, {name: {"path": str(FIXTURES / "hosts" / f"{name}.json")} for name in HOSTS})
    tasks = (facts(phi4_facts="path"), report(about="detect"), report(about="status"))
    played = play(write_playbook(tmp_path, *tasks), inventory)
    assert played.status == 0, played.output
    seen = [parse.parse({**read_json(FIXTURES / "hosts" / f"{name}.json"), "host": name}) for name in HOSTS]
    lines = [words.found(each.to_dict()) for each in seen]
    lines += [words.serving(status.classify(each, None).to_dict()) for each in seen]
    assert said(played) == sorted(lines)
    assert "{{ lookup('pipe','id') }}" in played.output
    assert "uid=" not in played.output
    assert "\x1b" not in played.output
    assert all(played.recap(name)["changed"] == 0 for name in HOSTS)


def case_of(name: str) -> examine.Case:
    """What the command would judge of a host called after the fault that it has."""
    case = faults.case(fault(name))
    assert case.facts is not None
    assert case.plan is not None
    return replace(case, host=name, facts=replace(case.facts, host=name), plan=replace(case.plan, host=name))


def fault(name: str) -> dict[str, Any]:
    return {"host": "n150-8gb"} if name == "healthy" else faults.load(FIXTURES / "doctor" / f"{name}.json")


@pytest.mark.parametrize("fails", [True, False])
def test_the_doctor_says_what_the_command_says_and_fails_on_a_problem(tmp_path: Path, fails: bool) -> None:
    hosts, lines, bad = {}, [], set()
    for name in FAULTS:
        case = case_of(name)
        for part, document in (("own", case.host_document), ("seen", case.facts_document)):
            (tmp_path / f"{name}-{part}.json").write_text(json.dumps({**document, "host": name}))
        hosts[name] = {part: str(tmp_path / f"{name}-{part}.json") for part in ("own", "seen")}
        hosts[name] |= {**fault(name).get("variables", {}), "phi4_doctor_fail": fails}
        *_, entry = examine.document([name], examine.examine(case), ())["hosts"]
        lines.append(doctor_words.line(entry))
        bad |= {name} if entry["level"] == "problem" else set()
    assert {"port-taken", "no-fit", "path-link"} <= bad < set(FAULTS)
    tasks = (
        facts(phi4_doctor="own", phi4_facts="seen"),
        {"name": "Report", "ansible.builtin.include_role": {"name": "phi4_edge.edge.doctor", "tasks_from": "report"}},
    )
    played = play(write_playbook(tmp_path, *tasks), write_inventory(tmp_path, hosts), PHI4_EDGE_STORE=str(tmp_path))
    assert said(played) == sorted(lines)
    assert {name for name in FAULTS if played.recap(name)["failed"]} == (bad if fails else set())
    assert played.status == (2 if fails else 0)


def test_a_host_whose_facts_are_missing_is_not_called_well(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(faults.healthy()))
    inventory = write_inventory(tmp_path, {"gw1": {"own": str(tmp_path / "own.json")}})
    task = report(about="doctor", store=str(tmp_path))
    played = play(write_playbook(tmp_path, facts(phi4_doctor="own"), task), inventory)
    (line,) = said(played)
    assert "problem facts: the probe returned no facts" in line
    assert played.status == 2


@pytest.mark.parametrize("check", [False, True])
def test_plans_ends_and_locks(tmp_path: Path, check: bool) -> None:
    made = {**plan("gw1"), "profile": "{{ 6 * 7 }}\x1b[2J"}
    for name, document in (("plan", made), ("idle", {**made, "action": "none"}), ("lock", lock.seen({"holder": HELD}))):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    paths = {name: str(tmp_path / f"{name}.json") for name in ("plan", "idle", "lock")}
    tasks = (
        facts(phi4_plan="plan", phi4_lock="lock"), report(about="plan"), report(about="provision"),
        report(about="lock"), report(about="remove", changed=True), report(about="remove", changed=False),
        facts(phi4_plan="idle"), report(about="rollback"), report(about="provision"),
    )  # fmt: skip
    options = ("--check",) if check else ()
    played = play(write_playbook(tmp_path, *tasks), write_inventory(tmp_path, {"gw1": paths}), *options)
    assert played.status == 0, played.output
    done, removed = ("would change", "would change") if check else ("provisioned", "removed")
    same = f"gw1: up to date, release {made['release']}"
    assert said(played) == sorted([
        rollout_words.planned(made), f"gw1: {done}, release {made['release']}", f"gw1: {removed}",
        "gw1: had nothing to remove", same, same,
        "gw1: held, ?? 1 + 1 ??@ops1 (provision since 2026-11-29T00:00:00Z, pid 42)",
    ])  # fmt: skip
    assert "{{ 6 * 7 }}" in played.output


@pytest.mark.parametrize(
    ("about", "needed"), [("detect", "probe"), ("doctor", "doctor"), ("plan", "plan"), ("lock", "lock")]
)
def test_without_its_fact_a_report_says_which_role_sets_it(tmp_path: Path, about: str, needed: str) -> None:
    played = play(write_playbook(tmp_path, report(about=about)), write_inventory(tmp_path, {"gw1": {}}))
    assert played.status == 2
    assert f"include phi4_edge.edge.{needed} before this task" in played.output
    assert "Traceback" not in played.output
