"""What a candidate needs of a host apart from sizes. No force gets past these: the thing would not run.

Each gate returns reasons that say what was found and what is needed; no reason means passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from phi4_edge.core.catalog.model import Build, Candidate, Catalog, CatalogEngine, CatalogImage, Variant
from phi4_edge.core.engines import directives
from phi4_edge.core.facts.init import SYSTEMD, first_process
from phi4_edge.core.facts.model import Gpu, HostFacts, Jetson, UnusableGpu
from phi4_edge.core.packages import nvidia
from phi4_edge.core.packages.generations import Generation, cards
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import dotted, version_of
from phi4_edge.core.values import AUTO

DRIVER_VARIABLE = "nvidia_runtime_driver_install"
# As the role nvidia_runtime has it: the last branch that knows Maxwell, Pascal and Volta, new enough for CUDA 13.
DRIVER_BRANCH = "580"
# Above every version that a rule asks for.
NEWEST_DRIVER = 9999
NO_GPU = "found no NVIDIA GPU"
_ADVICE = {
    "is not a valid field": "update the driver, which is too old to answer",
    "insufficient permissions": "look as root, to whom also a GPU in MIG mode answers",
    "gpu is lost": "reboot the host",
    "reset": "reset it (nvidia-smi --gpu-reset) or reboot the host",
    "unknown error": "look at dmesg and reboot the host",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The service manager and image that would run a candidate, and the reasons why it cannot (or none)."""

    service_manager: str
    image: CatalogImage | None
    reasons: tuple[str, ...]


def verdict(facts: HostFacts, catalog: Catalog, candidate: Candidate, overrides: Overrides, gpu: Gpu | None) -> Verdict:
    """Return whether and how a candidate runs on this host."""
    engine = catalog.engines[candidate.engine]
    build = engine.builds[candidate.accelerator]
    reasons = _cpu(facts, build)
    if gpu is not None:
        reasons += _gpu(facts, engine, build, gpu, engine.variants[candidate.quantization])
    if overrides.quantization == AUTO and (why := undeliverable(catalog, candidate, overrides)):
        # Asked for by name it is planned all the same, with what it would bring.
        reasons.append(why)
    manager, unmanaged = _manager(facts, engine, build, overrides.service_manager)
    image = _image(facts, build, gpu) if manager == "compose" else None
    reasons += unmanaged
    if manager == "compose" and image is None and not reasons:
        reasons += _no_image(facts, engine, build, gpu)
    return Verdict(manager, image, tuple(reasons))


def undeliverable(catalog: Catalog, candidate: Candidate, overrides: Overrides) -> str:
    """Return why this release cannot get hold of a candidate's weights, or ""."""
    variant = catalog.engines[candidate.engine].variants[candidate.quantization]
    model = catalog.models[overrides.model]
    if not variant.not_applicable and model.unpinned(variant.artifact):
        source = model.checkpoints.get(variant.artifact)
        why = f"the catalog knows no revision of {source['repo']} to pin it to" if source else "nothing here makes it"
        wanted = f"{model.id}/{variant.artifact}"
        return f"cannot be delivered: {why}; `phi4-edge model import {wanted} DIRECTORY` imports your own"
    return f"cannot be delivered: {variant.not_applicable}" if variant.not_applicable else ""


def no_gpu(facts: HostFacts, hindrance: str) -> str:
    """Return why no NVIDIA GPU can be used, and what would change that.

    `hindrance` is why an installation of the driver would not, or "".
    """
    known = [card for card, _ in cards(facts.displays)]
    card = f"NVIDIA GPU {known[0]}" if known else "an NVIDIA GPU"
    if facts.passed_through and len(facts.passed_through) == len(known):
        return (
            f"found {', '.join(facts.passed_through)} given to a virtual machine, and no NVIDIA GPU of the host's own"
        )
    if facts.nvidia.state == "no_driver":
        nouveau = " (nouveau is loaded instead)" if facts.nvidia.nouveau else ""
        if hindrance:
            return f"found {card} without the NVIDIA driver{nouveau}; nothing to install: {hindrance}"
        secure = "; Secure Boot is on, so its modules must be signed" if facts.secure_boot else ""
        return (
            f"found {card} without the NVIDIA driver{nouveau}; set {DRIVER_VARIABLE}: true to have it installed{secure}"
        )
    if facts.nvidia.state == "unusable":
        return "; ".join(f"found {unusable(gpu)}" for gpu in facts.nvidia.unusable)
    said = facts.nvidia.detail
    advice = {
        "mismatch": "whose kernel driver and library differ in version; reboot the host",
        "no_devices": "whose driver sees no device; look at dmesg on the host",
        "unreadable": f"whose driver gives no usable answer{_quoted(said)}; {_advice(said)}",
    }
    return f"found {card} {advice[facts.nvidia.state]}" if facts.nvidia.state in advice else NO_GPU


