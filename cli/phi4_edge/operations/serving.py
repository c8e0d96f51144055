"""Which hosts serve, of those that were looked at."""

from __future__ import annotations

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.data import load_catalog
from phi4_edge.inventory import Host
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.rollout.result import HostResult, Outcome


def serving(fleet: Fleet, seen: Survey) -> tuple[dict[str, tuple[Host, HostFacts]], list[HostResult]]:
    """The hosts that serve, with their facts, and what is said of all others."""
    problems, found = list(seen.problems), {}
    for host, facts in fleet.facts(seen):
        if isinstance(facts, HostResult):
            problems.append(facts)
        elif problem := _not_serving(host.name, facts):
            problems.append(problem)
        else:
            found[host.name] = (host, facts)
    return found, problems


def served_name(model: str) -> str:
    """The name under which an engine lists the receipt's model; empty for one that the catalog does not know."""
    known = load_catalog().models.get(model)
    return known.served_name if known else ""


def _not_serving(name: str, facts: HostFacts) -> HostResult | None:
    if not facts.receipt.present:
        step = f"install it: phi4-edge provision INVENTORY --limit {name}"
        return HostResult(name, Outcome.PREFLIGHT, "not provisioned: found no receipt", step)
    if facts.service is None or not facts.service.up or not facts.receipt.port:
        step = "see phi4-edge status, and journalctl -u phi4-edge there"
        return HostResult(name, Outcome.FAILED, "the service is down", step)
    return None
