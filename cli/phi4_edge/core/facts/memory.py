"""Memory and disk facts: totals, cgroup limits, free space and what our own installation takes."""

from __future__ import annotations

from collections.abc import Mapping

from phi4_edge.core.facts.model import Cgroup, Disk
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.layout import DOCKER_PATH, MODELS_PATH, RELEASES_PATH
from phi4_edge.core.text import LARGEST, clean, integer

VERSIONS = ("v1", "v2", "hybrid")
_PATHS = (RELEASES_PATH, MODELS_PATH, DOCKER_PATH, "/etc")


def meminfo(sources: Sources) -> tuple[int | None, int | None]:
    """Return (MemTotal, MemAvailable) in bytes; None for what is absent. The first of duplicated lines counts."""
    values: dict[str, int] = {}
    for line in sources.lines("meminfo"):
        key, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and (kib := integer(words[0])) and kib <= LARGEST // 1024:
            values.setdefault(key.strip(), kib * 1024)
    if "MemTotal" not in values:
        sources.gap("meminfo", "nonsense", "no MemTotal")
    return values.get("MemTotal"), values.get("MemAvailable")


def cgroup(sources: Sources) -> tuple[Cgroup, float | None]:
    """Return the cgroup and the CPU quota (number of CPUs), both the tightest of the process and its ancestors.

    "max" (v2), -1 and 0 mean unlimited; v1's "unlimited" is a number larger than any memory, which the
    comparison with MemTotal later drops.
    """
    lines = sources.lines("cgroup")
    limits: list[int] = []
    quotas: list[float] = []
    for line in lines[1:]:
        words = line.split()
        if words[0] == "memory" and len(words) >= 3 and (limit := integer(words[-1])):
            limits.append(limit)
        elif words[0] == "cpu" and len(words) >= 4:
            quota, period = integer(words[-2]), integer(words[-1])
            if quota and period:
                quotas.append(quota / period)
    version = lines[0] if lines and lines[0] in VERSIONS else ""
    if lines and not version:
        sources.gap("cgroup", "nonsense", "unknown version")
    return Cgroup(version, min(limits, default=None)), min(quotas, default=None)


# What may stand where our files go, other than nothing or a directory of ours.
STANDING = ("link", "file", "user")


def disks(sources: Sources) -> tuple[Disk, ...]:
    """Return the filesystems of our paths, () when none could be read."""
    ours: dict[str, tuple[int, str]] = {}
    for line in sources.lines("our_disk"):
        path, size, there = [*line.split(), "ours"][:3] if len(line.split()) in (2, 3) else ("", "", "")
        if (taken := integer(size)) is not None:
            ours.setdefault(path, (taken, there if there in STANDING else ""))
    pools = _pools(sources)
    found: dict[str, Disk] = {}
    for line in sources.lines("disk"):
        words = line.rsplit(None, 3)
        if len(words) != 4 or words[0] not in _PATHS:
            continue
        total, free = integer(words[1]), integer(words[2])
        if total is None or free is None or free > total:
            continue
        filesystem, (taken_by_us, standing) = clean(words[3], 64), ours.get(words[0], (0, ""))
        pool = pools.get(words[0]) or _pool_of(filesystem, free, found)
        found.setdefault(words[0], Disk(words[0], total, free, filesystem, taken_by_us, pool, standing))
    if not found:
        sources.gap("disk", "nonsense", "no filesystem of ours in it")
    return tuple(found[path] for path in _PATHS if path in found)


def _pools(sources: Sources) -> dict[str, str]:
    """Return the pool of each path, {} for a document of a probe that did not tell."""
    lines = sources.lines("disk_pool") if sources.text_or_none("disk_pool") is not None else []
    words = (line.split(None, 1) for line in lines)
    return {pair[0]: clean(pair[1], 200) for pair in words if len(pair) == 2}


def _pool_of(filesystem: str, free: int, others: Mapping[str, Disk]) -> str:
    """Return the pool of a filesystem that nobody named one for.

    Two that have the same bytes free at the same moment are taken for one: to count them twice would overfill it.
    """
    alike = (disk.pool for disk in others.values() if disk.filesystem == filesystem or disk.free == free)
    return next(alike, filesystem)
