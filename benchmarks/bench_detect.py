"""B4: what N hosts are, against `ansible -m setup` and pyinfra's facts."""

from __future__ import annotations

import json
from pathlib import Path

import harness
from harness import BenchError, Side
from verdict import Goal, report

from phi4_edge.lab import Lab

_MIB = 1024**2
# Architecture, CPUs, memory, operating system, disks, graphics, Docker: what `detect` reads, with pyinfra's own facts
# where it has them. One fact is one command on the host.
PYINFRA_FACTS = """\
import json
from pathlib import Path
from pyinfra import host
from pyinfra.facts import hardware, server, systemd

found = {
    "arch": host.get_fact(server.Arch),
    "kernel": host.get_fact(server.KernelVersion),
    "release": host.get_fact(server.LinuxDistribution),
    "cpus": host.get_fact(hardware.Cpus),
    "memory": host.get_fact(hardware.Memory),
    "disks": host.get_fact(hardware.BlockDevices),
    "pci": host.get_fact(server.Command, "cat /sys/bus/pci/devices/*/class 2>/dev/null || true"),
    "docker": host.get_fact(server.Command, "docker --version 2>/dev/null || true"),
    "service": host.get_fact(systemd.SystemdStatus),
}
Path(OUT, host.data.lab_name).write_text(json.dumps([found["arch"], found["cpus"], found["memory"]]))
"""

MACHINE = "uname -m; nproc; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"
Seen = dict[str, tuple[str, int, int]]  # host → architecture, CPUs, memory in MiB


def main() -> None:
    chosen = harness.options("Detect", hosts=8)
    ansible = harness.peer(harness.ANSIBLE) / "ansible"
    with harness.lab("detect", chosen.hosts) as lab, harness.workplace() as folder:
        inventory = str(lab.inventory)
        facts, seen = folder / "facts", folder / "seen"
        seen.mkdir()
        deploy = folder / "facts.py"
        deploy.write_text(f"OUT = {str(seen)!r}\n{PYINFRA_FACTS}")
        sides = [
            Side(
                "phi4-edge detect",
                [str(harness.OURS), "detect", inventory, "--output", "json"],
                check=lambda done: _compare(_ours(done.stdout), lab),
            ),
            Side(
                "ansible -m setup",
                [str(ansible), "all", "-i", inventory, "-m", "setup", "--tree", str(facts)],
                harness.ansible_settings(chosen.hosts),
                lambda _: _compare(_ansible(facts), lab),
            ),
            Side(
                "pyinfra facts",
                harness.pyinfra_command(harness.pyinfra_inventory(lab, folder), deploy),
                check=lambda _: _compare(_pyinfra(seen), lab),
            ),
        ]
        samples = harness.take_turns(sides, chosen.pairs, lab, before=lambda _: _clear(facts, seen))
        _half_is_seen(lab)
    goals = [Goal("phi4-edge detect", "ansible -m setup", 4), Goal("phi4-edge detect", "pyinfra facts", 1.5)]
    report("detect", f"B4 detect, {chosen.hosts} hosts", samples, goals, chosen.hosts, full=chosen.full)


def _clear(*folders: Path) -> None:
    for path in (path for folder in folders if folder.is_dir() for path in folder.iterdir()):
        path.unlink()


def _ours(text: str) -> Seen:
    document = json.loads(text)
    return {
        host["host"]: (host["architecture"], host["cpu"]["processors"], host["mem_total"] // _MIB)
        for host in document["hosts"]
    }


def _ansible(folder: Path) -> Seen:
    facts = {path.name: json.loads(path.read_text())["ansible_facts"] for path in folder.iterdir()}
    names = ("ansible_architecture", "ansible_processor_nproc", "ansible_memtotal_mb")
    return {host: (str(found[names[0]]), int(found[names[1]]), int(found[names[2]])) for host, found in facts.items()}


def _pyinfra(folder: Path) -> Seen:
    return {path.name: tuple(json.loads(path.read_text())) for path in folder.iterdir()}


def _compare(seen: Seen, lab: Lab) -> None:
    """Every side must have seen the same machine: what the host says itself, read past SSH."""
    for host, text in harness.on_all(lab, MACHINE).items():
        arch, cpus, kib = text.split()
        wanted = (arch, int(cpus), int(kib) // 1024)
        found = seen.get(host)
        # Megabytes are rounded differently, and pyinfra counts CPUs of the machine.
        if found is None or found[0] != arch or found[1] < wanted[1] or abs(found[2] - wanted[2]) > 8:
            raise BenchError(f"{host} is {wanted}, a side found {found}")


def _half_is_seen(lab: Lab) -> None:
    """A side that found half of the memory is objected to."""
    halves = {}
    for host, text in harness.on_all(lab, MACHINE).items():
        arch, cpus, kib = text.split()
        halves[host] = (arch, int(cpus), int(kib) // 2048)
    try:
        _compare(halves, lab)
    except BenchError:
        return
    raise BenchError("the check passes on half of the memory")


if __name__ == "__main__":
    harness.start(main)
