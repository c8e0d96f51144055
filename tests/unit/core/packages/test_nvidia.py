"""What a host with an NVIDIA GPU needs before its containers see it: driver and toolkit, and every refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.facts.model import Display, Gpu, HostFacts, Jetson, Nvidia, OperatingSystem
from phi4_edge.core.packages import nvidia
from phi4_edge.data import load_cve_floors
from phi4_edge.errors import PreflightError

FIXTURES = Path(__file__).parents[3] / "fixtures" / "hosts"
FLOORS = load_cve_floors()
CARD = Gpu(0, "NVIDIA GeForce RTX 3060", 12 << 30, 0, "570.172.08", (8, 6), "GPU-1")
USABLE = Nvidia("usable", "", (CARD,), nouveau=False)
NO_DRIVER = Nvidia("no_driver", "", (), nouveau=True)
DEBIAN = OperatingSystem("debian", "13", "Debian 13", ())
UBUNTU = OperatingSystem("ubuntu", "24.04", "Ubuntu 24.04", ("debian",))
ORIN = Jetson("Orin Nano", "tegra234", "36.4")


@pytest.fixture
def host() -> HostFacts:
    """A plain x86-64 host with a GPU that answers."""
    plain = parse.loads((FIXTURES / "n150-8gb.json").read_text())
    return replace(plain, nvidia=USABLE, jetson=None, os=DEBIAN, kernel="6.12.41+deb13-amd64", secure_boot=False)


def found(**more: Any) -> dict[str, Any]:
    """What the host script finds on a host without the toolkit."""
    return {"toolkit": "", "architecture": "amd64", "nvidia_docker2": False, **more}


def test_all_four_packages_get_one_version(host: HostFacts) -> None:
    decided = nvidia.toolkit(host, found(), "1.20.0", FLOORS)
    assert decided.packages == {
        "nvidia-container-toolkit": "1.20.0", "nvidia-container-toolkit-base": "1.20.0",
        "libnvidia-container-tools": "1.20.0", "libnvidia-container1": "1.20.0",
    }  # fmt: skip
    repository = nvidia.repository(found(), "http://mirror/nvidia/")
    assert (repository["uri"], repository["suite"]) == ("http://mirror/nvidia/stable/deb/amd64", "/")
    assert repository["key_url"] == "http://mirror/nvidia/gpgkey"


@pytest.mark.parametrize(("version", "packages"), [("1.17.8", 0), ("1.21.0", 0), ("1.17.7", 4), ("", 4)])
def test_a_toolkit_that_is_new_enough_is_left_alone(host: HostFacts, version: str, packages: int) -> None:
    assert len(nvidia.toolkit(host, found(toolkit=version), "1.20.0", FLOORS).packages) == packages


def test_an_old_toolkit_stays_where_the_risk_is_accepted(host: HostFacts) -> None:
    decided = nvidia.toolkit(host, found(toolkit="1.16.0"), "1.20.0", FLOORS, ("nvidia-container-toolkit",))
    assert decided.packages == {}


def test_a_pin_below_the_floor_is_refused(host: HostFacts) -> None:
    with pytest.raises(PreflightError, match=r"nvidia_runtime_toolkit_version: .*CVE-2025-23266"):
        nvidia.toolkit(host, found(), "1.16.0", FLOORS)


@pytest.mark.parametrize("state", ["none", "no_driver", "mismatch", "no_devices", "unreadable"])
def test_a_gpu_that_does_not_answer_is_no_gpu(host: HostFacts, state: str) -> None:
    silent = replace(host, nvidia=Nvidia(state, "why", (), nouveau=False))
    with pytest.raises(PreflightError, match=f"found no GPU that answers \\({state}: why\\)"):
        nvidia.toolkit(silent, found(), "1.20.0", FLOORS)


def test_a_jetson_gets_jetpacks_toolkit_and_never_a_driver(host: HostFacts) -> None:
    board = replace(host, jetson=ORIN)
    assert nvidia.toolkit(board, found(), "1.20.0", FLOORS).packages == {"nvidia-container": ""}
    with pytest.raises(PreflightError, match="comes with JetPack: update that"):
        nvidia.toolkit(board, found(toolkit="1.14.2"), "1.20.0", FLOORS)
    assert nvidia.driver(board, "580").packages == {}
    with pytest.raises(PreflightError, match="a part of JetPack"):
        nvidia.driver(replace(board, nvidia=NO_DRIVER), "580")


@pytest.mark.parametrize("system", [OperatingSystem("fedora", "43", "Fedora 43", ()), OperatingSystem("", "", "", ())])
def test_other_distributions_are_refused_with_what_to_do(host: HostFacts, system: OperatingSystem) -> None:
    with pytest.raises(PreflightError, match=r"install version 1.20.0 yourself"):
        nvidia.toolkit(replace(host, os=system), found(), "1.20.0", FLOORS)
    with pytest.raises(PreflightError, match="needed a distribution whose driver packages we know"):
        nvidia.driver(replace(host, os=system, nvidia=NO_DRIVER), "580")


@pytest.mark.parametrize(
    ("system", "kernel", "secure", "packages"),
    [
        (UBUNTU, "6.8.0-45-generic", False,
         {"nvidia-headless-580-server", "nvidia-utils-580-server", "linux-headers-generic"}),
        (UBUNTU, "6.8.0-1012-aws", True,
         {"linux-modules-nvidia-580-server-aws", "nvidia-headless-no-dkms-580-server", "nvidia-utils-580-server"}),
        (DEBIAN, "6.12.41+deb13-amd64", False,
         {"nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "firmware-nvidia-gsp",
          "linux-headers-amd64"}),
    ],
)  # fmt: skip
def test_drivers_packages(
    host: HostFacts, system: OperatingSystem, kernel: str, secure: bool, packages: set[str]
) -> None:
    bare = replace(host, nvidia=NO_DRIVER, os=system, kernel=kernel, secure_boot=secure)
    assert set(nvidia.driver(bare, "580").packages) == packages


def card(host: HostFacts, device: str, system: OperatingSystem, kernel: str, **more: Any) -> HostFacts:
    """A host whose NVIDIA GPU has no driver."""
    display = (Display("0000:01:00.0", "10de", device),)
    return replace(host, nvidia=NO_DRIVER, displays=display, os=system, kernel=kernel, **more)


@pytest.mark.parametrize(
    ("device", "secure", "packages"),
    [
        ("2b85", False, {"nvidia-headless-580-server-open", "nvidia-utils-580-server", "linux-headers-generic"}),
        ("2c05", True, {"linux-modules-nvidia-580-server-open-generic", "nvidia-headless-no-dkms-580-server-open",
                        "nvidia-utils-580-server"}),
        ("2342", False, {"nvidia-headless-580-server-open", "nvidia-utils-580-server", "linux-headers-generic"}),
        ("1c03", False, {"nvidia-headless-580-server", "nvidia-utils-580-server", "linux-headers-generic"}),
    ],
)  # fmt: skip
def test_the_generation_decides_which_kernel_modules(
    host: HostFacts, device: str, secure: bool, packages: set[str]
) -> None:
    bare = card(host, device, UBUNTU, "6.8.0-79-generic", secure_boot=secure)
    assert set(nvidia.driver(bare, "580").packages) == packages


def test_debian_has_open_modules_too(host: HostFacts) -> None:
    found = nvidia.driver(card(host, "2342", DEBIAN, "6.12.41+deb13-arm64"), "580")
    assert "nvidia-open-kernel-dkms" in found.packages and "nvidia-kernel-dkms" not in found.packages


@pytest.mark.parametrize(
    ("device", "system", "branch", "said"),
    [
        ("2b85", DEBIAN, "580", "10de:2b85 (Blackwell), needed driver 570 or newer for it: Debian 13 would get 550"),
        ("3182", DEBIAN, "580", "needed driver 580 or newer for it: Debian 13 would get 550"),
        ("2d04", UBUNTU, "535", "needed driver 570 or newer for it: Ubuntu 24.04 would get 535"),
        ("128b", UBUNTU, "580", "(Kepler or older), needed driver 470 or older for it: Ubuntu 24.04 would get 580"),
        ("1d81", UBUNTU, "590", "(Volta), needed driver 580 or older for it: Ubuntu 24.04 would get 590"),
    ],
)
def test_a_driver_that_does_not_know_the_gpu_is_not_installed(
    host: HostFacts, device: str, system: OperatingSystem, branch: str, said: str
) -> None:
    kernel = "6.8.0-79-generic" if system is UBUNTU else "6.12.41+deb13-amd64"
    assert said in nvidia.refusal(card(host, device, system, kernel), branch)


def test_signed_modules_are_those_of_the_kernel_that_runs(host: HostFacts) -> None:
    found = nvidia.driver(card(host, "2504", UBUNTU, "6.14.0-29-generic", secure_boot=True), "580")
    assert "linux-modules-nvidia-580-server-generic-hwe-24.04" in found.packages


def test_a_gpu_of_a_virtual_machine_gets_no_driver(host: HostFacts) -> None:
    given = ("NVIDIA GPU 10de:2504 at 0000:01:00.0 (vfio-pci)",)
    bound = card(host, "2504", DEBIAN, "6.12.41+deb13-amd64", passed_through=given)
    assert "(vfio-pci) given to a virtual machine" in nvidia.refusal(bound, "580")


def test_secure_boot_refuses_a_module_that_is_built_on_the_host(host: HostFacts) -> None:
    with pytest.raises(PreflightError, match="found Secure Boot switched on, needed it off"):
        nvidia.driver(replace(host, nvidia=NO_DRIVER, secure_boot=True), "580")


def test_a_driver_that_answers_stays_and_a_broken_one_is_named(host: HostFacts) -> None:
    assert nvidia.driver(host, "580").packages == {}
    assert nvidia.answers(host)
    broken = replace(host, nvidia=Nvidia("mismatch", "Driver/library version mismatch", (), nouveau=False))
    with pytest.raises(PreflightError, match=r"does not work \(mismatch: Driver.*reboot the host"):
        nvidia.driver(broken, "580")


@pytest.mark.parametrize(
    ("line", "matches"),
    [
        ("deb https://nvidia.github.io/libnvidia-container/stable/ubuntu18.04/amd64 /", True),
        ("deb https://nvidia.github.io/nvidia-docker/ubuntu18.04/amd64 /", True),
        ("deb https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/ /", False),
    ],
)
def test_old_repositories(line: str, matches: bool) -> None:
    assert bool(re.search(nvidia.REPLACES, line)) is matches
