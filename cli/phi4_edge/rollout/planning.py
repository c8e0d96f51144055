"""From facts documents to plans: what `core.plan.decide` needs (data files, content digests) is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge import content
from phi4_edge.core import facts as core_facts
from phi4_edge.core.overrides import Overrides
from phi4_edge.core.plan import Inputs, Plan, decide
from phi4_edge.data import load_catalog, load_table
from phi4_edge.errors import FactsError
from phi4_edge.rollout.outcome import HostResult, Outcome, exit_code


@dataclass(frozen=True)
class Seen:
    """One host's raw facts document and its `phi4_*` inventory variables."""

    host: str
    document: Mapping[str, Any]
    variables: Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """One host's facts and plan."""

    facts: core_facts.HostFacts
    plan: Plan


@dataclass(frozen=True)
class PlanSet:
    """The plans of some hosts, and the hosts that none could be made for."""

    plans: tuple[Plan, ...]
    problems: tuple[HostResult, ...] = ()

    @property
    def exit_code(self) -> int:
        """5 when a host was unreachable, else 3 when one fits nothing or could not be planned for, else 0."""
        no_fit = [HostResult(plan.host, Outcome.NO_FIT) for plan in self.plans if not plan.fits]
        return exit_code([*self.problems, *no_fit])

    def to_dict(self) -> dict[str, Any]:
        """The document `phi4-edge/plans/1` (schema: data/plans.schema.json)."""
        return {
            "format": "phi4-edge/plans/1",
            "plans": [plan.to_dict() for plan in self.plans],
            "problems": [result.to_dict() for result in self.problems],
        }


class Planner:
    """Decides for many hosts with the data read once; artifacts and images are digests of the controller's store."""

    def __init__(self, artifacts: Mapping[str, str], images: Mapping[str, str] | None = None) -> None:
        self.table = load_table()
        self.catalog = load_catalog()
        self.inputs = Inputs(artifacts=artifacts, runtimes=content.runtimes(), images=images or {})

    def decide(self, seen: Seen) -> Planned:
        """The host's plan. Raises FactsError or InventoryError when facts or variables cannot be used."""
        facts = core_facts.parse({**seen.document, "host": seen.host})
        overrides = Overrides.from_vars(seen.host, seen.variables)
        return Planned(facts, decide(facts, self.table, self.catalog, overrides, self.inputs))

    def decide_all(self, hosts: Iterable[Seen]) -> tuple[dict[str, Planned], list[HostResult]]:
        """Plans by host; hosts whose facts cannot be used come back as results instead."""
        plans: dict[str, Planned] = {}
        troubles = []
        for seen in hosts:
            try:
                plans[seen.host] = self.decide(seen)
            except FactsError as error:
                step = f"see what it sends: phi4-edge detect INVENTORY --raw --limit {seen.host}"
                troubles.append(HostResult(seen.host, Outcome.PREFLIGHT, str(error), step))
        return plans, troubles


def check_variables(hosts: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raises InventoryError for the first unknown or malformed `phi4_*` variable, before any host is contacted."""
    for host, variables in hosts:
        Overrides.from_vars(host, variables)
