"""Does the next wave run? The truth table of docs/rollout.md, for plain Ansible and for phi4-edge, on lab hosts.

Four hosts in two waves of two. The hosts of the first wave come to every mix of outcomes; what is looked at is whether
anything was changed on the hosts of the second. Plain Ansible gets `serial: [2, 2]` and each of its safety keywords;
phi4-edge gets a budget of no failures. This is documentation, not a measurement of speed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import harness
import yaml
from harness import BenchError, Side
from verdict import RESULTS

from phi4_edge.lab import Lab

sys.path.insert(0, str(harness.ROOT))
from tests.e2e.fleet import SABOTEUR, Fleet
from tests.e2e.gateway import Cli

FIRST, SECOND = ("gw1", "gw2"), ("gw3", "gw4")
GOOD, OUTCOMES = "good", ("failed", "unreachable", "timed out", "unhealthy")
MIXES = [mix for mix in itertools.combinations_with_replacement((GOOD, *OUTCOMES), 2) if set(mix) != {GOOD}]
KEYWORDS: Mapping[str, Mapping[str, object]] = {
    "no setting": {},
    "max_fail_percentage 0": {"max_fail_percentage": 0},
    "any_errors_fatal": {"any_errors_fatal": True},
    "both": {"max_fail_percentage": 0, "any_errors_fatal": True},
}
MARK = "/run/plain-ansible-was-here"
# The same three steps that a release goes through; a host that is unhealthy fails in the last one.
STAGE = "{{ {'failed': 'exit 1', 'timed out': 'sleep 20'}[fault] | default('true') }}"
TASKS = [
    {"name": "Stage", "ansible.builtin.raw": STAGE, "timeout": 5},
    {"name": "Switch", "ansible.builtin.raw": f"sudo touch {MARK}"},
    {"name": "Probe", "ansible.builtin.raw": "{{ 'exit 1' if fault == 'unhealthy' else 'true' }}"},
]


def main() -> None:
    rows = []
    with harness.lab("truth", 4) as lab, harness.workplace() as folder:
        store = Path(os.environ.get("PHI4_EDGE_STORE", harness.ROOT / "build" / "store"))
        fleet = Fleet(lab, Cli(store, folder), folder)
        fleet.write()
        harness.say("provisioning the hosts")
        fleet.run("provision", "--yes").expect(0)
        for mix in MIXES:
            row = {name: _plain(lab, mix, keywords, folder) for name, keywords in KEYWORDS.items()}
            row["phi4-edge"] = _ours(fleet, mix)
            rows.append((mix, row))
            harness.say(f"{' + '.join(mix)}: {row}")
    _report(rows)


def _plain(lab: Lab, mix: tuple[str, str], keywords: Mapping[str, object], folder: Path) -> bool:
    """Whether plain Ansible touches the second wave."""
    harness.on_all(lab, f"rm -f {MARK}")
    wanted = {**dict.fromkeys(SECOND, GOOD), **dict(zip(FIRST, mix, strict=True))}
    lines = [
        f"{name} fault='{fault}'" + (" ansible_port=1" if fault == "unreachable" else "")
        for name, fault in sorted(wanted.items())
    ]
    (folder / "faults.ini").write_text("[gateways]\n" + "\n".join(lines) + "\n")
    play = {"hosts": "all", "gather_facts": False, "serial": [2, 2], **keywords, "tasks": TASKS}
    (folder / "plain.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    command = [
        str(harness.OURS.parent / "ansible-playbook"),
        "-i", str(lab.inventory), "-i", str(folder / "faults.ini"), str(folder / "plain.yml"),
    ]  # fmt: skip
    done = harness.run_once(Side("ansible", command, harness.ansible_settings(4)))
    if done.returncode == 1:
        raise BenchError(f"ansible-playbook did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return any(_there(lab, name) for name in SECOND)


def _there(lab: Lab, name: str) -> bool:
    return harness.on_host(lab, name, f"test -e {MARK} && echo yes || echo no").strip() == "yes"


def _ours(fleet: Fleet, mix: tuple[str, str]) -> bool:
    """Whether phi4-edge touches the second wave."""
    before = fleet.mark(SECOND)
    fleet.next_release()
    wanted = dict(zip(FIRST, mix, strict=True))
    for name, fault in wanted.items():
        if fault in ("failed", "timed out"):
            fleet.hook(name, "stage:before", "fail" if fault == "failed" else "wait")
        elif fault == "unhealthy":
            fleet.host(name).sh(SABOTEUR)
        elif fault == "unreachable":
            text = fleet.inventories[1].read_text()
            fleet.inventories[1].write_text(text.replace(f"{name} ", f"{name} ansible_port=1 "))
    options = ["--canary", "0", "--wave", "2", "--bake", "8", "--step-timeout", "10"]
    done = fleet.run("provision", "--yes", "--output", "json", *options)
    fleet.write()
    fleet.unhook(fleet.names)
    if done.code not in (4, 5):
        raise BenchError(f"{mix} ended with {done.code}:\n{done.out[-2000:]}{done.err[-2000:]}")
    return {name: fleet.trace(name) for name in SECOND} != before


def _report(rows: list[tuple[tuple[str, str], dict[str, bool]]]) -> None:
    said = {True: "RUNS", False: "stops"}
    version = subprocess.run(
        [str(harness.OURS.parent / "ansible-playbook"), "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    names = [*KEYWORDS, "phi4-edge"]
    print(f"\nDoes wave 2 run after wave 1 ended so? ({version})")
    print(f"{'wave 1':<26}" + "".join(f"{name:<24}" for name in names))
    for mix, row in rows:
        print(f"{' + '.join(mix):<26}" + "".join(f"{said[row[name]]:<24}" for name in names))
    through = {name: sum(row[name] for _, row in rows) for name in names}
    print(f"{'let through':<26}" + "".join(f"{f'{through[name]} of {len(rows)}':<24}" for name in names))
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {
        "format": "phi4-edge/truth/1",
        "ansible": version,
        "rows": [{"wave": list(m), "runs": r} for m, r in rows],
    }
    (RESULTS / "truth_table.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    harness.start(main)
