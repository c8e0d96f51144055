"""The metapackages of the kernel that runs, and kernels that have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.facts.model import HostFacts, OperatingSystem
from phi4_edge.core.packages.kernels import flavour
from phi4_edge.errors import PreflightError


def running(document: Callable[..., Any], system: str, version: str, kernel: str) -> HostFacts:
    facts = parse.parse(document("rtx3060-no-driver"))
    return replace(facts, os=OperatingSystem(system, version, f"{system} {version}", ()), kernel=kernel)


@pytest.mark.parametrize(
    ("system", "version", "kernel", "metapackage"),
    [
        ("ubuntu", "24.04", "6.8.0-79-generic", "generic"),
        ("ubuntu", "24.04", "6.14.0-29-generic", "generic-hwe-24.04"),
        ("ubuntu", "24.04", "6.11.0-1008-lowlatency", "lowlatency-hwe-24.04"),
        ("ubuntu", "24.04", "6.14.0-1012-aws", "aws"),
        ("ubuntu", "22.04", "5.15.0-151-generic", "generic"),
        ("ubuntu", "22.04", "6.8.0-79-generic", "generic-hwe-22.04"),
        ("debian", "12", "6.1.0-38-amd64", "amd64"),
        ("debian", "13", "6.12.41+deb13-amd64", "amd64"),
        ("debian", "13", "6.12.48+deb13-cloud-arm64", "cloud-arm64"),
        ("debian", "13", "6.12.48+deb13.1-rt-amd64", "rt-amd64"),
    ],
)
def test_each_series_has_metapackages_of_its_own(
    document: Callable[..., Any], system: str, version: str, kernel: str, metapackage: str
) -> None:
    assert flavour(running(document, system, version, kernel)) == metapackage


@pytest.mark.parametrize(
    ("system", "version", "kernel"),
    [
        ("debian", "13", "6.14.8-2-pve"),  # Proxmox calls itself Debian
        ("debian", "12", "6.12.34+rpt-rpi-v8"),  # so does Raspberry Pi OS
        ("debian", "12", "6.12.9+bpo-amd64"),  # of the backports: the release's headers are those of 6.1
        ("debian", "12", "6.12.41+deb13-amd64"),  # of the next release
        ("debian", "13", "6.15.4"),  # made by hand
        ("ubuntu", "24.04", "6.14.0-061400-generic"),  # of the mainline archive
        ("ubuntu", "24.04", "5.15.0-151-generic"),  # left over from the release before
        ("ubuntu", "24.04", "6.15.2-x64v3-xanmod1"),
        ("ubuntu", "22.04", "5.15.153.1-microsoft-standard-WSL2"),
        ("ubuntu", "26.04", "7.0.0-12-generic"),
    ],
)
def test_a_kernel_that_the_release_does_not_ship_is_refused(
    document: Callable[..., Any], system: str, version: str, kernel: str
) -> None:
    with pytest.raises(PreflightError, match=r"found kernel .*, needed a kernel that .* ships") as refused:
        flavour(running(document, system, version, kernel))
    assert kernel in str(refused.value) and "install the driver yourself" in str(refused.value)
