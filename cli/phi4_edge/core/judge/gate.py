"""What a candidate needs of a GPU and its driver; neither its memory nor the rest of the host counts here.

Each gate returns reasons that say what was found and what is needed; no reason means passed.
"""

from __future__ import annotations

from phi4_edge.core.catalog.model import Build, Candidate, Catalog, CatalogEngine, CatalogImage, Variant
from phi4_edge.core.facts.model import Gpu, HostFacts, Jetson
from phi4_edge.core.text import dotted, version_of


def of_candidate(facts: HostFacts, catalog: Catalog, candidate: Candidate, gpu: Gpu) -> list[str]:
    """Return why a GPU and its driver cannot run a candidate; neither its memory nor the rest of the host counts."""
    engine = catalog.engines[candidate.engine]
    build = engine.builds[candidate.accelerator]
    reasons = of_gpu(facts, engine, build, gpu, engine.variants[candidate.quantization])
    if "systemd" not in engine.service_managers and image(facts, build, gpu) is None and not reasons:
        reasons += no_image(facts, engine, build, gpu)
    return reasons


def of_gpu(facts: HostFacts, engine: CatalogEngine, build: Build, gpu: Gpu, variant: Variant) -> list[str]:
    """Return why a build of an engine cannot run a variant on a GPU with its driver."""
    reasons = []
    capability, wanted = gpu.compute_capability, max(build.compute_capability, variant.compute_capability)
    # A driver too old to tell the capability is what is in the way.
    known = [rule.minimum for rule in build.drivers] + [item.minimum_driver for item in build.images]
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


def image(facts: HostFacts, build: Build, gpu: Gpu | None) -> CatalogImage | None:
    """Return the first image that is for the host and its driver, None where there is none."""
    driver = version_of(gpu.driver if gpu else "")[:1]
    for item in build.images:
        fits_driver = not item.minimum_driver or driver >= (item.minimum_driver,)
        if item.architecture in ("", facts.architecture) and fits_driver:
            return item
    return None


def no_image(facts: HostFacts, engine: CatalogEngine, build: Build, gpu: Gpu | None) -> list[str]:
    """Return why there is no image for the host and its driver."""
    oldest = min((item.minimum_driver for item in build.images if item.minimum_driver), default=0)
    if oldest and gpu is not None:
        return [f"NVIDIA driver {gpu.driver or 'unknown'}, {engine.name} {engine.version} needs {oldest} or newer"]
    return [f"no image of {engine.name} {engine.version} for {facts.architecture}"]
