"""`judge`: everything about a host that stands in the way of a plan, or costs it something. Pure.

The plan takes its blockers and warnings from here, the doctor its findings: both say the same in the same words.
"""

from __future__ import annotations

from dataclasses import replace

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge import containers, flaws, gpu, paths, resources, system
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted

# The checks that conditions belong to, as the doctor names them.
CHECKS = (
    "paths", "disk", "inodes", "unit", "memory", "port", "systemd", "cgroups", "dpkg", "packages", "docker", "toolkit",
    "driver", "secure boot", flaws.CHECK,
)  # fmt: skip


def judge(facts: HostFacts, catalog: Catalog, wanted: Wanted) -> tuple[Condition, ...]:
    """Return what has to be known of a host for a plan that wants this of it.

    Nothing stands in the way of a host that is as planned: what would is a warning there.
    """
    found = (
        *paths.conditions(facts, wanted),
        *resources.conditions(facts, wanted),
        *system.conditions(facts, wanted),
        *containers.conditions(facts, wanted),
        *gpu.conditions(facts, catalog, wanted),
        *flaws.conditions(facts, catalog, wanted),
    )
    if not wanted.idle:
        return found
    return tuple(replace(one, level=Level.WARNING) if one.level is Level.PROBLEM else one for one in found)
