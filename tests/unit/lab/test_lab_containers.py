"""What the Docker engine is asked for, as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phi4_edge.lab import containers
from phi4_edge.lab.machine import Machine
from phi4_edge.lab.profiles import Profile

GIB = 1024**3
MACHINE = Machine(
    capabilities=("CHOWN", "SYS_ADMIN"),
    cpus=(0, 1, 2, 3),
    ram_bytes=8 * GIB,
    cgroup_v1=True,
    lxcfs_binds=("/var/lib/lxcfs/proc/meminfo:/proc/meminfo:rw",),
)
SMALL = Profile("small", "two CPUs", 4 * GIB, 2)
LARGE = Profile("large", "more CPUs than there are", 6 * GIB, 8, {"/var/lib/phi4-edge": "2g"})


def test_hosts_get_fixed_addresses_after_the_bridges_and_cpus_side_by_side() -> None:
    hosts = containers.lay_out("dev", [SMALL, SMALL, LARGE], "172.30.0.0/16", MACHINE)
    assert [(host.name, host.address, host.cpus) for host in hosts] == [
        ("gw1", "172.30.0.2", (0, 1)),
        ("gw2", "172.30.0.3", (2, 3)),
        ("gw3", "172.30.0.4", (0, 1, 2, 3)),
    ]
    assert [host.container for host in hosts] == [f"phi4-edge-lab-dev-gw{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("wanted", "available", "offset", "expected"),
    [
        (2, (0, 1), 0, (0, 1)),
        (4, (0, 1), 1, (0, 1)),
        (1, (3, 5), 1, (5,)),
        (2, (0, 1, 2), 2, (0, 2)),
    ],
)
def test_cpus_come_from_those_that_this_process_may_use(
    wanted: int, available: tuple[int, ...], offset: int, expected: tuple[int, ...]
) -> None:
    assert containers.assign_cpus(wanted, available, offset) == expected


def test_a_host_has_the_limits_of_its_profile_and_the_capabilities_of_the_machine() -> None:
    _, host = containers.lay_out("dev", [SMALL, LARGE], "10.9.0.0/24", MACHINE)
    config = containers.container_config("dev", host, "image:tag", MACHINE)
    limits = config["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"] == 6 * GIB
    assert limits["CpusetCpus"] == "0,1,2,3"
    assert (limits["CapDrop"], limits["CapAdd"]) == (["ALL"], ["CHOWN", "SYS_ADMIN"])
    assert "Privileged" not in limits
    assert limits["MaskedPaths"] == limits["ReadonlyPaths"] == []
    assert limits["Tmpfs"]["/var/lib/phi4-edge"].endswith("size=2g")
    assert limits["Binds"] == [
        "phi4-edge-lab-dev-gw2-docker:/var/lib/docker:rw",
        "/var/lib/lxcfs/proc/meminfo:/proc/meminfo:rw",
    ]


def test_a_host_is_reached_by_its_address_alone() -> None:
    (host,) = containers.lay_out("dev", [SMALL], "10.9.0.0/24", MACHINE)
    config = containers.container_config("dev", host, "image:tag", MACHINE)
    endpoints = config["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"phi4-edge-lab-dev": {"IPAMConfig": {"IPv4Address": "10.9.0.2"}}}
    assert "PortBindings" not in config["HostConfig"]
    assert "ExposedPorts" not in config


def test_only_cgroup_v1_needs_the_switch_of_systemd() -> None:
    (host,) = containers.lay_out("dev", [SMALL], "10.9.0.0/24", MACHINE)
    switch = "SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
    assert switch in containers.container_config("dev", host, "i", MACHINE)["Env"]
    assert switch not in containers.container_config("dev", host, "i", replace(MACHINE, cgroup_v1=False))["Env"]


def test_every_object_carries_the_labels_by_which_it_is_found_again() -> None:
    (host,) = containers.lay_out("dev", [SMALL], "10.9.0.0/24", MACHINE)
    assert containers.labels("dev") == {"phi4-edge.lab": "dev"}
    expected = {"phi4-edge.lab": "dev", "phi4-edge.lab.host": "gw1", "phi4-edge.lab.profile": "small"}
    assert containers.container_config("dev", host, "i", MACHINE)["Labels"] == expected


def test_more_ram_than_the_machine_has_is_a_note() -> None:
    hosts = containers.lay_out("dev", [LARGE, LARGE], "10.9.0.0/24", MACHINE)
    note = containers.memory_note(hosts, MACHINE)
    assert note is not None
    assert "2 x large have 12288 MiB" in note
    assert "8192 MiB" in note
    assert containers.memory_note(hosts[:1], MACHINE) is None
