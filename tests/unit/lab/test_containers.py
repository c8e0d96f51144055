"""What the Docker engine is asked for, as data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.lab import containers
from phi4_edge.lab.machine import Machine
from phi4_edge.lab.model import Lab
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
GPU = Profile("gpu", "claims a card", 4 * GIB, 2, {}, "rtx3060-driver570")
LARGE = Profile("large", "more CPUs than there are", 6 * GIB, 8, {"/var/lib/phi4-edge": "2g"})
IMAGES = [("debian-13", "a"), ("debian-12", "b"), ("debian-13", "a")]


def make(*profiles: Profile, mirror: bool = False) -> Lab:
    hosts = containers.lay_out("dev", profiles, [("debian-13", "image:tag")] * len(profiles), "10.9.0.0/24", MACHINE)
    lab = Lab("dev", containers.network_name("dev"), Path("/labs/dev"), hosts)
    return replace(lab, mirror=containers.mirror_host("dev", hosts, "mirror:tag", MACHINE)) if mirror else lab


def config_of(lab: Lab, name: str, machine: Machine = MACHINE) -> dict[str, Any]:
    return containers.container_config(lab, lab.host(name), machine)


def test_hosts_get_fixed_addresses_after_the_bridges_and_cpus_side_by_side() -> None:
    hosts = containers.lay_out(
        "dev",
        [SMALL, SMALL, LARGE],
        [("debian-13", "a"), ("debian-12", "b"), ("debian-13", "a")],
        "172.30.0.0/16",
        MACHINE,
    )
    assert [(host.name, host.address, host.cpus) for host in hosts] == [
        ("gw1", "172.30.0.2", (0, 1)),
        ("gw2", "172.30.0.3", (2, 3)),
        ("gw3", "172.30.0.4", (0, 1, 2, 3)),
    ]
    assert [(host.system, host.image) for host in hosts] == IMAGES
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
    config = config_of(make(SMALL, LARGE), "gw2")
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
    config = config_of(make(SMALL), "gw1")
    endpoints = config["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"phi4-edge-lab-dev": {"IPAMConfig": {"IPv4Address": "10.9.0.2"}}}
    assert "PortBindings" not in config["HostConfig"]
    assert "ExposedPorts" not in config


def test_only_cgroup_v1_needs_the_switch_of_systemd() -> None:
    switch = "SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
    assert switch in config_of(make(SMALL), "gw1")["Env"]
    assert switch not in config_of(make(SMALL), "gw1", replace(MACHINE, cgroup_v1=False))["Env"]


def test_every_object_carries_the_labels_by_which_it_is_found_again() -> None:
    assert containers.labels("dev") == {"phi4-edge.lab": "dev"}
    expected = {"phi4-edge.lab": "dev", "phi4-edge.lab.host": "gw1", "phi4-edge.lab.profile": "small"}
    assert config_of(make(SMALL), "gw1")["Labels"] == expected


def test_more_ram_than_the_machine_has_is_a_note() -> None:
    hosts = make(LARGE, LARGE).hosts
    note = containers.memory_note(hosts, MACHINE)
    assert note is not None
    assert "2 x large have 12288 MiB" in note
    assert "8192 MiB" in note
    assert containers.memory_note(hosts[:1], MACHINE) is None


def test_the_mirror_comes_after_the_hosts_and_each_of_them_knows_its_name() -> None:
    lab = make(SMALL, LARGE, mirror=True)
    assert [machine.name for machine in lab.machines] == ["gw1", "gw2", "mirror"]
    assert lab.host("mirror").address == "10.9.0.4"
    for name in ("gw1", "gw2"):
        host = config_of(lab, name)["HostConfig"]
        assert host["ExtraHosts"] == ["mirror:10.9.0.4"]
        assert not any("/srv/mirror" in bind for bind in host["Binds"])
    mirror = config_of(lab, "mirror")
    assert mirror["Image"] == "mirror:tag"
    assert "/labs/dev/mirror:/srv/mirror:ro" in mirror["HostConfig"]["Binds"]
    assert config_of(make(SMALL), "gw1")["HostConfig"]["ExtraHosts"] == []


def test_a_simulated_gpu_is_a_bus_of_its_own_and_no_device() -> None:
    lab = make(GPU, SMALL)
    binds = config_of(lab, "gw1")["HostConfig"]["Binds"]
    assert "/labs/dev/pci/gw1:/sys/bus/pci/devices:ro" in binds
    assert "Devices" not in config_of(lab, "gw1")["HostConfig"]
    assert not any("/sys/bus/pci" in bind for bind in config_of(lab, "gw2")["HostConfig"]["Binds"])
