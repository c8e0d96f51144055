"""Paths: whether what we write to can be written to, run from, and has files and space left."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from phi4_edge.core.facts.installed import misplaced
from phi4_edge.core.facts.model import Disk, HostFacts
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.layout import DPKG_PATH, SYSTEM_PATH
from phi4_edge.core.packages import commands
from phi4_edge.core.text import gb

# An engine of ours has some thousand files; a release beside it as many again.
FEWEST_FILES, LOW_FILES = 10_000, 50_000
LOW_SPACE = 500_000_000
_STANDING = {"link": "a symbolic link", "file": "no directory", "user": "another user's directory"}


def conditions(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """Yield what is wrong with the paths that every plan uses, and with Docker's where containers run."""
    used = used_disks(facts, wanted)
    yield from _elsewhere(facts, wanted)
    yield from (_standing(disk) for disk in facts.disks if disk.standing)
    yield from _fleeting(used, wanted)
    yield from _read_only(facts, used, wanted)
    yield from _noexec(facts, used, wanted)
    yield from _files(facts, used)
    yield from _space(facts, used, wanted)
    for device, count in facts.system.failing_disks:
        yield Condition(
            "disk", Level.WARNING, f"the file system on {device} has recorded {count} errors",
            "none: the disk or card may be dying",
            f"see them: sudo dmesg | grep {quote(device)}; then check it at the next boot: add fsck.mode=force to the "
            "kernel's command line, and replace the disk if they come back",
        )  # fmt: skip


