"""What a candidate needs of a host apart from sizes. No force gets past these: the thing would not run.

Each gate returns reasons that say what was found and what is needed; no reason means passed.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.catalog.model import Build, Candidate, Catalog, CatalogEngine, CatalogImage, Variant
from phi4_edge.core.engines import directives
from phi4_edge.core.facts.init import SYSTEMD, first_process
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.judge import gate
from phi4_edge.core.plan.overrides import PREFIX, Overrides
from phi4_edge.core.text import dotted, version_of
from phi4_edge.core.values import AUTO


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
    reasons = _cpu(facts, build) + _beyond(catalog, engine, engine.variants[candidate.quantization], overrides)
    if gpu is not None:
        reasons += gate.of_gpu(facts, engine, build, gpu, engine.variants[candidate.quantization])
    if overrides.quantization == AUTO:
        # Asked for by name it is planned all the same, with what it would bring.
        reasons += filter(None, (undeliverable(catalog, candidate, overrides), _unasked(catalog, candidate)))
    manager, unmanaged = _manager(facts, engine, build, overrides.service_manager)
    image = gate.image(facts, build, gpu) if manager == "compose" else None
    reasons += unmanaged
    if manager == "compose" and image is None and not reasons:
        reasons += gate.no_image(facts, engine, build, gpu)
    return Verdict(manager, image, tuple(reasons))


def _beyond(catalog: Catalog, engine: CatalogEngine, variant: Variant, overrides: Overrides) -> list[str]:
    """Return what is asked for that the engine would not start with, or be wrong with."""
    asked, model = overrides.context_length or 0, catalog.models[overrides.model]
    reasons = []
    if variant.context and asked > variant.context and not variant.long:
        reasons.append(
            f"phi4_context_length {asked}: {engine.name} {variant.quantization} is right up to {variant.context} "
            "tokens, where LongRoPE changes its factors"
        )
    elif variant.long and asked > model.context_length:
        reasons.append(f"phi4_context_length {asked}: {model.id} has positions for {model.context_length} tokens")
    for variable, (low, high) in engine.bounds.items():
        name = variable.lower()
        value = getattr(overrides, name.removeprefix(PREFIX), None)
        if isinstance(value, int) and not low <= value <= high:
            reasons.append(f"{name} {value}: {engine.name} takes {low} to {high}")
    return reasons


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


def _unasked(catalog: Catalog, candidate: Candidate) -> str:
    """Return why a candidate is not chosen unless it is asked for, or ""."""
    recipe = catalog.engines[candidate.engine].variants[candidate.quantization].recipe
    if recipe is None or not recipe.on_request:
        return ""
    return f"only made for those who ask for it: phi4_quantization={candidate.quantization}"


def _cpu(facts: HostFacts, build: Build) -> list[str]:
    if facts.architecture not in build.architectures:
        return [f"architecture {facts.architecture}, needs {' or '.join(build.architectures)}"]
    if facts.userland.bits == 32:  # every architecture that a build is for has 64
        name = f" ({facts.userland.name})" if facts.userland.name else ""
        return [f"found a 32-bit system{name} under a 64-bit kernel ({facts.architecture}), needed a 64-bit system"]
    lacking = [name for name in build.architectures[facts.architecture] if name not in facts.cpu.features]
    return [f"CPU without {', '.join(lacking)}"] if lacking else []


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
