"""From the probe's sources: how the system beneath stands, as far as it may be in the way."""

from __future__ import annotations

from phi4_edge.core.facts.model import Mount, Packages
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.layout import DPKG_PATH
from phi4_edge.core.text import clean, integer

# More than any host has of each; the rest of a longer list is not read.
MOST_LINES, MOST_NAMES = 64, 12


def mounts(sources: Sources) -> dict[str, Mount]:
    """Return by path how it is mounted, {} for a document of a probe that did not tell."""
    found: dict[str, Mount] = {}
    for line in (sources.text_or_none("mount_points") or "").splitlines()[:MOST_LINES]:
        words = line.strip().split(None, 4)
        numbers = [integer(word) for word in words[:2]]
        if len(words) == 5 and words[4].startswith("/") and None not in numbers:
            total, free = numbers
            # A file system that makes inodes as it needs them (btrfs) has no number of them.
            left, read_only = free if total else None, "ro" in words[2].split(",")
            found.setdefault(words[3], Mount(clean(words[4], 200), left, read_only))
    return found


def packages(sources: Sources, mounted: dict[str, Mount]) -> Packages:
    """Return how Debian's package manager stands; nothing is wrong where there is none, or where nobody looked."""
    kind, _, names = (sources.text_or_none("package_state") or "").strip().partition(" ")
    dpkg = mounted.get(DPKG_PATH)
    said = {
        "interrupted": "dpkg was interrupted",
        "unfinished": f"half-installed packages: {', '.join(clean(names, 400).split()[:MOST_NAMES])}",
    }
    return Packages(said.get(kind, ""), dpkg is not None and dpkg.read_only)


def controllers(sources: Sources) -> frozenset[str] | None:
    """Return the control groups that the kernel has, None where nobody could tell."""
    words = (sources.text_or_none("cgroup_controllers") or "").split()[:MOST_LINES]
    return frozenset(clean(word, 32) for word in words) or None


def failing_disks(sources: Sources) -> tuple[tuple[str, int], ...]:
    """Return the block devices whose ext4 has recorded errors, with how many."""
    lines = (line.split() for line in (sources.text_or_none("filesystem_errors") or "").splitlines()[:MOST_LINES])
    counted = [(clean(words[0], 60), integer(words[1])) for words in lines if len(words) == 2]
    return tuple((device, count) for device, count in counted if count)
