"""Paths: one finding for what is one mount, and fixes that a shell takes whatever a host calls its mounts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.judge import paths
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Installs, Wanted

Make = Callable[..., Any]
PATHS = ("/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker", "/etc")
NATIVE = Wanted(native=True)


def points(point: str, files: str = "1000000 900000", flags: str = "-") -> str:
    return "\n".join(f"{files} {flags} {path}\t{point}" for path in (*PATHS, "/var/lib/dpkg"))


def kinds(flags: str) -> str:
    return "\n".join(f"ext4 /dev/sda2 {flags} {path}" for path in PATHS)


def judged(document: Any, wanted: Wanted = NATIVE) -> list[Condition]:
    return list(paths.conditions(parse.parse(document), wanted))


def test_one_mount_is_told_once_with_all_that_is_on_it(document: Make) -> None:
    (found,) = judged(document("n150-8gb", filesystems=kinds("ro"), mount_points=points("/")))
    assert found.found == (
        "/opt/phi4-edge and /var/lib/phi4-edge and /etc are on a file system that is mounted read-only (/)"
    )
    assert "sudo mount -o remount,rw /;" in found.fix
    several = judged(document("n150-8gb", filesystems=kinds("ro")))
    assert [one.found.split()[0] for one in several] == ["/opt/phi4-edge", "/var/lib/phi4-edge", "/etc"]
    assert "$(findmnt -no TARGET -T /etc)" in several[-1].fix


def test_the_package_managers_database_counts_where_packages_are_installed(document: Make) -> None:
    host = document("n150-8gb", mount_points=points("/", flags="ro"))
    assert judged(host) == []
    (found,) = judged(host, Wanted(installs=Installs(docker=True)))
    assert found.found.startswith("/var/lib/dpkg is on") and found.level is Level.PROBLEM


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ("1000000 9999", Level.PROBLEM), ("1000000 10000", Level.WARNING), ("1000000 49999", Level.WARNING),
        ("1000000 50000", None), ("0 0", None), ("x y", None), ("-1 5", None), ("1000000", None),
    ],
)  # fmt: skip
def test_inodes_are_counted_where_there_is_a_number_of_them(document: Make, files: str, level: Level | None) -> None:
    found = judged(document("n150-8gb", mount_points=points("/", files)))
    assert [one.level for one in found] == ([level] if level else [])


@pytest.mark.parametrize("point", ["/mnt/a b", "/x;touch /tmp/y", "/$(id)", "/`id`", "/'"])
def test_a_name_of_the_hosts_own_making_stays_one_word_of_a_command(document: Make, point: str) -> None:
    for flags, files in (("ro", "1000000 900000"), ("-", "1000000 9")):
        host = document("n150-8gb", filesystems=kinds(flags), mount_points=points(point, files))
        (found,) = judged(host)
        assert shlex.quote(point) in found.fix
    (failing,) = judged(document("n150-8gb", filesystem_errors="sda1;id 3"))
    assert "grep 'sda1;id'; then" in failing.fix
