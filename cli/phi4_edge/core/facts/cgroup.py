"""The limits of control groups on what will run as a service, which need not be those on the login that looked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean, integer

VERSIONS = ("v1", "v2", "hybrid")
SYSTEMD = "systemd"
# Where system services are, and Docker's containers with its driver for systemd.
SERVICES = "system.slice"
_MOUNT = "/sys/fs/cgroup"
# What each kind of line is called among the files of a group: in version 2, in version 1.
_SETTINGS = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "memory.high": ("memory.high", "memory.high"),
    "cpu": ("cpu.max", "cpu.cfs_quota_us"),
    "cpuset": ("cpuset.cpus", "cpuset.cpus"),
}
_UNIT = re.compile(r".+\.(?:slice|scope|service|socket|mount|swap)")
# Groups that a machine's systemd makes and in which a container's begins.
_CONTAINER = re.compile(
    r"(?:docker|podman|libpod|crio|cri-containerd|lxc|machine)-.+\.scope|systemd-nspawn@.+\.service"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limit of each kind (None: unlimited), and the setting and group that it is from.

    `cpuset`: a list of CPUs, "" where the document tells of none. `of_service`: the host was asked for the groups of a
    service, and did not send those of the login only.
    """

    version: str
    memory: int | None
    memory_by: str
    quota: float | None
    quota_by: str
    cpuset: str
    cpuset_by: str
    of_service: bool


@dataclass(frozen=True, slots=True)
class _Line:
    kind: str
    group: str
    values: tuple[str, ...]
    by: str


def limits(sources: Sources, init: str) -> Limits:
    """Return the limits on a service of the host whose PID 1 is `init`.

    "max" (v2), -1 and 0 mean unlimited; v1's "unlimited" is a number larger than any memory, which the
    comparison with MemTotal later drops.
    """
    asked, of_service = sources.lines("cgroup"), False
    if init == SYSTEMD and (sources.text_or_none("service_cgroup") or "").strip():
        asked, of_service = sources.lines("service_cgroup"), True
    version = asked[0] if asked and asked[0] in VERSIONS else ""
    if asked and not version:
        sources.gap("service_cgroup" if of_service else "cgroup", "nonsense", "unknown version")
    lines = [line for line in (_line(text, version) for text in asked[1:]) if line is not None]
    if init == SYSTEMD and not of_service:
        lines = _of_services(lines)
    memory, memory_by = min(((size, line.by) for line in lines if (size := _memory(line))), default=(None, ""))
    quota, quota_by = min(((cpus, line.by) for line in lines if (cpus := _quota(line))), default=(None, ""))
    cpuset, cpuset_by = next(((line.values[0], line.by) for line in lines if line.kind == "cpuset"), ("", ""))
    return Limits(version, memory, memory_by, quota, quota_by, cpuset, cpuset_by, of_service)


def _line(text: str, version: str) -> _Line | None:
    kind, *rest = text.split()
    if kind not in _SETTINGS or len(rest) < 2:
        return None
    # In version 1 each controller has a tree of its own.
    tree = rest[0].removeprefix(_MOUNT)
    group = (tree if version == "v2" or tree == rest[0] else "/" + tree[1:].partition("/")[2]).rstrip("/") or "/"
    setting = _SETTINGS[kind][0 if version == "v2" else 1]
    return _Line(kind, group, tuple(rest[1:]), f"{setting} of cgroup {clean(group, 200)}")


def _memory(line: _Line) -> int | None:
    return integer(line.values[-1]) if line.kind in ("memory", "memory.high") else None


def _quota(line: _Line) -> float | None:
    if line.kind != "cpu" or len(line.values) < 2:
        return None
    quota, period = integer(line.values[-2]), integer(line.values[-1])
    return quota / period if quota and period else None


def _of_services(lines: Sequence[_Line]) -> list[_Line]:
    """Return the lines that are about services too, of those about a login: what is above both, and system.slice.

    Documents of older versions have no others.
    """
    top = _top(max((line.group for line in lines), key=len, default="/"))
    services = f"{top.rstrip('/')}/{SERVICES}"
    return [line for line in lines if line.group == services or f"{top}/".startswith(f"{line.group.rstrip('/')}/")]


def _top(group: str) -> str:
    """Return the group that systemd was given, above a group somewhere below it: the root, or that of a container."""
    names = group.strip("/").split("/")
    inside = max((at + 1 for at, name in enumerate(names) if _CONTAINER.fullmatch(name)), default=0)
    first = next((at for at in range(inside, len(names)) if _UNIT.fullmatch(names[at])), len(names))
    return "/" + "/".join(names[:first])
