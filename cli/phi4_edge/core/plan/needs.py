"""What a plan asks of its host, for the judge, and what that makes of the plan: blockers and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.installed import taken
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge import flaws
from phi4_edge.core.judge.condition import Level
from phi4_edge.core.judge.judge import judge
from phi4_edge.core.judge.wanted import Installs, Wanted
from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.plan.context import Inputs
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


def judged(plan: Plan, facts: HostFacts, catalog: Catalog, overrides: Overrides, inputs: Inputs) -> Plan:
    """Return the plan with what the judge says of its host: problems are blockers, the rest warnings."""
    asked = wanted(plan, facts, catalog, overrides)
    found = judge(facts, catalog, asked)
    warned = (one.sentence for one in found if one.level is Level.WARNING and not one.passing)
    return replace(
        plan,
        blockers=(*(one.sentence for one in found if one.level is Level.PROBLEM), *_without(plan, facts, inputs)),
        warnings=(*plan.warnings, *warned, *flaws.accepted(facts, catalog, asked)),
    )


# Of systems with apt whose HAProxy is older than 2.2, which cannot refuse a request in words of its own.
_OLD_HAPROXY = {("ubuntu", "20.04"): "2.0", ("ubuntu", "18.04"): "1.8", ("debian", "10"): "1.8"}


def _without(plan: Plan, facts: HostFacts, inputs: Inputs) -> Iterator[str]:
    """What a gateway would have to do without."""
    if plan.gateway is None:
        return
    lacks = inputs.credentials.lacks if inputs.credentials is not None else ""
    if lacks:  # also where nothing else is to be done: keys that were to be revoked would stay, and nobody would know
        yield lacks
    if plan.action == "none":
        return
    family = (facts.os.id, *facts.os.like)
    old = _OLD_HAPROXY.get((facts.os.id, facts.os.version_id))
    if old or not {"debian", "ubuntu"} & set(family):
        has = f"HAProxy {old} of {facts.os.pretty_name}" if old else f"{facts.os.pretty_name or 'a system'} without apt"
        yield (
            f"found {has}, needed Debian 11 or Ubuntu 22.04 or newer, whose HAProxy is 2.2 or newer, for a gateway: "
            "upgrade the host, or set phi4_gateway=false"
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
    found = [] if _ours(facts) and not taken(facts) else [(plan.port, plan.bind, "phi4_port")]
    if plan.webui is not None and not facts.receipt.webui_image.key:
        found.insert(0, (plan.webui.port, LOOPBACK, "webui_port"))
    if plan.gateway is not None and not (facts.service is not None and facts.service.gateway):
        found.append((plan.gateway.port, plan.gateway.bind, "phi4_gateway_port"))
    return tuple(found)
