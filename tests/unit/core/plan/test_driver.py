"""Advice to install NVIDIA's driver: given only where an engine could run on the GPU afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
ALONE = "rtx3060-no-driver"
INSTALL = {"nvidia_runtime_driver_install": True}
ADVICE = "set nvidia_runtime_driver_install: true"
SLOT = "0000:0a:00.0"


def system(name: str, version: str, kernel: str) -> dict[str, str]:
    pretty = f"{name.title()} {version}"
    return {
        "os_release": f'ID={name}\nVERSION_ID="{version}"\nPRETTY_NAME="{pretty}"',
        "uname": f"Linux {kernel} x86_64", "secure_boot": "disabled",
    }  # fmt: skip


NOBLE = system("ubuntu", "24.04", "6.8.0-79-generic")
HWE = system("ubuntu", "24.04", "6.14.0-29-generic")
TRIXIE = system("debian", "13", "6.12.41+deb13-amd64")
BOOKWORM = system("debian", "12", "6.1.0-38-amd64")
PROXMOX = system("debian", "13", "6.14.8-2-pve")
FEDORA = system("fedora", "43", "6.17.4-300.fc43.x86_64")


def bus(*devices: str) -> str:
    return "\n".join(f"0000:{index + 10:02x}:00.0 0x10de 0x{one} 0x030000" for index, one in enumerate(devices))


@pytest.mark.parametrize(
    ("devices", "where"),
    [
        (("2b85",), NOBLE),  # RTX 5090
        (("2b85",), HWE),
        (("1c03",), NOBLE),  # GTX 1060, with 580
        (("2504",), TRIXIE),  # RTX 3060
        (("2504",), BOOKWORM),  # vLLM runs with 535
        (("1eb8", "128b"), NOBLE),  # one of two works
        (("2650",), NOBLE),  # a generation that nobody knows
    ],
)
def test_a_driver_that_opens_an_engine_is_advised_and_installed(
    document: Make, plan: Make, devices: tuple[str, ...], where: dict[str, str]
) -> None:
    host = document(ALONE, pci=bus(*devices), **where)
    assert ADVICE in plan(host).reasons[0]
    made = plan(host, **INSTALL)
    assert made.install.nvidia_driver and "nvidia_runtime" in made.steps
    assert not [text for text in made.warnings if "has no effect" in text]


@pytest.mark.parametrize(
    ("device", "where", "wishes", "why"),
    [
        ("2bb1", TRIXIE, {}, "needed driver 570 or newer for it: Debian 13 would get 550"),  # RTX PRO 6000
        ("2d04", BOOKWORM, {}, "needed driver 570 or newer for it: Debian 12 would get 535"),  # RTX 5060 Ti
        ("1c03", TRIXIE, {}, "no engine works with driver 550, which Debian 13 would get (ollama: NVIDIA driver 550, "
                             "needs 570 or newer"),
        ("13c2", TRIXIE, {}, "ollama: NVIDIA driver 550, needs 570 or newer"),  # GTX 970
        ("2504", BOOKWORM, {"engine": "ollama"}, "ollama: NVIDIA driver 535, needs 550 or newer"),
        ("1c03", NOBLE, {"engine": "vllm"}, "vllm: compute capability 6.1 < 7.5"),
        ("102d", NOBLE, {}, "there is no driver that an engine works with on 10de:102d (ollama: compute capability "
                            "3.0 < 5.0"),  # Tesla K80
        ("128b", TRIXIE, {}, "there is no driver that an engine works with"),  # GT 710
        ("2504", PROXMOX, {}, "found kernel 6.14.8-2-pve, needed a kernel that Debian 13 ships (6.12)"),
        ("2b85", system("ubuntu", "24.04", "6.14.0-061400-generic"), {}, "found kernel 6.14.0-061400-generic"),
    ],
)  # fmt: skip
def test_a_driver_that_opens_nothing_is_neither_advised_nor_installed(
    document: Make, plan: Make, device: str, where: dict[str, str], wishes: dict[str, str], why: str
) -> None:
    host = document(ALONE, pci=bus(device), **where)
    production = plan(host, **wishes)
    said = " ".join((*production.reasons, *production.missing))
    assert why in said and ADVICE not in said
    made = plan(host, **wishes, **INSTALL)
    assert made.fits == production.fits and made.fingerprint == production.fingerprint
    if made.fits:
        assert not made.install.nvidia_driver and "nvidia_runtime" not in made.steps and not made.blockers
        warned = [text for text in made.warnings if text.startswith("nvidia_runtime_driver_install has no effect")]
        assert len(warned) == 1 and why in warned[0]


def test_a_distribution_without_packages_that_we_know_is_told_so(document: Make, plan: Make) -> None:
    host = document(ALONE, pci=bus("2504"), **FEDORA)
    assert "found Fedora 43, needed a distribution whose driver packages we know" in plan(host).reasons[0]
    assert ADVICE not in plan(host).reasons[0]
    assert "without the NVIDIA driver, which phi4-edge installs only on" in plan(host, **INSTALL).blockers[0]


@pytest.mark.parametrize("driver", ["vfio-pci", "pci-stub", "xen-pciback"])
def test_a_gpu_that_a_guest_has_is_not_taken_from_it(document: Make, plan: Make, driver: str) -> None:
    host = document(ALONE, pci=bus("2504"), pci_drivers=f"{SLOT} {driver}", modules="", **TRIXIE)
    assert f"found NVIDIA GPU 10de:2504 at {SLOT} ({driver}) given to a virtual machine" in plan(host).reasons[0]
    assert ADVICE not in " ".join(plan(host).reasons)
    made = plan(host, **INSTALL)
    assert made.fits and not made.install.nvidia_driver
    assert any("no driver is installed" in text and driver in text for text in made.warnings)


def test_a_guest_keeps_its_gpu_where_the_host_has_another(document: Make, plan: Make) -> None:
    host = document(ALONE, pci=bus("2504", "2204"), pci_drivers=f"{SLOT} vfio-pci\n0000:0b:00.0 nouveau", **TRIXIE)
    assert not plan(host, **INSTALL).install.nvidia_driver
    assert "would take it from the guest" in plan(host).reasons[0]


def test_a_driver_that_sees_no_device_is_not_blamed_for_a_guests_gpu(document: Make, plan: Make) -> None:
    smi = {"gap": "failed", "detail": "No devices were found"}
    loaded = "nvidia 62771200 0 - Live 0x0 (POE)"
    found = {"pci": bus("2504"), "nvidia_smi": smi, "modules": loaded}
    assert "look at dmesg" in plan(document(ALONE, **found, **TRIXIE)).reasons[0]
    given = plan(document(ALONE, **found, pci_drivers=f"{SLOT} vfio-pci", **TRIXIE))
    assert "given to a virtual machine" in given.reasons[0] and "dmesg" not in given.reasons[0]


@pytest.mark.parametrize(
    "said",
    [None, {"gap": "missing", "detail": "no PCI bus"}, f"{SLOT} nouveau", "x y z\n\n\x1b[31m", f"{SLOT} vfio-pcix"],
)
def test_a_host_that_tells_no_such_driver_keeps_its_gpu(document: Make, plan: Make, said: Any) -> None:
    host = document(ALONE, pci=bus("2504"), pci_drivers=said, **TRIXIE)
    assert ADVICE in plan(host).reasons[0]
