"""What this controller has left: memory and disk, in bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from phi4_edge.errors import ArtifactError

_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2^63


def memory_available(root: Path = Path("/")) -> int:
    """Bytes that a new process can use: MemAvailable, or what is left below a cgroup limit when that is less.

    Raises ArtifactError where the kernel does not say (no /proc/meminfo).
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError) as error:
        raise ArtifactError(
            "cannot read MemAvailable from /proc/meminfo; models are converted on a Linux controller"
        ) from error
    return min([kilobytes * 1024, *_cgroup_rooms(root)])


def disk_free(path: Path) -> int:
    """Free bytes of the filesystem that holds `path` or its nearest existing ancestor."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(existing).free


def require_disk(path: Path, need: int, purpose: str) -> None:
    """Raise ArtifactError when the filesystem of `path` has fewer than `need` bytes free for `purpose`."""
    if (found := disk_free(path)) < need:
        raise ArtifactError(
            f"{purpose} needs {gigabytes(need)} of disk, {path} has {gigabytes(found)} free. "
            "Free some, or set PHI4_EDGE_STORE to a folder on a larger disk."
        )


def require_memory(need: int, purpose: str) -> None:
    """Raise ArtifactError when fewer than `need` bytes of memory are available for `purpose`."""
    if (found := memory_available()) < need:
        raise ArtifactError(
            f"{purpose} needs {gigabytes(need)} of memory, this controller has {gigabytes(found)} available. "
            "Stop other programs or run this on a larger machine, then copy its store."
        )


def gigabytes(size: int) -> str:
    """`size` bytes for people, in decimal gigabytes."""
    return f"{size / 1e9:.1f} GB"


def _cgroup_rooms(root: Path) -> list[int]:
    """Limit minus use of every memory cgroup above this process (v1 and v2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rooms = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            rooms += _rooms(root / "sys/fs/cgroup", path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            rooms += _rooms(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return rooms


def _rooms(mount: Path, path: str, limit_name: str, use_name: str) -> list[int]:
    rooms = []
    folder = mount / path.lstrip("/")
    for level in (folder, *folder.parents):
        try:
            limit = int((level / limit_name).read_text(encoding="ascii"))
            use = int((level / use_name).read_text(encoding="ascii")) - _reclaimable(level)
        except (OSError, ValueError):  # no such file in a root cgroup, or "max"
            limit, use = _UNLIMITED, 0
        if limit < _UNLIMITED:
            rooms.append(max(limit - use, 0))
        if level == mount:
            break
    return rooms


def _reclaimable(level: Path) -> int:
    """Bytes of page cache that the kernel drops before it refuses memory; the use of a cgroup counts them too."""
    try:
        lines = (level / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    # v1 has a sum over the groups below it; in v2 the plain name is that sum.
    return int(found.get("total_inactive_file", found.get("inactive_file", "0")))
