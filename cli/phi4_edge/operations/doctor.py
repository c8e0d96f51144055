"""Looks at the hosts of `doctor`: preflight, one Ansible run that changes nothing, and the plan; then the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge import ssh
from phi4_edge.core.doctor import access, examine
from phi4_edge.core.doctor.case import opened, trouble
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages.commands import see
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import InterruptedRunError, UnreachableError
from phi4_edge.inventory import Host
from phi4_edge.operations.detect import LOOK_SECONDS, asked_for
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.plan import Planner, Seen
from phi4_edge.report.text import count
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.runner import run as runner_run
from phi4_edge.view.view import View


@dataclass(frozen=True)
class Looked:
    """Findings of all hosts, which of them could not be reached, and the plans of the others."""

    findings: tuple[examine.Finding, ...]
    unreachable: tuple[str, ...]
    plans: tuple[Plan, ...]


def look(fleet: Fleet, planner: Planner, view: View) -> Looked:
    """Everything that can be seen without changing a host. Raises InterruptedRunError after Ctrl-C."""
    view.phase(f"Examining {count(len(fleet.hosts), 'host')}")
    findings: list[examine.Finding] = []
    unreachable: list[str] = []
    with Interrupts() as asked:
        with narrowed(Need.SSH):  # `Match exec` of an ssh configuration runs programs
            found_first = ssh.check(
                fleet.hosts,
                become_password=fleet.access.become_password,
                password=fleet.access.connection_password,
                stopping=lambda: asked.stopping,
            )
        refused = [finding for finding in found_first if not finding.ok]
        for found in refused:
            findings.append(
                access.refusal(found.host, found.kind, found.reason, found.next_step, found.system, found.user)
            )
            unreachable += [found.host] if found.exit_code == UnreachableError.exit_code else []
        reached = [host for host in fleet.hosts if host.name not in {found.host for found in refused}]
        outcomes: Mapping[str, runner_run.HostOutcome] = {}
        if reached and not asked.stopping:
            run = fleet.access.run("doctor", [host.name for host in reached], task_timeout=LOOK_SECONDS)
            outcomes = runner_run.execute(run, view.event, lambda: asked.must_end(critical=False)).hosts
        if asked.stopping:
            raise InterruptedRunError("interrupted while checking the hosts; nothing was changed on any host")
    cases = []
    for host in reached:
        case, troubles, lost = _case(fleet, planner, host, outcomes.get(host.name))
        findings += troubles
        unreachable += [host.name] if lost else []
        cases += [case] if case is not None else []
    findings += [finding for case in cases for finding in examine.examine(case)]
    plans = tuple(case.plan for case in cases if case.plan is not None)
    return Looked((*findings, *examine.fleet(cases)), tuple(unreachable), plans)


def _case(
    fleet: Fleet, planner: Planner, host: Host, end: runner_run.HostOutcome | None
) -> tuple[examine.Case | None, list[examine.Finding], bool]:
    """What is known of a host, what is said of it already, and whether it was lost on the way."""
    facts: Mapping[str, Any] = end.facts if end is not None else {}
    message = end.message if end is not None else "Ansible did not reach it"
    attempt = asked_for(message) or f"try it: ansible -i INVENTORY {host.name} -m raw -a true"
    if end is None or end.status == "unreachable":
        return None, [trouble(host.name, "ssh", message, attempt)], True
    own, seen = _mapping(facts.get("phi4_doctor")), _mapping(facts.get("phi4_facts"))
    if not own:  # nothing was looked at: to examine that would call it well
        step = asked_for(message) or f"run doctor again; {attempt}"
        return None, [trouble(host.name, "ssh", message or "the host did not answer", step)], False
    troubles = []
    if end.status != "ok":
        troubles.append(trouble(host.name, "facts", message or "the probe returned no facts", see(host.name)))
    overrides = Overrides.from_vars(host.name, fleet.variables(host))
    document = {**seen, "host": host.name} if seen else {}

    def decided() -> tuple[HostFacts, Plan]:
        planned = planner.decide(Seen(host.name, seen, fleet.variables(host)))
        return planned.facts, planned.plan

    case = examine.Case(host.name, own, document, overrides=overrides, catalog=planner.catalog)
    case, unusable = opened(case, decided)
    return case, [*troubles, *unusable], False


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
