"""From facts documents to plans: what `core.plan.decide` needs (data files, content digests) is read here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phi4_edge import content
from phi4_edge.core.facts import parse
from phi4_edge.core.facts.digest import facts_digest
from phi4_edge.core.inventory import Host
from phi4_edge.core.plan import review
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import canonical
from phi4_edge.data import load_catalog, load_table
from phi4_edge.errors import FactsError
from phi4_edge.operations.facts import unusable
from phi4_edge.rollout.result import HostResult, Outcome, exit_code

FORMAT = "phi4-edge/plans/1"


@dataclass(frozen=True)
class Source:
    """Where the hosts of plans came from. `hosts`: in inventory order, with the digest of what is said of each."""

    inventory: tuple[str, ...]
    limit: str | None
    hosts: Mapping[str, str]

    @classmethod
    def of(cls, inventory: Sequence[str], limit: str | None, hosts: Iterable[tuple[Host, Mapping[str, Any]]]) -> Source:
        """The source with these hosts, each with its `phi4_*` variables as they are used."""
        return cls(tuple(inventory), limit, {host.name: _host_digest(host, variables) for host, variables in hosts})

    @property
    def digest(self) -> str:
        """One for all hosts and their order."""
        return _sha256({"hosts": [list(each) for each in self.hosts.items()]})


def _host_digest(host: Host, variables: Mapping[str, Any]) -> str:
    """Of what decides which machine is meant and what it gets; who logs in there, and how, may differ."""
    return _sha256({"name": host.name, "address": host.address, "port": host.port, "variables": dict(variables)})


def _sha256(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()


@dataclass(frozen=True)
class Seen:
    """One host's raw facts document and its `phi4_*` inventory variables.

    `address`: where its inventory has it. `inventory`: the sources of that, beside which keys of gateways are; None
    where there is none.
    """

    host: str
    document: Mapping[str, Any]
    variables: Mapping[str, Any]
    address: str = ""
    inventory: Sequence[str] | None = None


@dataclass(frozen=True)
class Planned:
    """One host's facts and plan."""

    facts: parse.HostFacts
    plan: Plan


@dataclass(frozen=True)
class PlanSet:
    """The plans of some hosts, and the hosts that none could be made for.

    `facts` are those that the plans were made from; `source` is None where no inventory was read.
    """

    plans: tuple[Plan, ...]
    problems: tuple[HostResult, ...] = ()
    facts: Mapping[str, parse.HostFacts] = field(default_factory=dict)
    source: Source | None = None

    @classmethod
    def of(
        cls, planned: Mapping[str, Planned], problems: Iterable[HostResult] = (), source: Source | None = None
    ) -> PlanSet:
        """The plans with the facts that they were made from."""
        facts = {host: found.facts for host, found in planned.items()}
        return cls(tuple(found.plan for found in planned.values()), tuple(problems), facts, source)

    @property
    def exit_code(self) -> int:
        """5 when a host was unreachable, else 3 when one fits nothing or could not be planned for, else 0."""
        no_fit = [HostResult(plan.host, Outcome.NO_FIT) for plan in self.plans if not plan.fits]
        return exit_code([*self.problems, *no_fit])

    def to_dict(self) -> dict[str, Any]:
        """The document `phi4-edge/plans/1` (schema: data/plans.schema.json)."""
        source = self.source
        found = {
            "format": FORMAT,
            "inventory": list(source.inventory) if source else [],
            "limit": source.limit if source else None,
            "inventory_digest": source.digest if source else None,
            "plans": [_sealed(plan.to_dict() | self._digests(plan.host)) for plan in self.plans],
            "problems": [result.to_dict() for result in self.problems],
        }
        return _sealed(found)

    def _digests(self, host: str) -> dict[str, Any]:
        """What a reviewed plan is compared by when it is applied."""
        facts = self.facts.get(host)
        return {
            "facts_digest": facts_digest(facts) if facts else None,
            "inventory_digest": self.source.hosts.get(host) if self.source else None,
        }


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the digest of all the rest of it."""
    return {**document, review.DIGEST: review.digest(document)}


class Planner:
    """Decides for many hosts with the data read once; artifacts and images are digests of the controller's store."""

    def __init__(self, artifacts: Mapping[str, str], images: Mapping[str, str] | None = None) -> None:
        self.table = load_table()
        self.catalog = load_catalog()
        self.inputs = Inputs(artifacts=artifacts, runtimes=content.runtimes(), images=images or {})

    def decide(self, seen: Seen) -> Planned:
        """The host's plan. Raises FactsError or InventoryError when facts or variables cannot be used."""
        facts = parse.parse({**seen.document, "host": seen.host})
        overrides = Overrides.from_vars(seen.host, seen.variables)
        return Planned(facts, decide(facts, self.table, self.catalog, overrides, self._inputs(overrides, seen)))

    def _inputs(self, overrides: Overrides, seen: Seen) -> Inputs:
        """What the controller holds, and what it would bring to the host's gateway."""
        if not overrides.gateway or seen.inventory is None:
            return self.inputs
        from phi4_edge.credentials.hosts import Client  # with all that reads certificates

        return replace(self.inputs, credentials=Client(overrides, seen.address, seen.inventory).wanted())

    def decide_all(self, hosts: Iterable[Seen]) -> tuple[dict[str, Planned], list[HostResult]]:
        """Plans by host; hosts whose facts cannot be used come back as results instead."""
        plans: dict[str, Planned] = {}
        troubles = []
        for seen in hosts:
            try:
                plans[seen.host] = self.decide(seen)
            except FactsError as error:
                troubles.append(unusable(seen.host, error))
        return plans, troubles


def check_variables(hosts: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raises InventoryError for the first unknown or malformed `phi4_*` variable, before any host is contacted."""
    for host, variables in hosts:
        Overrides.from_vars(host, variables)
