"""What it takes that containers of a host see its NVIDIA GPU: driver and container toolkit, or the reason why not.

Takes parsed facts and what roles/nvidia_runtime/files/nvidia.py found; installs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages import generations, kernels
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
# Debian has one driver per release; its major version.
DEBIAN_DRIVERS = {"12": 535, "13": 550}


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
    if facts.passed_through:
        raise PreflightError(
            f"found {', '.join(facts.passed_through)} given to a virtual machine, needed an NVIDIA GPU of the host's "
            "own: a driver would take it from the guest at the next boot"
        )
    if facts.nvidia.state != "no_driver":
        raise PreflightError(
            f"found an NVIDIA driver that does not work ({facts.nvidia.state}: {facts.nvidia.detail}), needed none or "
            "a working one: reboot the host, or remove that driver"
        )
    if not installable(facts):
        raise PreflightError(f"found {facts.os.pretty_name}, needed a distribution whose driver packages we know")
    free = _open_modules(facts, offered(facts, branch))
    if facts.os.id == "ubuntu":
        return _ubuntu(facts, branch, free)
    if facts.secure_boot:
        raise PreflightError(
            "found Secure Boot switched on, needed it off: Debian builds the driver's module on the host, and the "
            "firmware refuses a module without a signature that it trusts. Enrol a key of yours (mokutil) and install "
            "the driver yourself, or switch Secure Boot off"
        )
    modules = "nvidia-open-kernel-dkms" if free else "nvidia-kernel-dkms"
    headers = f"linux-headers-{kernels.flavour(facts)}"
    names = (modules, "nvidia-smi", "libcuda1", "libnvidia-ml1", "firmware-nvidia-gsp", headers)
    return Decision(dict.fromkeys(names, ""), "the GPU has no driver")


def refusal(facts: HostFacts, branch: str) -> str:
    """Return why `driver` refuses the host, "" where it does not."""
    try:
        driver(facts, branch)
    except PreflightError as error:
        return str(error)
    return ""


def installable(facts: HostFacts) -> bool:
    """Whether the host's distribution has driver packages that we know."""
    return (facts.os.id, facts.os.version_id) in SUITES


def offered(facts: HostFacts, branch: str) -> int:
    """Return the major version of the driver that the packages bring; `branch` is Ubuntu's choice."""
    own = DEBIAN_DRIVERS.get(facts.os.version_id, 0) if facts.os.id == "debian" else 0
    return own or next(iter(version_of(branch)), 0)


def _open_modules(facts: HostFacts, version: int) -> bool:
    """Whether it takes the open kernel modules; raises PreflightError where the driver knows none of the GPUs."""
    known = [(card, generation) for card, generation in generations.cards(facts.displays) if generation is not None]
    driven = [one for _, one in known if one.driven_by(version)]
    if known and not driven:
        card, one = known[0]
        needed = f"{one.first} or newer" if version < one.first else f"{one.last} or older"
        raise PreflightError(
            f"found NVIDIA GPU {card} ({one.name}), needed driver {needed} for it: {facts.os.pretty_name} would get "
            f"{version}, which does not know that GPU"
        )
    return any(one.open_only for one in driven)


def _ubuntu(facts: HostFacts, branch: str, free: bool) -> Decision:
    """With Secure Boot the modules that Ubuntu has signed, for the series of the kernel that runs; else built here."""
    kernel, utils = kernels.flavour(facts), f"nvidia-utils-{branch}-server"
    kind = f"{branch}-server-open" if free else f"{branch}-server"
    if facts.secure_boot:
        names = [f"linux-modules-nvidia-{kind}-{kernel}", f"nvidia-headless-no-dkms-{kind}", utils]
        return Decision(
            dict.fromkeys(names, ""), "the GPU has no driver; Secure Boot takes the modules that Ubuntu signed"
        )
    return Decision(
        dict.fromkeys([f"nvidia-headless-{kind}", utils, f"linux-headers-{kernel}"], ""), "the GPU has no driver"
    )


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
