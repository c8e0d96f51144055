"""How the system beneath stands, as far as it may be in the way: mounts, dpkg, control groups, systemd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from phi4_edge.core.text import clean, integer

# More than any host has of each; the rest of a longer list is not read.
MOST_LINES, MOST_NAMES = 64, 12
# Text of one of the probe's sources, None where it has none.
Text = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path is mounted ("": unknown), and how many more files fit there (None: unknown, or no fixed number)."""

    point: str = ""
    free_files: int | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """What the host rests on.

    `init_state`: what systemd says of itself ("": nobody could ask), timeout where it gives no answer. `docker_unit`:
    how docker.service stands (its state, masked, or missing), "" where nobody could ask. `docker_snap`: Docker is there
    from a snap. `controllers`: the kernel's control groups, empty where unknown. `mounts` by path. `failing_disks`:
    devices with the number of errors that their ext4 has recorded. `unfinished`: what dpkg has left half done, or "".
    """

    init_state: str = ""
    docker_unit: str = ""
    docker_snap: bool = False
    controllers: frozenset[str] = frozenset()
    mounts: Mapping[str, Mount] = field(default_factory=dict)
    failing_disks: tuple[tuple[str, int], ...] = ()
    unfinished: str = ""

    def mount(self, path: str) -> Mount:
        """Return how a path is mounted, as far as it is known."""
        return self.mounts.get(path, Mount())


def parse(text: Text, docker_unit: str) -> System:
    """Return what the probe's sources say; nothing is wrong where an older probe did not look."""
    return System(
        init_state=clean((text("init") or "").strip().partition(" ")[2], 32),
        docker_unit=docker_unit,
        docker_snap=(text("docker_snap") or "").strip() == "yes",
        controllers=frozenset(clean(word, 32) for word in (text("cgroup_controllers") or "").split()[:MOST_LINES]),
        mounts=_mounts(text("mount_points") or ""),
        failing_disks=_failing_disks(text("filesystem_errors") or ""),
        unfinished=_unfinished(text("package_state") or ""),
    )


def _mounts(text: str) -> dict[str, Mount]:
    found: dict[str, Mount] = {}
    for line in text.splitlines()[:MOST_LINES]:
        before, _, point = line.strip().partition("\t")
        words = before.split(" ", 3)
        numbers = [integer(word) for word in words[:2]]
        if len(words) == 4 and point.startswith("/") and None not in numbers:
            total, free = numbers
            # A file system that makes inodes as it needs them (btrfs) has no number of them.
            left, read_only = free if total else None, "ro" in words[2].split(",")
            found.setdefault(clean(words[3], 200), Mount(clean(point, 200), left, read_only))
    return found


def _failing_disks(text: str) -> tuple[tuple[str, int], ...]:
    lines = (line.split() for line in text.splitlines()[:MOST_LINES])
    counted = [(clean(words[0], 60), integer(words[1])) for words in lines if len(words) == 2]
    return tuple((device, count) for device, count in counted if count)


def _unfinished(text: str) -> str:
    kind, _, names = text.strip().partition(" ")
    listed = ", ".join(clean(names, 400).split()[:MOST_NAMES])
    return {"interrupted": "dpkg was interrupted", "unfinished": f"half-installed packages: {listed}"}.get(kind, "")
