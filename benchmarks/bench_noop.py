"""B1: `provision` again on N hosts, nothing to do, against the same state in plain Ansible tasks and in pyinfra.

The peers check what a hand-written playbook would: the unit, its settings, the links of the release, the model's files
and the service. They do not look at the engine's thousands of files, at the host's hardware, or whether the plan is
still the right one, which `provision` does; that is to their advantage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import harness
from harness import BenchError, Done, Side
from verdict import Goal, report

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


def main() -> None:
    chosen = harness.options("Provision again", hosts=4)
    with harness.lab("noop", chosen.hosts) as lab, harness.workplace() as folder:
        harness.say("provisioning for the first time")
        command = [str(harness.OURS), "provision", str(lab.inventory), "--yes", *harness.AT_ONCE]
        harness.finish(Side("provision", command))
        harness.on_all(lab, f"timeout 60 sh -c 'until systemctl is-active -q {UNIT}; do sleep 1; done'")
        state, before = _read(lab, folder / "copies"), harness.on_all(lab, STATE)
        sides = [_ours(lab, before), _ansible(lab, folder, state, before), _pyinfra(lab, folder, state, before)]
        samples = harness.take_turns(sides, chosen.pairs, lab)
        _all_notice(lab, sides)
    goals = [Goal(sides[0].name, sides[1].name, 10), Goal(sides[0].name, sides[2].name, 2)]
    report("noop", f"B1 nothing to do, {chosen.hosts} hosts, cold SSH", samples, goals, chosen.hosts)


def _read(lab: Lab, copies: Path) -> State:
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


def _untouched(lab: Lab, before: dict[str, str], said: str, times: int, done: Done) -> None:
    """Raises BenchError unless the side says of each host that nothing was to do, and nothing was done."""
    output = done.stdout + done.stderr
    if output.count(said) != times:
        raise BenchError(f"needed {said!r} {times} times, found:\n{output[-3000:]}")
    for host, text in harness.on_all(lab, STATE).items():
        if text != before[host]:
            raise BenchError(f"{host} was changed by a run that had nothing to do:\n{before[host]}\nnow:\n{text}")


def _ours(lab: Lab, before: dict[str, str]) -> Side:
    command = [str(harness.OURS), "provision", str(lab.inventory), "--yes", "--output", "json"]
    check = partial(_untouched, lab, before, '"outcome": "unchanged"', len(lab.hosts))
    return Side("phi4-edge provision", command, check=check)


def _ansible(lab: Lab, folder: Path, state: State, before: dict[str, str]) -> Side:
    """One plain task per file, link and service, with what is wanted in host variables."""
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
    tasks.append({"ansible.builtin.systemd_service": {"name": UNIT, "state": "started", "enabled": True}})
    (folder / "noop.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    hosts = {
        host: {"sums": state.sums[host], "links": state.links[host], "sizes": state.sizes[host]} for host in state.sums
    }
    (folder / "wanted.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    playbook = harness.peer(harness.ANSIBLE) / "ansible-playbook"
    inventories = ["-i", str(lab.inventory), "-i", str(folder / "wanted.json")]
    check = partial(_untouched, lab, before, "changed=0    unreachable=0    failed=0", len(lab.hosts))
    settings = harness.ansible_settings(len(lab.hosts))
    return Side("ansible tasks", [str(playbook), *inventories, str(folder / "noop.yml")], settings, check)


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


def _pyinfra(lab: Lab, folder: Path, state: State, before: dict[str, str]) -> Side:
    """One operation per file, link and service; pyinfra reads all facts first and runs hosts in parallel."""
    model = [Path(path).name for path in next(iter(state.sizes.values()))]
    values = {
        "CONTENT": CONTENT, "COPIES": str(state.copies), "LINKS": state.links, "UNIT": UNIT,
        "MODEL": [f"{state.links[lab.hosts[0].name][LINKS[2]]}/{name}" for name in model],
    }  # fmt: skip
    deploy = folder / "noop.py"
    deploy.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()) + PYINFRA)
    pyinfra = harness.peer(harness.PYINFRA) / "pyinfra"
    command = [str(pyinfra), "-y", str(harness.pyinfra_inventory(lab, folder)), str(deploy)]
    times = len(lab.hosts) * (len(CONTENT) + len(LINKS) + len(model) + 1)
    return Side("pyinfra operations", command, check=partial(_untouched, lab, before, "] No changes", times))


def _all_notice(lab: Lab, sides: list[Side]) -> None:
    """A side that would not see a damaged file measures nothing: each must object to one."""
    host, path = lab.hosts[0].name, f"/opt/phi4-edge/current/{UNIT}"
    for side in sides:
        harness.on_host(lab, host, f"cp -p {path} /var/tmp/kept-by-benchmark; echo '# damaged' >> {path}")
        try:
            side.check(harness.finish(side))
        except BenchError:
            harness.say(f"{side.name} notices a damaged file")
        else:
            raise BenchError(f"{side.name} did not notice a damaged file: its time means nothing")
        finally:
            harness.on_host(lab, host, f"cat /var/tmp/kept-by-benchmark > {path}; rm /var/tmp/kept-by-benchmark")


if __name__ == "__main__":
    harness.start(main)
