"""What the probe says about the file systems that our paths are on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ansible.probe_run import place, probe

LIVE = "25 1 0:24 / / rw,relatime - overlay {name} rw,lowerdir=/lower,upperdir={upper},workdir=/run/w\n"
DISK = "30 25 8:2 / /var/lib rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro\n"
MEMORY = "31 25 0:30 / /media/root-rw rw,relatime - tmpfs root\\040rw rw\n"


def asked(root: Path, mountinfo: str, *folders: str) -> dict[str, str]:
    for folder in ("etc", "opt", "var/lib/phi4-edge", *folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    place(root, "/proc/self/mountinfo", mountinfo)
    # What this machine's Docker says is nothing of the folder that stands for "/".
    silent = place(root, "/silent/docker", "#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    lines = [
        line.rsplit(" ", 1) for line in probe(root, f"{silent.parent}:/usr/bin:/bin")["filesystems"]["text"].split("\n")
    ]
    return {path: said for said, path in lines}


def test_each_path_is_on_the_nearest_mount(tmp_path: Path) -> None:
    mountinfo = (
        "20 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
        + DISK
        + "40 30 0:50 / /var/lib/phi4-edge rw,noexec - tmpfs tmpfs rw,size=1g\n"
        + "41 20 8:5 / /etc ro - squashfs /dev/loop1 ro\n"
        + "42 20 0:99 / /var/lib/phi4-edge-old rw - nfs host:/x rw\nnonsense\n"
    )
    assert asked(tmp_path, mountinfo) == {
        "/opt/phi4-edge": "ext4 /dev/root -",
        "/var/lib/phi4-edge": "tmpfs tmpfs noexec",
        "/var/lib/docker": "ext4 /dev/sda2 -",
        "/var/lib/containerd": "ext4 /dev/sda2 -",
        "/etc": "squashfs /dev/loop1 ro",
    }


def test_the_last_of_mounts_on_one_point_counts_and_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "mnt/data/docker").mkdir(parents=True)
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/docker").symlink_to("../../mnt/data/docker")
    mountinfo = (
        "20 1 8:1 / / rw - rootfs rootfs rw\n21 1 8:1 / / rw - ext4 /dev/root rw\n"
        "50 21 8:9 / /mnt/data rw - xfs /dev/nvme0n1p1 rw\n"
    )
    found = asked(tmp_path, mountinfo)
    assert (found["/var/lib/docker"], found["/etc"]) == ("xfs /dev/nvme0n1p1 -", "ext4 /dev/root -")


@pytest.mark.parametrize(
    ("upper", "folders", "kind"),
    [
        ("/media/root-rw/overlay", ["media/root-rw/overlay"], "overlay:tmpfs"),
        ("/var/lib/upper", ["var/lib/upper"], "overlay:ext4"),
        # Hidden at boot, or the machine's around a container.
        ("/upper/data", [], "overlay:?"),
        ("/media/root-rw/overlay", [], "overlay:?"),
        ("/srv/upper", ["srv/upper"], "overlay:?"),
        ("", [], "overlay:?"),
    ],
)
def test_an_overlay_is_what_holds_its_changes(tmp_path: Path, upper: str, folders: list[str], kind: str) -> None:
    found = asked(tmp_path, LIVE.format(name="overlayroot", upper=upper) + DISK + MEMORY, *folders)
    assert found["/etc"] == f"{kind} overlayroot -"
    assert found["/var/lib/phi4-edge"] == "ext4 /dev/sda2 -"


def test_without_a_list_of_mounts_there_is_a_gap(tmp_path: Path) -> None:
    assert probe(tmp_path)["filesystems"]["gap"] == "missing"


def test_this_machine_names_a_type_for_every_path() -> None:
    lines = [line.split(" ", 3) for line in probe()["filesystems"]["text"].split("\n")]
    assert [line[3] for line in lines][:2] == ["/opt/phi4-edge", "/var/lib/phi4-edge"]
    assert all(line[0] and line[2] for line in lines)
