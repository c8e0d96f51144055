"""The system beneath: systemd, the kernel's control groups, and the package manager."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted


def conditions(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """Yield what is wrong with what every service of the host rests on."""
    yield from _systemd(facts)
    yield from _cgroups(facts)
    yield from _packages(facts, wanted)


def _systemd(facts: HostFacts) -> Iterator[Condition]:
    if facts.init != "systemd":
        return  # the plan says what that means
    state = facts.system.init_state
    if state in ("starting", "initializing"):
        yield Condition(
            "systemd", Level.WARNING, "the host is still starting", "a started one", "systemctl list-jobs; try later",
            passing=True,
        )  # fmt: skip
    elif state in ("maintenance", "stopping"):
        fix = "look at its console; sudo systemctl default leaves the rescue shell"
        yield Condition("systemd", Level.PROBLEM, f"systemd is in state {state}", "a running one", fix)
    elif state == "timeout":
        # Once may be a busy host; where it did not tell of our unit either, nothing can be done there.
        silent = any(gap.source == "service" and gap.kind == "timeout" for gap in facts.gaps)
        yield Condition(
            "systemd", Level.PROBLEM if silent else Level.WARNING, "systemd does not answer",
            "an answer: the service is one of its units",
            "sudo kill -TERM 1 makes it re-execute itself; if that does not help: sudo reboot -f", passing=True,
        )  # fmt: skip


def _cgroups(facts: HostFacts) -> Iterator[Condition]:
    if facts.system.controllers and "memory" not in facts.system.controllers:
        yield Condition(
            "cgroups", Level.WARNING, "the kernel has no control group for memory",
            "one: limits have no effect without it", memory_controller(facts),
        )  # fmt: skip
    if not facts.cgroup.version:
        fix = "sudo mount -t cgroup2 none /sys/fs/cgroup, or boot a kernel with control groups"
        yield Condition("cgroups", Level.WARNING, "no control groups at /sys/fs/cgroup", "version 2", fix)


def memory_controller(facts: HostFacts) -> str:
    """Return what gives the kernel a control group for memory."""
    if "raspberry" in facts.board.lower():
        file = "/boot/firmware/cmdline.txt"
        return f"sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' {file} && sudo reboot"
    return "remove cgroup_disable=memory from the kernel command line (/etc/default/grub, sudo update-grub), reboot"


def _packages(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    if facts.system.unfinished:
        # Role docker looks at it wherever containers run, also where Docker is there.
        stops = wanted.docker or wanted.installs.any
        yield Condition(
            "dpkg", Level.PROBLEM if stops else Level.WARNING, facts.system.unfinished,
            "every package fully installed", "sudo dpkg --configure -a && sudo apt-get -f install -y",
        )  # fmt: skip
