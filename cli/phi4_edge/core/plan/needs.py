"""What a plan asks of its host, for the judge, and what that makes of the plan: blockers and warnings."""

from __future__ import annotations

from dataclasses import replace

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.installed import taken
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge import flaws
from phi4_edge.core.judge.condition import Level
from phi4_edge.core.judge.judge import judge
from phi4_edge.core.judge.wanted import Installs, Wanted
from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.plan.model import Plan
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.values import AUTO


def wanted(plan: Plan, facts: HostFacts, catalog: Catalog, overrides: Overrides) -> Wanted:
    """Return what the plan asks of the host."""
    asked = Wanted(
        gpu_welcome=_gpu_welcome(catalog, overrides),
        force=overrides.force,
        engine=overrides.engine,
        quantization=overrides.quantization,
        driver_install=overrides.driver_install,
        accepted=overrides.accept_below_floor,
        layout=overrides.layout,
    )
    if not plan.fits or plan.memory is None or plan.disk is None or plan.install is None:
        return asked
    return replace(
        asked,
        idle=plan.action == "none",
        native=plan.service_manager == "systemd",
        docker=plan.service_manager == "compose" or plan.webui is not None,
        cuda=plan.accelerator == "cuda",
        gpu=str((plan.knobs or {}).get("gpu") or ""),
        installs=Installs(plan.install.docker, plan.install.nvidia_toolkit, plan.install.nvidia_driver),
        write=plan.disk.to_write,
        free=plan.disk.free,
        memory=None if plan.memory.kind == "vram" or _ours(facts) else plan.memory.ram_need - plan.memory.later,
        label=f"{plan.engine} {plan.quantization}",
        ports=_ports(plan, facts),
    )


def judged(plan: Plan, facts: HostFacts, catalog: Catalog, overrides: Overrides) -> Plan:
    """Return the plan with what the judge says of its host: problems are blockers, the rest warnings."""
    asked = wanted(plan, facts, catalog, overrides)
    found = judge(facts, catalog, asked)
    warned = (one.sentence for one in found if one.level is Level.WARNING and not one.passing)
    return replace(
        plan,
        blockers=tuple(one.sentence for one in found if one.level is Level.PROBLEM),
        warnings=(*plan.warnings, *warned, *flaws.accepted(facts, catalog, asked)),
    )


def _gpu_welcome(catalog: Catalog, overrides: Overrides) -> bool:
    """Whether the inventory leaves it to us to use a GPU."""
    listed = catalog.candidates.get(overrides.profile, ())
    profile = overrides.profile == AUTO or any(item.accelerator == "cuda" for item in listed)
    return profile and any(
        overrides.engine in (AUTO, item.engine) and overrides.quantization in (AUTO, item.quantization)
        for item in catalog.all_candidates("cuda")
    )


def _ours(facts: HostFacts) -> bool:
    """Whether memory and port may be held by our own engine, also one that a run which was killed has left."""
    return facts.receipt.present or (facts.service is not None and facts.service.load == "loaded")


def _ports(plan: Plan, facts: HostFacts) -> tuple[tuple[int, str, str], ...]:
    """Return the ports that must be free: (port, address, variable)."""
    own = () if _ours(facts) and not taken(facts) else ((plan.port, plan.bind, "phi4_port"),)
    if plan.webui is None or facts.receipt.webui_image.key:
        return own
    return ((plan.webui.port, LOOPBACK, "webui_port"), *own)
