"""The container checks themselves: a container with every fault is found with every fault, and a good one with none."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load() -> ModuleType:
    path = Path(__file__).parents[1] / "e2e" / "container_bench.py"
    spec = importlib.util.spec_from_file_location("container_bench", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load()
INFO = {"SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin"], "Swarm": {"LocalNodeState": "inactive"}}
GOOD: dict[str, Any] = {
    "Id": "a1",
    "Name": "/phi4-edge-engine-1",
    "AppArmorProfile": "docker-default",
    "ProcessLabel": "",
    "State": {"Health": {"Status": "healthy"}},
    "Config": {"User": "65532:65532", "Labels": {"phi4-edge.service": "engine"}},
    "HostConfig": {
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "Privileged": False,
        "NetworkMode": "phi4-edge_engine",
        "Memory": 10**9,
        "MemorySwap": 10**9,
        "NanoCpus": 2 * 10**9,
        "CpuShares": 0,
        "ReadonlyRootfs": True,
        "PidMode": "",
        "IpcMode": "private",
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "Devices": None,
        "UTSMode": "",
        "UsernsMode": "",
        "Ulimits": [{"Name": "core", "Hard": 0, "Soft": 0}],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": 256,
        "CgroupParent": "",
    },
    "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}},
    "Mounts": [
        {"Type": "bind", "Source": "/var/lib/m", "Destination": "/var/lib/m", "RW": False, "Propagation": "rprivate"}
    ],
}
WORST: dict[str, Any] = {
    "Id": "b2",
    "Name": "/bad",
    "AppArmorProfile": "",
    "State": {},
    "Config": {"User": "", "Labels": None},
    "HostConfig": {
        "CapAdd": ["SYS_ADMIN"],
        "CapDrop": None,
        "Privileged": True,
        "NetworkMode": "host",
        "Memory": 0,
        "NanoCpus": 0,
        "ReadonlyRootfs": False,
        "PidMode": "host",
        "IpcMode": "host",
        "RestartPolicy": {"Name": "always"},
        "Devices": [{"PathOnHost": "/dev/mem"}],
        "UTSMode": "host",
        "UsernsMode": "host",
        "CgroupParent": "/",
        "Ulimits": [{"Name": "nofile", "Hard": 99999, "Soft": 1}],
        "SecurityOpt": ["seccomp=unconfined"],
        "PidsLimit": None,
    },
    "NetworkSettings": {
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}],
            "81/tcp": [{"HostIp": "::1", "HostPort": "8081"}],
        }
    },
    "Mounts": [
        {"Type": "bind", "Source": "/etc/", "Destination": "/e", "RW": True, "Propagation": "rshared"},
        {"Type": "bind", "Source": "/run/docker.sock", "Destination": "/s", "RW": True, "Propagation": "rprivate"},
    ],
}


def test_a_good_container_has_no_finding() -> None:
    assert bench.findings([GOOD], INFO, {"a1": "python3 -m phi4_engine"}) == []


def test_the_worst_container_fails_every_check() -> None:
    info = {"SecurityOptions": ["name=apparmor", "name=selinux"], "Swarm": {"LocalNodeState": "active"}}
    found = bench.findings([WORST], info, {"b2": "/usr/sbin/sshd -D"})
    # A container cannot be in the host's network and in Docker's default one.
    assert {finding.check for finding in found} == {*bench.CHECKS, "5.7"} - {"5.30"}
    assert {finding.container for finding in found} == {"bad"}


def test_the_default_network_is_a_finding() -> None:
    bad = copy.deepcopy(GOOD)
    bad["HostConfig"]["NetworkMode"] = "bridge"
    assert [finding.check for finding in bench.findings([bad], INFO)] == ["5.30"]


@pytest.mark.parametrize("service", ["engine", "webui"])
def test_at_most_two_exceptions_are_documented_and_they_are_of_one_service_each(service: str) -> None:
    assert len(bench.NOT_APPLICABLE) <= 2
    container = copy.deepcopy(GOOD)
    container["HostConfig"]["NetworkMode"] = "host"
    container["Config"]["Labels"]["phi4-edge.service"] = service
    assert [finding.check for finding in bench.findings([container], INFO)] == ([] if service == "webui" else ["5.10"])


def test_apparmor_is_asked_for_only_where_the_host_has_it() -> None:
    without = {**GOOD, "AppArmorProfile": ""}
    assert bench.findings([without], {"SecurityOptions": ["name=seccomp"]}) == []
    assert [finding.check for finding in bench.findings([without], INFO)] == ["5.2"]
