"""Versions on the host against the oldest ones that no known vulnerability forbids (data/cve_floors.yml)."""

from __future__ import annotations

from collections.abc import Iterable

from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import Install
from phi4_edge.core.text import dotted, version_of

VARIABLE = "phi4_accept_below_floor"


def findings(it: Chosen, steps: Iterable[str], planned: Install) -> dict[str, str]:
    """Return by component what is too old on the host. What a role installs or updates first is not looked at."""
    facts, catalog = it.facts, it.catalog
    used = set(steps)
    there: dict[str, str] = {}
    if "docker" in used and facts.docker:
        there |= {"docker": facts.docker, "runc": facts.runc}
    if "nvidia_runtime" in used and not planned.nvidia_toolkit:
        there["nvidia-container-toolkit"] = facts.toolkit
    found = {}
    for name, text in there.items():
        floor, version = catalog.floors.get(name), version_of(text)
        if floor is not None and version and version < (minimum := floor.for_version(version)):
            found[name] = f"{name} {dotted(version)} is older than {dotted(minimum)}: {floor.why}"
    return found


def sentences(it: Chosen, steps: Iterable[str], planned: Install) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (blockers, warnings): what is too old, and what of it the operator has accepted."""
    blockers, warnings = [], _unnumbered(it, planned)
    for name, text in findings(it, steps, planned).items():
        if name in it.overrides.accept_below_floor:
            warnings.append(f"accepted below its floor: {text}")
        else:
            advice = f"set {VARIABLE}: {name} if the distribution has fixed these in its own build"
            blockers.append(f"{text}; update it, or {advice}")
    return tuple(blockers), tuple(warnings)


def _unnumbered(it: Chosen, planned: Install) -> list[str]:
    """Return which programs that will be used do not say how old they are."""
    facts = it.facts
    used = {
        "Docker": facts.docker if it.needs_docker else "",
        "Compose": facts.compose if it.needs_docker and not planned.docker else "",
        "runc": facts.runc if it.needs_docker and facts.docker else "",
        "the NVIDIA Container Toolkit": facts.toolkit if it.needs_toolkit and not planned.nvidia_toolkit else "",
    }
    return [
        f"{name} is there without a version number ({text}): nobody knows whether it is new enough"
        for name, text in used.items()
        if text and not version_of(text)
    ]
