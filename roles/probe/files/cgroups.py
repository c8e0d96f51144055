"""The limits of control groups: of those that the probe runs in, and of those that a service of systemd's will.

Python 3.8, standard library. The two differ: a login is in a group of its own, below user.slice where PAM made it a
session, and limits on logins say nothing about services.
"""

from __future__ import annotations

import os
from typing import Iterator, List, Optional, Tuple

from hosttools import Gap, ranges
from rooted import Root

TOP = "/sys/fs/cgroup"
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as the largest page-aligned number
# Where systemd may be itself, below the group that it was given to manage.
OWN_GROUPS = ("/init.scope", "/system.slice")
SERVICES = "/system.slice"
# Kind of a line, and the files that hold its numbers.
Limit = Tuple[str, Tuple[str, ...]]
V2: Tuple[Limit, ...] = (("memory", ("memory.max",)), ("memory.high", ("memory.high",)), ("cpu", ("cpu.max",)))
MEMORY: Tuple[Limit, ...] = (("memory", ("memory.limit_in_bytes",)),)
CPU: Tuple[Limit, ...] = (("cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")),)
# What is left of the CPUs after every limit above.
CPUSET = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")


def limits(root: Root) -> str:
    """The version, then the limits of the groups that this process is in."""
    lines = []
    mode = version(root)
    for mount, inside, wanted in groups(root, mode, "/proc/self/cgroup"):
        folders = list(ancestors(root, mount, inside))
        lines += [line(root, folder, each) for each in wanted for folder in folders]
    return "\n".join([mode, *(each for each in lines if each)])


def service_limits(root: Root) -> str:
    """The version, then the limits of the groups that a system service is in, whoever asks."""
    if root.read("/proc/1/comm").strip() != "systemd":
        raise Gap("missing", "PID 1 is not systemd")
    lines: List[Optional[str]] = []
    mode = version(root)
    for mount, inside, wanted in groups(root, mode, "/proc/1/cgroup"):
        folders = list(ancestors(root, mount, services(root, mount, inside)))
        lines += [line(root, folder, each) for each in wanted for folder in folders]
        if not wanted or mode == "v2":
            lines.append(cpuset(root, folders))
    return "\n".join([mode, *(each for each in lines if each)])


def service_affinity() -> str:
    """The CPUs that systemd starts programs on: those of a login may have been chosen for it alone."""
    return ranges(os.sched_getaffinity(1))


def version(root: Root) -> str:
    if os.path.exists(root.top + TOP + "/cgroup.controllers"):
        return "v2"
    if os.path.isdir(root.top + TOP + "/memory") or os.path.isdir(root.top + TOP + "/cpu"):
        return "hybrid" if os.path.isdir(root.top + TOP + "/unified") else "v1"
    raise Gap("missing", TOP)


def groups(root: Root, mode: str, path: str) -> Iterator[Tuple[str, str, Tuple[Limit, ...]]]:
    """Mount, group of the process and limits to read, for each hierarchy that limits anything; cpuset has no limits."""
    for entry in root.read(path).split("\n"):
        _, controllers, inside = [*entry.split(":", 2), "", ""][:3]
        names = set(controllers.split(","))
        if mode == "v2":
            if not controllers and inside:
                yield TOP, inside, V2
            continue
        for name, wanted in (("memory", MEMORY), ("cpu", CPU), ("cpuset", ())):
            if name in names:
                yield TOP + "/" + name, inside, wanted


def services(root: Root, mount: str, inside: str) -> str:
    """The group of system services, given that of systemd."""
    for own in OWN_GROUPS:
        if inside.endswith(own):
            inside = inside[: -len(own)]
            break
    inside = "" if inside == "/" else inside
    # A container may see the path that the machine knows it by, with its own group mounted at the top.
    return inside + SERVICES if os.path.isdir(root.top + mount + inside) else SERVICES


def ancestors(root: Root, mount: str, inside: str) -> Iterator[str]:
    """The folders from a group up to the mount's root; a path of another namespace is skipped."""
    while True:
        folder = (mount + inside).rstrip("/")
        if ".." not in inside and os.path.isdir(root.top + folder):
            yield folder
        if inside in ("", "/"):
            return
        inside = os.path.dirname(inside)


def line(root: Root, folder: str, limit: Limit) -> Optional[str]:
    kind, names = limit
    try:
        words = " ".join(root.read(folder + "/" + name).strip() for name in names).split()
    except OSError:
        return None  # the root group has no limits of its own
    if not words:
        return None
    if (names[0].startswith("memory.limit") and int(words[0]) >= UNLIMITED) or words[0] == "-1":
        words[0] = "max"
    return " ".join([kind, "".join(folder.split()), *words])


def cpuset(root: Root, folders: List[str]) -> Optional[str]:
    """The CPUs of the innermost group that has a set: it holds those above already."""
    for folder in folders:
        for name in CPUSET:
            if os.path.exists(root.top + folder + "/" + name):
                return " ".join(["cpuset", "".join(folder.split()), "".join(root.read(folder + "/" + name).split())])
    return None
