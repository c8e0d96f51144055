"""The state that `provision` leaves on a host, read past SSH, and three programs that look whether it is still so.

The peers check what a hand-written playbook would: the unit, its settings, the links of the release, the model's files
and the service. They do not look at the engine's thousands of files, at the host's hardware, or whether the plan is
still the right one, which `provision` does; that is to their advantage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import harness
from harness import BenchError, Damage, Done, Side

from phi4_edge.lab import Lab

UNIT = "phi4-edge.service"
# Written by provisioning, small, hashed by every side.
CONTENT = (
    f"/etc/systemd/system/{UNIT}",
    f"/opt/phi4-edge/current/{UNIT}",
    "/opt/phi4-edge/current/environment",
    "/opt/phi4-edge/current/plan.json",
    "/var/lib/phi4-edge/receipt.json",
)
LINKS = ("/opt/phi4-edge/current", "/opt/phi4-edge/current/engine", "/opt/phi4-edge/current/model")
# What must be equal before and after every run, read past SSH and past every side.
STATE = f"""\
sha256sum {" ".join(CONTENT)}
readlink {" ".join(LINKS)}
stat -L -c '%n %s %Y %i' /opt/phi4-edge/current/model/* /opt/phi4-edge/engines
systemctl show {UNIT} -p ActiveState,UnitFileState,MainPID,NRestarts
"""
READ = f"""\
sha256sum {" ".join(CONTENT)} | sed 's/^/sum /'
for link in {" ".join(LINKS)}; do echo "link $(readlink $link) $link"; done
stat -L -c 'size %s %n' /opt/phi4-edge/current/model/*
"""


@dataclass(frozen=True)
class State:
    """Of each host: SHA-256 of small files, targets of links, sizes of model files; where copies of the files are."""

    sums: dict[str, dict[str, str]]
    links: dict[str, dict[str, str]]
    sizes: dict[str, dict[str, int]]
    copies: Path


def read(lab: Lab, copies: Path) -> State:
    """What is on the hosts now; copies of the small files go below `copies`."""
    state = State({}, {}, {}, copies)
    for host, text in harness.on_all(lab, READ).items():
        lines = [line.split(maxsplit=2) for line in text.splitlines()]
        state.sums[host] = {path: value for kind, value, path in lines if kind == "sum"}
        state.links[host] = {path: value for kind, value, path in lines if kind == "link"}
        state.sizes[host] = {path: int(value) for kind, value, path in lines if kind == "size"}
        for path in CONTENT:
            copy = copies / host / path.replace("/", "_")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(harness.on_host(lab, host, f"cat {path}"))
    return state


def untouched(lab: Lab, before: Mapping[str, str], said: str, times: int, done: Done) -> None:
    """Raises BenchError unless the side says of each host that nothing was to do, and nothing was done."""
    output = done.stdout + done.stderr
    if output.count(said) != times:
        raise BenchError(f"needed {said!r} {times} times, found:\n{output[-3000:]}")
    for host, text in harness.on_all(lab, STATE).items():
        if text != before[host]:
            raise BenchError(f"{host} was changed by a run that had nothing to do:\n{before[host]}\nnow:\n{text}")


def sides(lab: Lab, folder: Path) -> tuple[Side, Side, Side, Side]:
    """Ours; Ansible's cold, then with SSH connections that are there already; pyinfra's, which always connects anew."""
    state, before = read(lab, folder / "copies"), harness.on_all(lab, STATE)
    cold = _ansible(lab, folder, state, before)
    again = [str(harness.peer(harness.ANSIBLE) / "ansible"), "all", "-i", str(lab.inventory)]
    warm = Side(
        "ansible tasks, warm", cold.command, {**cold.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp")},
        cold.check, [*again, "-m", "ansible.builtin.raw", "-a", "true"],
    )  # fmt: skip
    return _ours(lab, before), cold, warm, _pyinfra(lab, folder, state, before)


def _ours(lab: Lab, before: Mapping[str, str]) -> Side:
    command = [str(harness.OURS), "provision", str(lab.inventory), "--yes", "--output", "json"]
    check = partial(untouched, lab, before, '"outcome": "unchanged"', len(lab.hosts))
    return Side("phi4-edge provision", command, check=check)


def _ansible(lab: Lab, folder: Path, state: State, before: Mapping[str, str]) -> Side:
    """One plain task per file, link and service, with what is wanted in host variables."""
    tasks = [*tasks_of(state), {"ansible.builtin.systemd_service": {"name": UNIT, "state": "started", "enabled": True}}]
    (folder / "noop.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [harness.playbook_command(), "-i", str(lab.inventory), "-i", str(wanted(state, folder))]
    check = partial(untouched, lab, before, "changed=0    unreachable=0    failed=0", len(lab.hosts))
    return Side("ansible tasks", [*command, str(folder / "noop.yml")], harness.ansible_settings(len(lab.hosts)), check)


def wanted(state: State, folder: Path) -> Path:
    """An inventory with what the tasks want of each host."""
    hosts = {
        host: {"sums": state.sums[host], "links": state.links[host], "sizes": state.sizes[host]} for host in state.sums
    }
    path = folder / "wanted.json"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return path


def tasks_of(state: State) -> list[dict[str, object]]:
    """A plain task per file and link."""
    tasks: list[dict[str, object]] = []
    for path in CONTENT:
        stat = {"path": path, "checksum_algorithm": "sha256", "get_mime": False, "get_attributes": False}
        failed = f"not found.stat.exists or found.stat.checksum != sums['{path}']"
        tasks.append({"ansible.builtin.stat": stat, "register": "found", "failed_when": failed})
    for path in LINKS:
        link = {"path": path, "state": "link", "src": "{{ links['%s'] }}" % path, "follow": False}  # noqa: UP031
        tasks.append({"ansible.builtin.file": link})
    for path in next(iter(state.sizes.values())):
        stat = {"path": path, "get_checksum": False, "get_mime": False, "get_attributes": False, "follow": True}
        failed = f"not found.stat.exists or found.stat.size != sizes['{path}']"
        tasks.append({"ansible.builtin.stat": stat, "register": "found", "failed_when": failed})
    return tasks


PYINFRA = """\
from pyinfra import host
from pyinfra.operations import files, systemd

here = host.data.lab_name
for path in CONTENT:
    files.put(src=f"{COPIES}/{here}/{path.replace('/', '_')}", dest=path)
for path, target in LINKS[here].items():
    files.link(path=path, target=target)
for path in MODEL:
    files.file(path=path)
systemd.service(service=UNIT, running=True, enabled=True)
"""


def _pyinfra(lab: Lab, folder: Path, state: State, before: Mapping[str, str]) -> Side:
    """One operation per file, link and service; pyinfra reads all facts first and runs hosts in parallel."""
    model = [Path(path).name for path in next(iter(state.sizes.values()))]
    values = {
        "CONTENT": CONTENT, "COPIES": str(state.copies), "LINKS": state.links, "UNIT": UNIT,
        "MODEL": [f"{state.links[lab.hosts[0].name][LINKS[2]]}/{name}" for name in model],
    }  # fmt: skip
    deploy = folder / "noop.py"
    deploy.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()) + PYINFRA)
    times = len(lab.hosts) * (len(CONTENT) + len(LINKS) + len(model) + 1)
    check = partial(untouched, lab, before, "] No changes", times)
    command = harness.pyinfra_command(harness.pyinfra_inventory(lab, folder), deploy)
    return Side("pyinfra operations", command, check=check)


# Nothing that a run would repair: the check is called with the output of a run that is over.
CURRENT = f"/opt/phi4-edge/current/{UNIT}"
DAMAGE = Damage(
    f"cp -p {CURRENT} /var/tmp/kept-by-benchmark; echo '# damaged' >> {CURRENT}",
    f"cat /var/tmp/kept-by-benchmark > {CURRENT}; rm /var/tmp/kept-by-benchmark",
)
