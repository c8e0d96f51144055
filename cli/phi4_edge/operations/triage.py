"""Which planned hosts are to be changed, and what becomes of the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.text import parts
from phi4_edge.operations.plan import Planned
from phi4_edge.rollout.result import HostResult, Outcome


@dataclass(frozen=True)
class Triage:
    """`todo`: plans to apply, by host. `settled`: hosts that nothing is done to, good and bad."""

    todo: Mapping[str, Plan]
    settled: tuple[HostResult, ...]


def triage(planned: Mapping[str, Planned], held: Mapping[str, HostResult] = MappingProxyType({})) -> Triage:
    """Every planned host is in exactly one of the two afterwards; `held` ones are not to be changed."""
    todo: dict[str, Plan] = {}
    settled = []
    for host, found in planned.items():
        result = _settle(found.plan) or held.get(host)
        if result is None:
            todo[host] = found.plan
        else:
            settled.append(result)
    return Triage(todo, tuple(settled))


def _settle(plan: Plan) -> HostResult | None:
    if not plan.fits:
        reason = "; ".join(plan.missing) or "nothing in the catalog fits"
        step = f"see why: phi4-edge plan INVENTORY --limit {plan.host}"
        return HostResult(plan.host, Outcome.NO_FIT, reason, step)
    if not plan.applicable:
        reason = plan.not_applicable or f"{plan.engine} cannot be applied by this release"
        step = parts(reason)[2]
        told = reason.removesuffix(f": {step}") if step else reason
        return HostResult(plan.host, Outcome.PREFLIGHT, told, step or "choose another one with phi4_engine")
    if plan.action == "none" and not plan.blockers:
        return HostResult(plan.host, Outcome.UNCHANGED, release=plan.release)
    if plan.blockers:
        return HostResult(plan.host, Outcome.PREFLIGHT, "; ".join(plan.blockers), "fix that, then run again")
    return None
