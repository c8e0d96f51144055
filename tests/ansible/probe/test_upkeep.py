"""What the probe says of the system beneath: mounts and their inodes, ext4's errors, dpkg, control groups, Docker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.ansible.probe_run import place, probe

STATUS = "Package: {name}\nStatus: install {state}\nVersion: 1\n\n"
MOUNTINFO = "20 1 8:1 / / rw - ext4 /dev/root rw\n30 20 8:2 / /var/lib ro,noexec - ext4 /dev/sda2 rw\n"


def test_each_path_is_told_with_its_mount_and_the_inodes_there(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    place(tmp_path, "/proc/self/mountinfo", MOUNTINFO)
    lines = [re.split("[ \t]", line) for line in probe(tmp_path)["mount_points"]["text"].splitlines()]
    told = {path: (flags, point) for _, _, flags, path, point in lines}
    below = ("ro,noexec", "/var/lib")
    assert {path: told[path] for path in told if "containerd" not in path} == {
        "/opt/phi4-edge": ("-", "/"), "/var/lib/phi4-edge": below, "/var/lib/docker": below, "/etc": ("-", "/"),
        "/var/lib/dpkg": below,
    }  # fmt: skip
    assert all(int(total) >= int(free) >= 0 for total, free, *_ in lines)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("ok installed", "ok config-files", "ok not-installed"), "whole"),
        (("ok installed", "ok half-configured"), "unfinished p1"),
        (("reinstreq half-installed", "ok unpacked"), "unfinished p0 p1"),
        (("ok triggers-pending",), "unfinished p0"),
        ((), "whole"),
    ],
)
def test_packages_that_dpkg_left_half_done(tmp_path: Path, states: tuple[str, ...], said: str) -> None:
    text = "".join(STATUS.format(name=f"p{index}", state=state) for index, state in enumerate(states))
    place(tmp_path, "/var/lib/dpkg/status", text)
    assert probe(tmp_path)["package_state"] == {"text": said}


def test_an_update_that_dpkg_did_not_finish(tmp_path: Path) -> None:
    place(tmp_path, "/var/lib/dpkg/updates/0001", "Package: x\n")
    assert probe(tmp_path)["package_state"] == {"text": "interrupted"}


def test_what_lies_in_files_is_read_from_there(tmp_path: Path) -> None:
    place(tmp_path, "/sys/fs/ext4/sda1/errors_count", "3\n")
    place(tmp_path, "/sys/fs/ext4/sda2/errors_count", "0\n")
    place(tmp_path, "/sys/fs/cgroup/cgroup.controllers", "cpu io pids\n")
    (tmp_path / "snap/docker").mkdir(parents=True)
    found = probe(tmp_path)
    assert found["filesystem_errors"] == {"text": "sda1 3"}
    assert found["cgroup_controllers"] == {"text": "cpu io pids"}
    assert found["docker_snap"] == {"text": "yes"}
    assert found["package_state"]["gap"] == "missing"


def test_control_groups_of_version_1_are_those_that_are_switched_on(tmp_path: Path) -> None:
    rows = "#subsys_name hierarchy num_cgroups enabled\ncpu 2 10 1\nmemory 0 1 0\n"
    place(tmp_path, "/proc/cgroups", rows)
    assert probe(tmp_path)["cgroup_controllers"] == {"text": "cpu"}
    assert probe(tmp_path)["docker_snap"] == {"text": "no"}
