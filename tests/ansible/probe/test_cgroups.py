"""Limits of control groups as the probe sends them: of its own groups, and of those that a service will be in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phi4_edge.core.facts import parse
from tests.ansible.probe_run import place, probe
from tests.unit.core.fixture_hosts import read

TOP = "/sys/fs/cgroup"


def test_limits_of_control_groups_come_from_every_ancestor(tmp_path: Path) -> None:
    place(tmp_path, f"{TOP}/cgroup.controllers", "cpu memory")
    place(tmp_path, "/proc/self/cgroup", "0::/user.slice/session-1.scope\n")
    place(tmp_path, f"{TOP}/user.slice/session-1.scope/memory.max", "max\n")
    place(tmp_path, f"{TOP}/user.slice/memory.max", "4294967296\n")
    place(tmp_path, f"{TOP}/user.slice/cpu.max", "150000 100000\n")
    assert probe(tmp_path)["cgroup"]["text"].split("\n") == [
        "v2",
        f"memory {TOP}/user.slice/session-1.scope max",
        f"memory {TOP}/user.slice 4294967296",
        f"cpu {TOP}/user.slice 150000 100000",
    ]


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    place(tmp_path, "/proc/self/cgroup", "9:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    place(tmp_path, f"{TOP}/memory/memory.limit_in_bytes", "9223372036854771712\n")
    place(tmp_path, f"{TOP}/memory/docker/abc/memory.limit_in_bytes", "2147483648\n")
    place(tmp_path, f"{TOP}/cpu/docker/abc/cpu.cfs_quota_us", "-1\n")
    place(tmp_path, f"{TOP}/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    assert probe(tmp_path)["cgroup"]["text"].split("\n") == [
        "v1",
        f"memory {TOP}/memory/docker/abc 2147483648",
        f"memory {TOP}/memory max",
        f"cpu {TOP}/cpu/docker/abc max 100000",
    ]


def host(root: Path, pid1: str, **files: str) -> str:
    """What the probe says of services where PID 1 is systemd in the group `pid1`; of a file, / is written as __."""
    place(root, "/proc/1/comm", "systemd\n")
    place(root, "/proc/1/cgroup", pid1)
    place(root, "/proc/self/cgroup", pid1.replace("init.scope", "user.slice/user-0.slice/session-1.scope"))
    for name, text in files.items():
        place(root, f"{TOP}/{name.replace('__', '/')}", text + "\n")
    return str(probe(root)["service_cgroup"]["text"])


def put(root: Path, folder: str, **values: str) -> None:
    for name, text in values.items():
        place(root, f"{TOP}/{folder}/{name.replace('_', '.', 1)}", text + "\n")


def test_a_service_is_in_its_own_groups_wherever_the_login_is(tmp_path: Path) -> None:
    place(tmp_path, f"{TOP}/cgroup.controllers", "cpuset cpu memory")
    put(tmp_path, "user.slice/user-0.slice", memory_max="1000", cpu_max="1 2")
    put(tmp_path, "system.slice", memory_max="2147483648", memory_high="max", cpu_max="max 100000")
    place(tmp_path, f"{TOP}/system.slice/cpuset.cpus.effective", "0-1\n")
    place(tmp_path, f"{TOP}/cpuset.cpus.effective", "0-3\n")
    assert host(tmp_path, "0::/init.scope\n").split("\n") == [
        "v2",
        f"memory {TOP}/system.slice 2147483648",
        f"memory.high {TOP}/system.slice max",
        f"cpu {TOP}/system.slice max 100000",
        f"cpuset {TOP}/system.slice 0-1",
    ]
    # What is sent is what the plan reads.
    document = {**read("n150-8gb"), "sources": {**read("n150-8gb")["sources"], **probe(tmp_path)}}
    document["sources"] |= {name: read("n150-8gb")["sources"][name] for name in ("init", "meminfo", "uname", "disk")}
    found = parse.parse(document)
    assert (found.ram_bytes, found.ram_by) == (2 << 30, "memory.max of cgroup /system.slice")


@pytest.mark.parametrize(
    ("pid1", "there", "first"),
    [
        ("0::/docker/0a1b/init.scope\n", "docker/0a1b/system.slice", "docker/0a1b/system.slice"),
        # The container's own group is mounted at the top, and its path is the machine's.
        ("0::/docker/0a1b/init.scope\n", "system.slice", "system.slice"),
        ("0::/\n", "system.slice", "system.slice"),
        ("0::/system.slice\n", "system.slice", "system.slice"),
        # Nothing is limited there, so there is no group for it.
        ("0::/docker/0a1b/init.scope\n", "docker/0a1b", "docker/0a1b"),
    ],
)
def test_the_groups_of_a_container_are_found(tmp_path: Path, pid1: str, there: str, first: str) -> None:
    place(tmp_path, f"{TOP}/cgroup.controllers", "memory")
    put(tmp_path, there, memory_max="7")
    put(tmp_path, ".", memory_max="9")
    lines = host(tmp_path, pid1).split("\n")
    assert lines == ["v2", f"memory {TOP}/{first} 7", f"memory {TOP} 9"]


def test_groups_of_services_in_version_1(tmp_path: Path) -> None:
    put(tmp_path, "memory/system.slice", memory_limit_in_bytes="4294967296")
    put(tmp_path, "memory", memory_limit_in_bytes="9223372036854771712")
    put(tmp_path, "cpu", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    place(tmp_path, f"{TOP}/cpuset/cpuset.cpus", "0-3\n")
    pid1 = "9:memory:/init.scope\n3:cpu,cpuacct:/\n2:cpuset:/\n1:name=systemd:/init.scope\n"
    assert host(tmp_path, pid1).split("\n") == [
        "v1",
        f"memory {TOP}/memory/system.slice 4294967296",
        f"memory {TOP}/memory max",
        f"cpu {TOP}/cpu max 100000",
        f"cpuset {TOP}/cpuset 0-3",
    ]


def test_without_systemd_there_are_no_groups_of_services(tmp_path: Path) -> None:
    place(tmp_path, f"{TOP}/cgroup.controllers", "memory")
    place(tmp_path, "/proc/1/comm", "init\n")
    assert probe(tmp_path)["service_cgroup"]["gap"] == "missing"


def test_the_processors_of_pid_1_are_told() -> None:
    first, *_ = probe()["service_affinity"]["text"].replace("-", ",").split(",")
    assert int(first) == min(os.sched_getaffinity(1))
