"""Versions on the host against the oldest ones that no known vulnerability forbids (data/cve_floors.yml)."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.packages import commands
from phi4_edge.core.text import dotted, version_of

VARIABLE = "phi4_accept_below_floor"
CHECK = "known flaws"
DOCKER, RUNC, TOOLKIT = "docker", "runc", "nvidia-container-toolkit"
_PACKAGES = {
    DOCKER: "docker-ce docker-ce-cli containerd.io docker.io",
    RUNC: "runc containerd.io",
    TOOLKIT: "nvidia-container-toolkit nvidia-container-toolkit-base",
}


def conditions(facts: HostFacts, catalog: Catalog, wanted: Wanted) -> Iterator[Condition]:
    """Yield what is below its floor, also what the plan does not use, and what does not tell how old it is."""
    used = _used(facts, wanted)
    for name, text in {DOCKER: facts.docker, RUNC: facts.runc, TOOLKIT: facts.toolkit}.items():
        floor, version = catalog.floors.get(name), version_of(text)
        if floor is None or not version or version >= (minimum := floor.for_version(version)):
            continue
        found, needed = f"{name} {dotted(version)}: open to {floor.why}", f"{dotted(minimum)} or newer"
        fix = commands.upgrade(facts.os, _PACKAGES[name])
        if name in wanted.accepted:
            yield Condition(CHECK, Level.NOTE, f"{found} (accepted in the inventory)", needed, fix)
        elif name == TOOLKIT and wanted.installs.toolkit:
            yield Condition(CHECK, Level.NOTE, found, needed, f"nothing to do: provision updates it; by hand: {fix}")
        else:
            fix += f"; or {VARIABLE}={name} if the distribution has fixed these in its own build"
            yield Condition(CHECK, Level.PROBLEM if name in used else Level.WARNING, found, needed, fix)
    yield from _unnumbered(facts, wanted, used)


def accepted(facts: HostFacts, catalog: Catalog, wanted: Wanted) -> Iterator[str]:
    """Yield what the plan uses below its floor because the inventory accepts it."""
    there = {DOCKER: facts.docker, RUNC: facts.runc, TOOLKIT: facts.toolkit}
    for name in _used(facts, wanted):
        floor, version = catalog.floors.get(name), version_of(there[name])
        if name in wanted.accepted and floor is not None and version and version < (low := floor.for_version(version)):
            yield f"accepted below its floor: {name} {dotted(version)} is older than {dotted(low)}: {floor.why}"


def _used(facts: HostFacts, wanted: Wanted) -> tuple[str, ...]:
    """Return the components that run as they are found; what a role installs or updates first is not among them."""
    containers = (DOCKER, RUNC) if wanted.docker and facts.docker else ()
    toolkit = (wanted.cuda and wanted.docker) or wanted.installs.driver
    return (*containers, *((TOOLKIT,) if toolkit and not wanted.installs.toolkit else ()))


def _unnumbered(facts: HostFacts, wanted: Wanted, used: tuple[str, ...]) -> Iterator[Condition]:
    asked = {
        "Docker": (facts.docker if wanted.docker else "", "docker version"),
        "Compose": (facts.compose if wanted.docker and not wanted.installs.docker else "", "docker compose version"),
        RUNC: (facts.runc if RUNC in used else "", "runc --version"),
        "the NVIDIA Container Toolkit": (
            facts.toolkit if wanted.cuda and TOOLKIT in used else "", "nvidia-ctk --version",
        ),
    }  # fmt: skip
    for name, (text, command) in asked.items():
        if text and not version_of(text):
            found = f"{name} is there without a version number ({text})"
            needed = "one: nobody knows whether it is new enough"
            yield Condition(CHECK, Level.WARNING, found, needed, f"see what made it: {command}")
