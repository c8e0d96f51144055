"""NVIDIA's driver where it is missing: whether it is asked for, and whether an installation would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.judge import gate
from phi4_edge.core.packages import nvidia
from phi4_edge.core.packages.generations import Generation, cards
from phi4_edge.core.values import AUTO

VARIABLE = "nvidia_runtime_driver_install"
# As the role nvidia_runtime has it: the last branch that knows Maxwell, Pascal and Volta, new enough for CUDA 13.
BRANCH = "580"
# Above every version that a rule asks for.
NEWEST = 9999


class Asked(Protocol):
    """What the inventory says about engines and the driver."""

    @property
    def engine(self) -> str:
        """Name of the engine, or auto."""

    @property
    def quantization(self) -> str:
        """Name of the quantization, or auto."""

    @property
    def driver_install(self) -> bool:
        """Whether the driver is to be installed where it is missing."""


def wanted(facts: HostFacts, catalog: Catalog, asked: Asked) -> bool:
    """Return whether the driver is to be installed; where the distribution is in the way, the plan is blocked too."""
    if not is_asked(facts, asked):
        return False
    return not nvidia.installable(facts) or not hindrance(facts, catalog, asked)


def is_asked(facts: HostFacts, asked: Asked) -> bool:
    """Return whether the inventory asks for a driver that is missing. A Jetson's comes with JetPack, never from us."""
    return asked.driver_install and facts.nvidia.state == "no_driver" and facts.jetson is None


def hindrance(facts: HostFacts, catalog: Catalog, asked: Asked) -> str:
    """Return why an installation would not have any candidate run on a GPU without a driver, or ""."""
    if facts.nvidia.state != "no_driver":
        return ""
    known = cards(facts.displays)
    if shut := _shut(facts, catalog, asked, known, NEWEST):
        return f"there is no driver that an engine works with on {', '.join(card for card, _ in known)} ({shut})"
    # Secure Boot can be switched off, and the plan says so beside the advice.
    if refusal := nvidia.refusal(replace(facts, secure_boot=False), BRANCH):
        return refusal
    version = nvidia.offered(facts, BRANCH)
    driven = tuple((card, found) for card, found in known if found is None or found.driven_by(version))
    shut = _shut(facts, catalog, asked, driven, version)
    return f"no engine works with driver {version}, which {facts.os.pretty_name} would get ({shut})" if shut else ""


def _shut(
    facts: HostFacts,
    catalog: Catalog,
    asked: Asked,
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
            if asked.engine not in (AUTO, item.engine) or asked.quantization not in (AUTO, item.quantization):
                continue
            reasons = gate.of_candidate(facts, catalog, item, gpu)
            if not reasons:
                return ""
            shut |= dict.fromkeys(f"{item.engine}: {why}" for why in reasons)
    return "; ".join(shut)