def _elsewhere(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """Where the host has an installation of ours that is not where this one would be, or was not looked for."""
    if facts.layout != wanted.layout:
        asked = " and ".join(f"{name}={path}" for name, path in wanted.layout.variables.items())
        fix = "look at the host again (phi4-edge detect)"
        yield Condition("paths", Level.PROBLEM, "facts of another place", f"some with {asked}", fix)
        return
    found, fix = misplaced(facts)
    if found:
        before, _, needed = found.removeprefix("found ").partition(", needed ")
        yield Condition("paths", Level.PROBLEM, before, needed, fix)


def used_disks(facts: HostFacts, wanted: Wanted) -> tuple[Disk, ...]:
    """Return the file systems that something of ours will be written to."""
    paths = (facts.layout.root, facts.layout.state, SYSTEM_PATH, *((facts.images.path,) if wanted.docker else ()))
    return tuple(disk for disk in facts.disks if disk.path in paths)


def _standing(disk: Disk) -> Condition:
    if disk.standing == "closed":
        return Condition(
            "paths", Level.PROBLEM, f"{disk.path} lies in a directory that not every user may pass",
            "that all may, for the engine runs as one of its own",
            f"see which (namei -m {disk.path}), then sudo chmod o+x DIRECTORY",
        )  # fmt: skip
    return Condition(
        "paths", Level.PROBLEM, f"{disk.path} is {_STANDING[disk.standing]}",
        "a directory of root there, or nothing", f"sudo mv {disk.path} {disk.path}.old, or mount a disk there",
    )  # fmt: skip


def _fleeting(used: tuple[Disk, ...], wanted: Wanted) -> Iterator[Condition]:
    """Where what is written would be gone after a boot, and takes the memory that the model needs until then."""
    for kind in dict.fromkeys(disk.memory for disk in used if disk.memory):
        below = " and ".join(disk.path for disk in used if disk.memory == kind)
        yield Condition(
            "disk", Level.WARNING if wanted.force else Level.PROBLEM,
            f"what is written below {below} is kept in memory ({kind})", "a disk: it would be gone after a boot",
            "turn the overlay off or mount a disk there; phi4_force: true goes on all the same",
        )  # fmt: skip


def _mounts(facts: HostFacts, disks: Iterator[Disk]) -> Iterator[tuple[str, str, Disk]]:
    """Yield (what is on it, its mount point or else a path, one of the disks) of each mount."""
    by_point: dict[str, list[Disk]] = {}
    for disk in disks:
        by_point.setdefault(facts.system.mount(disk.path).point or disk.path, []).append(disk)
    for point, group in by_point.items():
        yield " and ".join(disk.path for disk in group), point, group[0]


def _is_on(paths: str, point: str, how: str) -> str:
    where = "" if point in paths.split(" and ") else f" ({point})"
    return f"{paths} {'are' if ' and ' in paths else 'is'} on a file system that is mounted {how}{where}"


def _remount(facts: HostFacts, disk: Disk, option: str) -> str:
    known = facts.system.mount(disk.path).point
    point = quote(known) if known else f'"$(findmnt -no TARGET -T {quote(disk.path)})"'
    return f"sudo mount -o remount,{option} {point}"


def _read_only(facts: HostFacts, used: tuple[Disk, ...], wanted: Wanted) -> Iterator[Condition]:
    needed, why = "one that can be written to", "if that fails see why: sudo dmesg | grep -i 'remount\\|error'"
    for paths, point, disk in _mounts(facts, (disk for disk in used if disk.read_only)):
        fix = f"{_remount(facts, disk, 'rw')}; {why}"
        yield Condition("disk", Level.PROBLEM, _is_on(paths, point, "read-only"), needed, fix)
    # Where Docker or containerd keep something, though not the images.
    beside = (disk for disk in facts.disks if wanted.docker and disk.path in facts.images.places and disk not in used)
    for paths, point, disk in _mounts(facts, (disk for disk in beside if disk.read_only)):
        fix = f"{_remount(facts, disk, 'rw')}; {why}"
        yield Condition("disk", Level.WARNING, _is_on(paths, point, "read-only"), needed, fix)
    if facts.system.mount(DPKG_PATH).read_only and wanted.installs.any:
        fix = f'sudo mount -o remount,rw "$(findmnt -no TARGET -T {DPKG_PATH})"; {why}'
        yield Condition("disk", Level.PROBLEM, _is_on(DPKG_PATH, DPKG_PATH, "read-only"), needed, fix)


def _noexec(facts: HostFacts, used: tuple[Disk, ...], wanted: Wanted) -> Iterator[Condition]:
    programs = {facts.layout.root: wanted.native, facts.images.path: wanted.docker}
    for paths, point, disk in _mounts(facts, (disk for disk in used if disk.noexec and programs.get(disk.path))):
        yield Condition(
            "disk", Level.PROBLEM, _is_on(paths, point, "noexec"), "one that programs run from",
            f"{_remount(facts, disk, 'exec')}, and the same in /etc/fstab",
        )  # fmt: skip


def _files(facts: HostFacts, used: tuple[Disk, ...]) -> Iterator[Condition]:
    for paths, point, disk in _mounts(facts, (disk for disk in used if _left(facts, disk) < LOW_FILES)):
        left = _left(facts, disk)
        yield Condition(
            "inodes", Level.PROBLEM if left < FEWEST_FILES else Level.WARNING,
            f"{left} more files can be created below {paths}", f"{LOW_FILES} for several releases side by side",
            f"see where they are: sudo du --inodes -x -d3 {quote(point)} | sort -n | tail; remove what is not needed",
            passing=True,
        )  # fmt: skip


def _left(facts: HostFacts, disk: Disk) -> int:
    """Return how many more files a file system takes; enough where it has no fixed number of them."""
    free = facts.system.mount(disk.path).free_files
    return LOW_FILES if free is None else free


def _space(facts: HostFacts, used: tuple[Disk, ...], wanted: Wanted) -> Iterator[Condition]:
    tidy = f"{commands.clear_cache(facts.os)}; sudo journalctl --vacuum-size=100M"
    if wanted.write > wanted.free and not wanted.idle:
        yield Condition(
            "disk", Level.PROBLEM, f"{gb(wanted.free)} free now below {facts.layout.state}",
            f"{gb(wanted.write)} to write there",
            f"{tidy}; see what is large: sudo du -xh -d2 /var /opt | sort -h | tail; or mount a larger disk at "
            f"{facts.layout.state}",
            passing=True,
        )  # fmt: skip
        return
    for paths, point, disk in _mounts(facts, (disk for disk in used if disk.free < LOW_SPACE)):
        yield Condition(
            "disk", Level.WARNING, f"{gb(disk.free)} free below {paths}", f"{gb(LOW_SPACE)} for logs and updates",
            f"{tidy}; sudo du -xh -d2 {quote(point)} | sort -h | tail", passing=True,
        )  # fmt: skip
