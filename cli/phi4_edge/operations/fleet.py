"""The hosts of one command: opened from the inventory, looked at, planned for."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phi4_edge import inventory as inventories
from phi4_edge import ssh
from phi4_edge.core.facts import parse
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.inventory import BALANCERS
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import FactsError, InventoryError
from phi4_edge.inventory import Host
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.facts import unusable
from phi4_edge.operations.look import Look, Then, refused
from phi4_edge.operations.options import Reach
from phi4_edge.operations.plan import Planned, Planner, PlanSet, Seen, Source, check_variables
from phi4_edge.report.text import count
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult
from phi4_edge.runner.access import Access
from phi4_edge.ssh.kept import Sessions
from phi4_edge.view.detail import Detail
from phi4_edge.view.view import STEPS, View, progress_view


@dataclass(frozen=True)
class Fleet:
    """Hosts in inventory order, how they are reached, and variables from the command line that go over theirs.

    `deep`: a look hashes every managed file, and trusts no stamp. `balancers`: hosts that have no engine, which are in
    none of what is done to `hosts`.
    """

    hosts: tuple[Host, ...]
    access: Access
    settings: Mapping[str, Any]
    deep: bool = False
    balancers: tuple[Host, ...] = ()

    @classmethod
    def open(
        cls, inventory: Sequence[str], reach: Reach, settings: Mapping[str, Any] | None = None, balance: bool = False
    ) -> Fleet:
        """The hosts that are meant; contacts none. Raises InventoryError, also for a wrong `phi4_*` variable.

        `balance`: the balancers are meant too; otherwise the operator is told that they are left out.
        """
        paths = tuple(inventory)
        found = inventories.load(paths, reach.limit, reach.vaults, reach.warn, reach.extra_vars, reach.login)
        hosts, balancers = require_apart(found)
        if balancers and not balance:
            reach.warn(f"left out: {', '.join(host.name for host in balancers)} (see 'phi4-edge balance')")
        if not hosts:
            raise InventoryError(
                "found no hosts but balancers, needed a gateway: put hosts that are to serve in another group, or "
                "give another --limit"
            )
        access = Access(
            inventory=paths,
            forks=reach.forks,
            vaults=reach.vaults,
            extra_vars=inventories.documents_of(reach.extra_vars),
            verbosity=reach.verbosity,
            login=reach.login,
        )
        fleet = cls(hosts, access, dict(settings or {}), balancers=balancers)
        check_variables((host.name, fleet.variables(host)) for host in hosts)
        login = reach.login_password() if reach.login_password is not None else None
        become = reach.password() if reach.password is not None else None
        # Nothing typed for sudo: it is the password of the login, as for Ansible.
        become = login if become == "" else become
        return replace(fleet, access=replace(access, connection_password=login, become_password=become))

    def only(self, names: Collection[str]) -> Fleet:
        """The same fleet with no other hosts than these."""
        return replace(self, hosts=tuple(host for host in self.hosts if host.name in names))

    def variables(self, host: Host) -> dict[str, Any]:
        """The host's `phi4_*` variables with those of the command line over them."""
        return {**host.vars, **self.settings}

    def view(self, output: str = "table", steps: Mapping[str, str] = STEPS) -> View:
        """Where progress of the hosts goes, with as much detail as the operator wants."""
        access = self.access
        secrets = {access.become_password, access.connection_password, *(vault.password for vault in access.vaults)}
        everyone = (*self.hosts, *self.balancers)
        secrets |= {password for host in everyone for password in (host.ssh.password, host.become_password)}
        known = frozenset(secret for secret in secrets if secret)
        return progress_view(output, steps, Detail(access.verbosity, known))

    def survey(
        self,
        view: View,
        interrupts: Interrupts | None = None,
        keep: Sessions | None = None,
        then: tuple[Then, float] | None = None,
        *,
        sample: bool = False,
    ) -> Survey:
        """Looks at all hosts; shows progress in `view`. Their sessions stay open in `keep`, where that is given.

        `sample`: for plans; hosts without a release are asked how fast their memory is.

        `then`: what is done with each document while its host's session is open, and the seconds that it may take;
        hosts that are not reached over a session of ours are left out of it. Raises InterruptedRunError after Ctrl-C.
        """
        view.phase(f"Looking at {count(len(self.hosts), 'host')}")
        with contextlib.nullcontext(interrupts) if interrupts is not None else Interrupts() as asked:
            what, seconds = then or (None, 0.0)
            return Look(self.access, asked, view.event, keep, what, seconds, self.deep, sample).at(self.hosts)

    def refused(self, interrupts: Interrupts) -> list[HostResult]:
        """Hosts that do not let us in, or not do what is needed there. Raises InterruptedRunError after Ctrl-C."""
        with narrowed(Need.SSH):  # `Match exec` of an ssh configuration runs programs
            findings = ssh.check(
                self.hosts,
                become_password=self.access.become_password,
                password=self.access.connection_password,
                stopping=lambda: interrupts.stopping,
            )
        return [refused(finding) for finding in findings if not finding.ok]

    def facts(self, seen: Survey) -> Iterator[tuple[Host, HostFacts | HostResult]]:
        """The facts of all hosts that gave some, in inventory order; a result for one whose facts cannot be used."""
        for host in self.hosts:
            if host.name not in seen.documents:
                continue
            found: HostFacts | HostResult
            try:
                found = parse.parse(seen.documents[host.name])
            except FactsError as error:
                found = unusable(host.name, error)
            yield host, found

    def decide(self, planner: Planner, seen: Survey) -> tuple[dict[str, Planned], list[HostResult]]:
        """Plans by host for all hosts that gave facts; hosts whose facts cannot be used come back as results."""
        return planner.decide_all(
            self.seen(host, seen.documents[host.name]) for host in self.hosts if host.name in seen.documents
        )

    def seen(self, host: Host, document: Mapping[str, Any]) -> Seen:
        """A host with what it said, to be planned for."""
        return Seen(host.name, document, self.variables(host), host.address, self.access.inventory)

    def plan(self, planner: Planner, seen: Survey) -> PlanSet:
        """The plans of all hosts, and every host that has none."""
        planned, troubles = self.decide(planner, seen)
        return PlanSet.of(planned, (*seen.problems, *troubles), self.source())

    def source(self, limit: str | None = None) -> Source:
        """Where the hosts came from, and what is said of each; `limit` as it was given."""
        pairs = ((host, self.variables(host)) for host in self.hosts)
        return Source.of(self.access.inventory, limit, pairs)


def require_apart(hosts: Sequence[Host]) -> tuple[tuple[Host, ...], tuple[Host, ...]]:
    """The hosts that serve, and the balancers. Raises InventoryError for a balancer that asks for an engine."""
    balancers = tuple(host for host in hosts if host.balances)
    for host in balancers:
        if asks := balancer_wish(host).asks:
            raise InventoryError(
                f"found {', '.join(asks)} for {host.name}, which is in the group {BALANCERS} and gets no engine; "
                f"needed it in one of the two: take the variable away from it, or the host out of {BALANCERS}"
            )
    return tuple(host for host in hosts if not host.balances), balancers


def balancer_wish(host: Host) -> Overrides:
    """What is asked of a balancer: its address, port and TLS are said as a gateway's. Raises InventoryError."""
    return Overrides.from_vars(host.name, {**host.vars, "phi4_gateway": True})
