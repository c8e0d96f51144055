"""Which space a path draws on, as the kernel's tables of mounts and block devices tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge.remote.host import hostpool
from tests.ansible.probe_run import place, probe

ROWS = r"""
21 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
22 21 0:40 /@opt /opt rw,relatime - btrfs /dev/nvme0n1p3 rw,subvol=/@opt
23 21 0:41 /@var /var rw,relatime - btrfs /dev/nvme0n1p3 rw,subvol=/@var
24 23 0:50 / /var/lib/docker rw - zfs tank/docker\040data rw
25 21 0:51 / /srv rw - zfs tank/srv rw
26 21 0:60 / /run rw - tmpfs tmpfs rw
27 21 0:61 / /tmp rw - tmpfs tmpfs rw
28 21 253:4 / /a rw - xfs /dev/mapper/vg-a rw
29 21 253:5 / /b rw - ext4 /dev/mapper/secret rw
30 21 253:6 / /c rw - ext4 /dev/mapper/vg-c rw
31 21 8:9 / /opt2 rw - ext4 /dev/sda9 rw
"""
PATHS = ("/opt", "/var/lib/phi4-edge", "/var/lib/docker", "/srv", "/run", "/tmp", "/a", "/b", "/c", "/opt2")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    place(tmp_path, "/proc/self/mountinfo", ROWS)
    for path in PATHS:
        (tmp_path / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    block = "/sys/dev/block"
    place(tmp_path, f"{block}/253:4/slaves/dm-2/dm/uuid", "LVM-xyz-tpool\n")
    # An encrypted file system in a thin volume of the same pool, and a plain logical volume.
    place(tmp_path, f"{block}/253:5/slaves/dm-7/dm/uuid", "LVM-thin\n")
    place(tmp_path, f"{block}/253:5/slaves/dm-7/slaves/dm-2/dm/uuid", "LVM-xyz-tpool\n")
    (tmp_path / "sys/dev/block/253:6/slaves/sda3").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/opt/phi4-edge", "/var/lib/phi4-edge", True),
        ("/opt", "/", False),
        ("/opt2", "/opt", False),
        ("/var/lib/docker", "/srv", True),
        ("/var/lib/docker", "/var/lib/phi4-edge", False),
        ("/run", "/tmp", False),
        ("/a", "/b", True),
        ("/a", "/c", False),
        ("/etc", "/", True),
    ],
)
def test_paths_of_one_pool_have_one_name(machine: Path, one: str, other: str, same: bool) -> None:
    assert (hostpool.pool(one, str(machine)) == hostpool.pool(other, str(machine))) is same


def test_the_probe_sends_a_name_for_each_path(machine: Path) -> None:
    assert probe(machine)["disk_pool"]["text"].split("\n") == [
        "/opt/phi4-edge btrfs:/dev/nvme0n1p3",
        "/var/lib/phi4-edge btrfs:/dev/nvme0n1p3",
        "/var/lib/docker zfs:tank",
        "/etc device:8:2",
    ]
    (machine / "proc/self/mountinfo").unlink()
    assert probe(machine)["disk_pool"]["gap"] == "missing"


def test_this_machine_names_a_pool() -> None:
    assert hostpool.pool("/") == hostpool.pool("/nowhere/at/all") != ""
