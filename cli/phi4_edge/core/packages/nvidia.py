"""What it takes that containers of a host see its NVIDIA GPU: driver and container toolkit, or the reason why not.

Takes parsed facts and what roles/nvidia_runtime/files/nvidia.py found; installs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages.docker import ARCHITECTURES, SUITES, Decision, below
from phi4_edge.core.text import version_of
from phi4_edge.errors import AGAIN, PreflightError

COMPONENT = "nvidia-container-toolkit"
# The four packages of one release; apt would mix versions, and then the tools disagree.
PACKAGES = (COMPONENT, "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1")
# What a Jetson's own package sources call the same; its releases are those of JetPack.
JETPACK = "nvidia-container"
# Of NVIDIA's older repositories, which have moved: apt refuses two sources with different keys.
REPLACES = r"nvidia\.github\.io/(?:libnvidia-container|nvidia-container-runtime|nvidia-docker)"
_FLAVOUR = re.compile(r"-([a-z][a-z0-9-]*)$")


def toolkit(
    facts: HostFacts, found: Mapping[str, Any], version: str, floors: Mapping[str, Any], accepted: Collection[str] = ()
) -> Decision:
    """Packages of the container toolkit that are missing; none where an installed one is new enough.

    Raises PreflightError where no GPU would be there to hand over.
    """
    if facts.nvidia.state != "usable":
        said = f": {facts.nvidia.detail}" if facts.nvidia.detail else ""
        raise PreflightError(
            f"found no GPU that answers ({facts.nvidia.state}{said}), "
            "needed one for a plan that uses it: set nvidia_runtime_driver_install=true, or phi4_engine to one for CPUs"
        )
    if found["toolkit"] and not below(floors, COMPONENT, found["toolkit"], accepted):
        return Decision({}, f"the container toolkit {found['toolkit']} is left alone")
    if facts.jetson is not None:
        if found["toolkit"]:
            problem = below(floors, COMPONENT, found["toolkit"], accepted)
            raise PreflightError(f"{problem}. On a Jetson it comes with JetPack: update that")
        return Decision({JETPACK: ""}, "JetPack's container toolkit is missing")
    if (facts.os.id, facts.os.version_id) not in SUITES or found["architecture"] not in ARCHITECTURES:
        raise PreflightError(
            f"found {facts.os.pretty_name or 'an unknown system'} without the NVIDIA Container Toolkit, needed a "
            f"distribution that we install it on: install version {version} yourself, then {AGAIN}"
        )
    problem = below(floors, COMPONENT, version, accepted)
    if problem:
        raise PreflightError(f"nvidia_runtime_toolkit_version: {problem}")
    return Decision(dict.fromkeys(PACKAGES, version), "the container toolkit is missing or too old")


def repository(found: Mapping[str, Any], url: str) -> dict[str, str]:
    """NVIDIA's repository as `phi4_docker` takes one; `url` is the base that a mirror replaces."""
    base = url.rstrip("/")
    return {
        "name": "nvidia-container-toolkit", "uri": f"{base}/stable/deb/{found['architecture']}", "suite": "/",
        "components": "", "key_url": f"{base}/gpgkey", "architecture": found["architecture"],
    }  # fmt: skip


def driver(facts: HostFacts, branch: str) -> Decision:
    """Packages of the driver; none where a GPU answers already or there is none.

    Raises PreflightError where installing it could not help, with the reason.
    """
    if facts.nvidia.state == "usable" or (facts.nvidia.state == "none" and facts.jetson is None):
        return Decision({}, f"nothing to install: the NVIDIA GPU is {facts.nvidia.state}")
    if facts.jetson is not None:
        raise PreflightError(
            "found a Jetson whose GPU does not answer; its driver is a part of JetPack: flash or repair that"
        )
    if facts.nvidia.state != "no_driver":
        raise PreflightError(
            f"found an NVIDIA driver that does not work ({facts.nvidia.state}: {facts.nvidia.detail}), needed none or "
            "a working one: reboot the host, or remove that driver"
        )
    if (facts.os.id, facts.os.version_id) not in SUITES:
        raise PreflightError(f"found {facts.os.pretty_name}, needed a distribution whose driver packages we know")
    if facts.os.id == "ubuntu":
        return _ubuntu(facts, branch)
    if facts.secure_boot:
        raise PreflightError(
            "found Secure Boot switched on, needed it off: Debian builds the driver's module on the host, and the "
            "firmware refuses a module without a signature that it trusts. Enrol a key of yours (mokutil) and install "
            "the driver yourself, or switch Secure Boot off"
        )
    headers = f"linux-headers-{flavour(facts.kernel, 'amd64' if facts.architecture == 'x86_64' else 'arm64')}"
    names = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "firmware-nvidia-gsp", headers)
    return Decision(dict.fromkeys(names, ""), "the GPU has no driver")


def _ubuntu(facts: HostFacts, branch: str) -> Decision:
    """With Secure Boot the modules that Ubuntu has signed, for exactly the kernel's flavour; else those built here."""
    utils = f"nvidia-utils-{branch}-server"
    if facts.secure_boot:
        modules = f"linux-modules-nvidia-{branch}-server-{flavour(facts.kernel, 'generic')}"
        names = [modules, f"nvidia-headless-no-dkms-{branch}-server", utils]
        return Decision(
            dict.fromkeys(names, ""), "the GPU has no driver; Secure Boot takes the modules that Ubuntu signed"
        )
    headers = f"linux-headers-{flavour(facts.kernel, 'generic')}"
    names = [f"nvidia-headless-{branch}-server", utils, headers]
    return Decision(dict.fromkeys(names, ""), "the GPU has no driver")


def flavour(kernel: str, default: str) -> str:
    """generic of 6.8.0-45-generic, amd64 of 6.12.41+deb13-amd64."""
    found = _FLAVOUR.search(kernel)
    return found.group(1) if found else default


def answers(facts: HostFacts) -> bool:
    """Whether a GPU works now."""
    return facts.nvidia.state == "usable" and bool(version_of(facts.nvidia.gpus[0].driver) or facts.jetson)


def driver_needs(facts: HostFacts, branch: str) -> dict[str, Any]:
    """Return what role nvidia_runtime does about the driver: packages in `install`, and whether a GPU answers."""
    wanted = driver(facts, branch)
    return {"changed": False, "install": wanted.packages, "reason": wanted.reason, "works": answers(facts)}


def toolkit_needs(
    facts: HostFacts,
    found: Mapping[str, Any],
    pins: tuple[str, str],
    floors: Mapping[str, Any],
    accepted: Collection[str],
) -> dict[str, Any]:
    """Return what it does about the toolkit: packages in `install` with their repository, those to `remove` first.

    `found` is what the host says, `pins` the toolkit's version and the base URL of NVIDIA's repository.
    """
    version, url = pins
    wanted = toolkit(facts, found, version, floors, accepted)
    vendor = bool(wanted.packages) and facts.jetson is None
    return {
        "changed": False, "install": wanted.packages, "reason": wanted.reason, "replaces": REPLACES,
        "repository": repository(found, url) if vendor else {},
        "remove": ["nvidia-docker2"] if vendor and found["nvidia_docker2"] else [],
    }  # fmt: skip
