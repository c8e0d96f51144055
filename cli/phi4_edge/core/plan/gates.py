"""What a candidate needs of a host apart from sizes. No force gets past these: the thing would not run.

Each gate returns reasons that say what was found and what is needed; no reason means passed.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.catalog.model import Build, Candidate, Catalog, CatalogEngine, CatalogImage, Variant
from phi4_edge.core.facts.model import Gpu, HostFacts, Jetson, UnusableGpu
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import dotted, version_of
from phi4_edge.core.values import AUTO

DRIVER_VARIABLE = "nvidia_runtime_driver_install"
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


def no_gpu(facts: HostFacts) -> str:
    """Return why no NVIDIA GPU can be used, and what would change that."""
    nvidia = facts.nvidia
    cards = [f"{entry.vendor}:{entry.device}" for entry in facts.displays if entry.vendor == "10de"]
    card = f"NVIDIA GPU {cards[0]}" if cards else "an NVIDIA GPU"
    if nvidia.state == "no_driver":
        nouveau = " (nouveau is loaded instead)" if nvidia.nouveau else ""
        secure = "; Secure Boot is on, so its modules must be signed" if facts.secure_boot else ""
        return (
            f"found {card} without the NVIDIA driver{nouveau}; set {DRIVER_VARIABLE}: true to have it installed{secure}"
        )
    if nvidia.state == "unusable":
        return "; ".join(f"found {unusable(gpu)}" for gpu in nvidia.unusable)
    advice = {
        "mismatch": "whose kernel driver and library differ in version; reboot the host",
        "no_devices": "whose driver sees no device; look at dmesg on the host",
        "unreadable": f"whose driver gives no usable answer{_quoted(nvidia.detail)}; {_advice(nvidia.detail)}",
    }
    return f"found {card} {advice[nvidia.state]}" if nvidia.state in advice else NO_GPU


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
    if facts.init != "systemd":
        reasons.append(f"PID 1 is {facts.init or 'unknown'}, needs systemd")
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
    # Where systemd runs, Docker can be installed; elsewhere it must be there.
    if facts.docker or facts.init == "systemd":
        return []
    return ["no Docker Engine, and without systemd it cannot be installed"]


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