def driver_wanted(facts: HostFacts, catalog: Catalog, overrides: Overrides) -> bool:
    """Return whether the driver is to be installed; where the distribution is in the way, the plan is blocked too."""
    if not driver_asked(facts, overrides):
        return False
    return not nvidia.installable(facts) or not driver_hindrance(facts, catalog, overrides)


def driver_asked(facts: HostFacts, overrides: Overrides) -> bool:
    """Return whether the inventory asks for a driver that is missing. A Jetson's comes with JetPack, never from us."""
    return overrides.driver_install and facts.nvidia.state == "no_driver" and facts.jetson is None


def driver_hindrance(facts: HostFacts, catalog: Catalog, overrides: Overrides) -> str:
    """Return why an installation would not have any candidate run on a GPU without a driver, or ""."""
    if facts.nvidia.state != "no_driver":
        return ""
    known = cards(facts.displays)
    if shut := _shut(facts, catalog, overrides, known, NEWEST_DRIVER):
        return f"there is no driver that an engine works with on {', '.join(card for card, _ in known)} ({shut})"
    # Secure Boot can be switched off, and the plan says so beside the advice.
    if refusal := nvidia.refusal(replace(facts, secure_boot=False), DRIVER_BRANCH):
        return refusal
    version = nvidia.offered(facts, DRIVER_BRANCH)
    driven = tuple((card, found) for card, found in known if found is None or found.driven_by(version))
    shut = _shut(facts, catalog, overrides, driven, version)
    return f"no engine works with driver {version}, which {facts.os.pretty_name} would get ({shut})" if shut else ""


def _shut(
    facts: HostFacts,
    catalog: Catalog,
    overrides: Overrides,
    found_cards: Sequence[tuple[str, Generation | None]],
    version: int,
) -> str:
    """Return why no candidate would run on any of the cards with a driver of this major version, or ""."""
    shut: dict[str, None] = {}
    for card, found in found_cards:
        # A GPU of an unknown generation may well be one that works.
        if found is None:
            return ""
        gpu = Gpu(0, f"{found.name} {card}", 0, 0, str(version), found.capability, "")
        for item in catalog.all_candidates("cuda"):
            if overrides.engine not in (AUTO, item.engine) or overrides.quantization not in (AUTO, item.quantization):
                continue
            reasons = _of_gpu(facts, catalog, item, gpu)
            if not reasons:
                return ""
            shut |= dict.fromkeys(f"{item.engine}: {why}" for why in reasons)
    return "; ".join(shut)


def _of_gpu(facts: HostFacts, catalog: Catalog, candidate: Candidate, gpu: Gpu) -> list[str]:
    """Return why a GPU and its driver cannot run a candidate; neither its memory nor the rest of the host counts."""
    engine = catalog.engines[candidate.engine]
    build = engine.builds[candidate.accelerator]
    reasons = _gpu(facts, engine, build, gpu, engine.variants[candidate.quantization])
    if "systemd" not in engine.service_managers and _image(facts, build, gpu) is None and not reasons:
        reasons += _no_image(facts, engine, build, gpu)
    return reasons


def unusable(gpu: UnusableGpu) -> str:
    """Return which GPU cannot be used, why, and what would change that."""
    if gpu.problem == "mig":
        return f"{gpu.name} in MIG mode, which phi4-edge does not use; needs MIG off or phi4_engine for the CPU"
    if gpu.problem == "prohibited":
        return (
            f"{gpu.name} in compute mode Prohibited, in which no process may use it; "
            f"nvidia-smi -i {gpu.index} -c DEFAULT allows it"
        )
    return f"{gpu.name} that answers {gpu.said} when asked for its memory; {_advice(gpu.said)}"


def _quoted(said: str) -> str:
    return f": {said.rstrip('.')}" if said else ""


def _advice(said: str) -> str:
    """Return what to do about an answer of nvidia-smi, by its own words."""
    return next((advice for words, advice in _ADVICE.items() if words in said.lower()), "run nvidia-smi on the host")


def _cpu(facts: HostFacts, build: Build) -> list[str]:
    if facts.architecture not in build.architectures:
        return [f"architecture {facts.architecture}, needs {' or '.join(build.architectures)}"]
    if facts.userland.bits == 32:  # every architecture that a build is for has 64
        name = f" ({facts.userland.name})" if facts.userland.name else ""
        return [f"found a 32-bit system{name} under a 64-bit kernel ({facts.architecture}), needed a 64-bit system"]
    lacking = [name for name in build.architectures[facts.architecture] if name not in facts.cpu.features]
    return [f"CPU without {', '.join(lacking)}"] if lacking else []


