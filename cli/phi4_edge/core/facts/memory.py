"""Memory and disk facts: totals, free space, where Docker keeps images and what our own installation takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from phi4_edge.core.facts.model import Disk, Images
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.layout import DOCKER_PATH
from phi4_edge.core.text import LARGEST, clean, integer

CONTAINERD_STORE = "io.containerd.snapshotter"
# As the probe bounds what it sends of a path.
_LONGEST_PATH = 500


@dataclass(frozen=True, slots=True)
class MemInfo:
    """What /proc/meminfo says, in bytes; None for what is absent.

    `huge_pages` are in `total`, and nobody gets them but a program that asks for huge pages by name.
    """

    total: int | None
    available: int | None
    huge_pages: int


def meminfo(sources: Sources) -> MemInfo:
    """Return the host's memory. The first of duplicated lines counts."""
    values: dict[str, int] = {}
    for line in sources.lines("meminfo"):
        key, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and (number := integer(words[0])) and number <= LARGEST // 1024:
            values.setdefault(key.strip(), number)
    if "MemTotal" not in values:
        sources.gap("meminfo", "nonsense", "no MemTotal")
    sizes = {key: number * 1024 for key, number in values.items()}
    return MemInfo(sizes.get("MemTotal"), sizes.get("MemAvailable"), _huge_pages(sources, values) * 1024)


def _huge_pages(sources: Sources, values: Mapping[str, int]) -> int:
    """Return the KiB that are set aside as huge pages until somebody sets another number of them.

    Hugetlb counts pages of every size, and kernels before 4.20 do not have it. Surplus pages come and go with the
    program that asks for them, like any other memory that is in use: a plan must not depend on them.
    """
    size = values.get("Hugepagesize", 0)
    pool = max(values.get("Hugetlb", 0), values.get("HugePages_Total", 0) * size)
    found = max(0, pool - values.get("HugePages_Surp", 0) * size)
    # MemAvailable never holds them. A container's MemTotal may be its limit and the pages the whole machine's.
    if found + values.get("MemAvailable", 0) > values.get("MemTotal", 0) and found:
        sources.gap("meminfo", "nonsense", "more huge pages than its memory can hold: they are not counted")
        return 0
    return found


# What may stand where our files go, other than nothing or a directory of ours.
STANDING = ("link", "file", "user", "closed")


# File systems without anything below them, and block devices that are memory (zram, brd).
_VOLATILE = ("tmpfs", "ramfs", "devtmpfs", "rootfs")
_MEMORY_DEVICE = re.compile(r"/dev/z?ram[0-9]+")
# A tmpfs is this share of MemTotal unless told otherwise. The kernel may report some pages less later on.
_TMPFS_SHARE, _TMPFS_SLACK = 0.5, 0.001


def images(sources: Sources) -> Images:
    """Return where Docker keeps images; documents of older versions do not tell."""
    roots: dict[str, str] = {}
    for line in (sources.text_or_none("image_roots") or "").splitlines():
        owner, _, path = line.strip().partition(" ")
        if path.startswith("/"):
            roots.setdefault(owner, clean(path, _LONGEST_PATH))
    in_containerd = CONTAINERD_STORE in sources.text("docker_info")
    docker = roots.get("docker", DOCKER_PATH)
    containerd = roots.get("containerd", docker)
    moved = in_containerd or integer(sources.text("daemon_json")) is not None
    return Images(
        path=containerd if in_containerd else docker,
        places=tuple(dict.fromkeys((docker, containerd))),
        guessed=not roots and moved,
    )


def disks(sources: Sources, mem_total: int | None, places: tuple[str, ...]) -> tuple[Disk, ...]:
    """Return the filesystems of our paths and of the `places` of images, () when none could be read."""
    paths = tuple(dict.fromkeys((sources.layout.root, sources.layout.state, *places, "/etc")))
    kinds = _kinds(sources)
    ours: dict[str, tuple[int, str]] = {}
    for line in sources.lines("our_disk"):
        path, size, there = [*line.split(), "ours"][:3] if len(line.split()) in (2, 3) else ("", "", "")
        if (taken := integer(size)) is not None:
            ours.setdefault(path, (taken, there if there in STANDING else ""))
    pools = _pools(sources)
    found: dict[str, Disk] = {}
    for line in sources.lines("disk"):
        words = line.rsplit(None, 3)
        if len(words) != 4 or (path := clean(words[0], _LONGEST_PATH)) not in paths:
            continue
        total, free = integer(words[1]), integer(words[2])
        if total is None or free is None or free > total:
            continue
        kind, device, flags = kinds.get(path, ("", "", ()))
        filesystem, (taken_by_us, standing) = clean(words[3], 64), ours.get(path, (0, ""))
        pool = pools.get(path) or _pool_of(filesystem, free, found)
        disk = Disk(
            path, total, free, filesystem, taken_by_us, pool, standing,
            memory=_memory(kind, device, total, mem_total),
            read_only="ro" in flags,
            noexec="noexec" in flags,
        )  # fmt: skip
        found.setdefault(disk.path, disk)
    if not found:
        sources.gap("disk", "nonsense", "no filesystem of ours in it")
    return tuple(found[path] for path in paths if path in found)


def _kinds(sources: Sources) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Return by path the type of its file system, the device, and how it is mounted."""
    found: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for line in (sources.text_or_none("filesystems") or "").splitlines():
        words = line.strip().split(None, 3)
        if len(words) == 4:
            found.setdefault(
                clean(words[3], _LONGEST_PATH), (clean(words[0], 32), clean(words[1], 64), tuple(words[2].split(",")))
            )
    return found


def _memory(kind: str, device: str, total: int, mem_total: int | None) -> str:
    """Return what makes a file system memory, "" where it is none.

    An overlay that was set up before the system started hides what holds its changes (Raspberry Pi's overlay file
    system), and older documents tell no types: its size is then that of a tmpfs to the page, which no disk's is.
    """
    own, colon, upper = kind.partition(":")
    if own in _VOLATILE or _MEMORY_DEVICE.fullmatch(device):
        return own if own in _VOLATILE else f"{own} on {device}"
    if upper in _VOLATILE:
        return f"an overlay on {upper}"
    hidden = not kind or (own == "overlay" and upper in ("", "?"))
    half = (mem_total or 0) * _TMPFS_SHARE
    if hidden and half and abs(total - half) <= half * _TMPFS_SLACK:
        return f"{'an overlay' if colon else 'a file system'} of exactly half the RAM, as a tmpfs is"
    return ""


def _pools(sources: Sources) -> dict[str, str]:
    """Return the pool of each path, {} for a document of a probe that did not tell."""
    lines = sources.lines("disk_pool") if sources.text_or_none("disk_pool") is not None else []
    words = (line.rsplit(None, 1) for line in lines)  # a pool has no spaces, a path may
    return {clean(pair[0], _LONGEST_PATH): clean(pair[1], 200) for pair in words if len(pair) == 2}


def _pool_of(filesystem: str, free: int, others: Mapping[str, Disk]) -> str:
    """Return the pool of a filesystem that nobody named one for.

    Two that have the same bytes free at the same moment are taken for one: to count them twice would overfill it.
    """
    alike = (disk.pool for disk in others.values() if disk.filesystem == filesystem or disk.free == free)
    return next(alike, filesystem)
