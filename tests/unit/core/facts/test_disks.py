"""File systems: free bytes that are memory, or where nothing can be written or run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]
RELEASES, MODELS, DOCKER, SYSTEM = "/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker", "/etc"
EVERY = (RELEASES, MODELS, DOCKER, SYSTEM)
GB = 10**9
TOTAL = 7968768 * 1024


def said(*kinds: str) -> str:
    """The source for our four paths; a path without words of its own has the last ones."""
    return "\n".join(f"{(*kinds, *kinds[-1:] * 4)[at]} {path}" for at, path in enumerate(EVERY))


def sizes(total: int, free: int) -> str:
    return "\n".join(f"{path} {total} {free} 1" for path in EVERY)


def blocked(made: Any) -> list[str]:
    return [text for text in made.blockers if "kept in memory" in text or "is on a file system" in text]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("tmpfs tmpfs -", "(tmpfs)"),
        ("ramfs none -", "(ramfs)"),
        ("rootfs rootfs -", "(rootfs)"),  # Alpine's diskless mode
        ("overlay:tmpfs overlayroot -", "(an overlay on tmpfs)"),  # Ubuntu's overlayroot, live systems
        ("ext4 /dev/zram1 -", "(ext4 on /dev/zram1)"),
        ("ext2 /dev/ram0 -", "(ext2 on /dev/ram0)"),
    ],
)
def test_a_disk_that_is_memory_is_in_the_way(document: Make, plan: Make, kind: str, named: str) -> None:
    whole = document("n150-8gb", filesystems=said(kind))
    made = plan(whole)
    assert made.fits and made.applicable
    (text,) = blocked(made)
    assert named in text and f"{RELEASES} and {MODELS} and {SYSTEM} is kept in memory" in text
    forced = plan(whole, force=True)
    assert blocked(forced) == [] and [warning for warning in forced.warnings if named in warning]


def test_only_paths_that_are_used_are_in_the_way(document: Make, plan: Make) -> None:
    disk = "ext4 /dev/sda2 -"
    docker = document("n150-8gb", filesystems=said(disk, disk, "tmpfs tmpfs -", disk))
    assert blocked(plan(docker)) == []
    assert f"below {DOCKER} is kept" in blocked(plan(docker, service_manager="compose"))[0]
    models = document("n150-8gb", filesystems=said(disk, "tmpfs tmpfs -", disk))
    assert f"below {MODELS} is kept" in blocked(plan(models))[0]


DISKS = (
    "ext4 /dev/mmcblk0p2 -", "btrfs /dev/sda2 -", "zfs rpool/root -", "overlay:ext4 overlay -", "overlay:? overlay -",
    "x",
)  # fmt: skip


@pytest.mark.parametrize("kind", DISKS)
def test_a_disk_is_a_disk(document: Make, named: Make, kind: str) -> None:
    """A container's root is an overlay whose upper directory is the machine's."""
    plain = named(document("n150-8gb"))
    made = named(document("n150-8gb", filesystems=said(kind)))
    assert (made.release, made.blockers, made.warnings) == (plain.release, plain.blockers, plain.warnings)


@pytest.mark.parametrize(
    ("kind", "total", "memory"),
    [
        (None, 8 * GB, False),
        (None, TOTAL // 2, True),
        (None, TOTAL // 2 - 64 * 4096, True),
        (None, int(TOTAL * 0.49), False),
        ("overlay:? overlay -", TOTAL // 2, True),
        ("overlay: overlay -", TOTAL // 2, True),
        ("overlay:ext4 overlay -", TOTAL // 2, False),
        ("ext4 /dev/sda1 -", TOTAL // 2, False),
    ],
)
def test_what_holds_an_overlay_may_be_hidden_but_not_its_size(
    document: Make, kind: str | None, total: int, memory: bool
) -> None:
    found = facts_parse.parse(
        document("n150-8gb", disk=sizes(total, total - GB), filesystems=said(kind) if kind else None)
    )
    assert {bool(disk.memory) for disk in found.disks} == {memory}
    assert not memory or "exactly half the RAM" in found.disks[0].memory


def test_a_disk_that_takes_nothing_or_runs_nothing_is_in_the_way(document: Make, plan: Make) -> None:
    disk = "ext4 /dev/sda2 -"
    cases: list[tuple[str, dict[str, Any], list[str]]] = [
        (said(disk, "ext4 /dev/sda3 ro", disk), {}, [f"{MODELS} is on a file system that is mounted read-only"]),
        (said("squashfs /dev/loop0 ro", disk), {}, [f"{RELEASES} is on a file system that is mounted read-only"]),
        (said("ext4 /dev/sda3 noexec", disk), {}, [f"{RELEASES} is on a file system that is mounted noexec"]),
        (said("ext4 /dev/sda3 noexec", disk), {"service_manager": "compose"}, []),
        (said(disk, disk, "ext4 /dev/sda3 ro,noexec", disk), {}, []),
        (said(disk, disk, "ext4 /dev/sda3 noexec", disk), {"service_manager": "compose"},
         [f"{DOCKER} is on a file system that is mounted noexec"]),
        (said(disk, "ext4 /dev/sda3 noexec", disk), {}, []),
        (said(disk, disk, disk, "ext4 /dev/root ro"), {}, [f"{SYSTEM} is on a file system that is mounted read-only"]),
    ]  # fmt: skip
    for filesystems, wishes, expected in cases:
        found = blocked(plan(document("n150-8gb", filesystems=filesystems), **wishes))
        assert [text.partition(":")[0].partition(",")[0] for text in found] == expected
        # No force makes a file system writable.
        assert blocked(plan(document("n150-8gb", filesystems=filesystems), force=True, **wishes)) == found