def _gpu(facts: HostFacts, engine: CatalogEngine, build: Build, gpu: Gpu, variant: Variant) -> list[str]:
    reasons = []
    capability, wanted = gpu.compute_capability, max(build.compute_capability, variant.compute_capability)
    # A driver too old to tell the capability is what is in the way.
    known = [rule.minimum for rule in build.drivers] + [image.minimum_driver for image in build.images]
    oldest = min((minimum for minimum in known if minimum), default=0)
    if capability is None and () < version_of(gpu.driver) < (oldest,) and facts.board_of(gpu) is None:
        return [f"NVIDIA driver {gpu.driver}, needs {oldest} or newer"]
    if capability is None:
        reasons.append(f"{gpu.name} reports no compute capability, needs {dotted(wanted)}")
    elif capability < wanted:
        reasons.append(f"compute capability {dotted(capability)} < {dotted(wanted)}")
    if (board := facts.board_of(gpu)) is not None:
        return reasons + _jetson(board, engine, build)
    driver = version_of(gpu.driver)
    rule = next((r for r in build.drivers if not r.capability_to or (capability or ()) <= r.capability_to), None)
    if rule and driver < (rule.minimum,):
        reasons.append(f"NVIDIA driver {gpu.driver or 'unknown'}, needs {rule.minimum} or newer")
    return reasons


def _jetson(board: Jetson, engine: CatalogEngine, build: Build) -> list[str]:
    release = version_of(board.l4t)[:1]
    if not build.jetson:
        return [f"{engine.name} {engine.version} has no build for Jetson ({board.model})"]
    if not release or release[0] not in build.jetson:
        known = " or ".join(f"R{major}" for major in build.jetson)
        return [f"Linux for Tegra {board.l4t or 'of unknown release'}, needs {known}"]
    return []


def _manager(facts: HostFacts, engine: CatalogEngine, build: Build, wanted: str) -> tuple[str, list[str]]:
    offered = engine.service_managers if wanted == AUTO else (wanted,)
    first: list[str] = []
    for manager in offered:
        if manager not in (*engine.service_managers, *engine.on_request):
            reasons = [f"{engine.name} is not offered under {manager}"]
        else:
            reasons = _native(facts, build) if manager == "systemd" else _compose(facts)
        if not reasons:
            return manager, []
        first = first or reasons
    return offered[0], first


def _native(facts: HostFacts, build: Build) -> list[str]:
    reasons = []
    if facts.init != SYSTEMD:
        reasons.append(f"{first_process(facts)}, needs systemd")
    elif old := directives.too_old(facts.systemd):
        reasons.append(old)
    if build.glibc and facts.libc.family != "glibc":
        reasons.append(f"C library {facts.libc.family or 'unknown'}, needs glibc {build.glibc}")
    elif build.glibc and version_of(facts.libc.version) < version_of(build.glibc):
        reasons.append(f"glibc {facts.libc.version or 'unknown'}, needs {build.glibc} or newer")
    python = version_of(facts.python.version)
    if build.pythons and dotted(python, 2) not in build.pythons:
        found = dotted(python) or "unknown"
        reasons.append(f"Python {found}, needs {build.pythons[0]} to {build.pythons[-1]}")
    return reasons


def _compose(facts: HostFacts) -> list[str]:
    # What runs in containers is a unit too.
    if facts.init == SYSTEMD and (old := directives.too_old(facts.systemd)):
        return [old]
    # Where systemd runs, Docker can be installed; elsewhere it must be there, and does not help: see `hindrance`.
    if facts.docker or facts.init == SYSTEMD:
        return []
    return [f"{first_process(facts)}, needs systemd, also under Compose"]


def _image(facts: HostFacts, build: Build, gpu: Gpu | None) -> CatalogImage | None:
    driver = version_of(gpu.driver if gpu else "")[:1]
    for image in build.images:
        fits_driver = not image.minimum_driver or driver >= (image.minimum_driver,)
        if image.architecture in ("", facts.architecture) and fits_driver:
            return image
    return None


def _no_image(facts: HostFacts, engine: CatalogEngine, build: Build, gpu: Gpu | None) -> list[str]:
    oldest = min((image.minimum_driver for image in build.images if image.minimum_driver), default=0)
    if oldest and gpu is not None:
        return [f"NVIDIA driver {gpu.driver or 'unknown'}, {engine.name} {engine.version} needs {oldest} or newer"]
    return [f"no image of {engine.name} {engine.version} for {facts.architecture}"]
