"""Looks at the hosts of `doctor`, over one connection to each or through Ansible, and plans; then the checks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.doctor import access, examine
from phi4_edge.core.doctor.case import opened, trouble
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages.commands import see
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import FactsError, InterruptedRunError, UnreachableError
from phi4_edge.inventory import Host
from phi4_edge.operations.detect import LOOK_SECONDS, asked_for
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.look import SECONDS, ask
from phi4_edge.operations.plan import Planner
from phi4_edge.remote import probe
from phi4_edge.remote.answers import OPERATIONS, Key
from phi4_edge.remote.examination import Examination
from phi4_edge.report.text import count
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.runner import program
from phi4_edge.runner import run as runner_run
from phi4_edge.ssh.errand import Errand
from phi4_edge.ssh.guest import Guest
from phi4_edge.ssh.visit import Purpose, Visit, visit
from phi4_edge.view.view import View

# The scripts of role doctor, and the commands that are measured.
DOCTOR_SECONDS = 120.0
TASK = "Look for what would be in the way"
NOTHING = Errand("true", b"", 60.0, 64 * 1024, lambda _: True)


@dataclass(frozen=True)
class Looked:
    """Findings of all hosts, which of them could not be reached, and the plans of the others."""

    findings: tuple[examine.Finding, ...]
    unreachable: tuple[str, ...]
    plans: tuple[Plan, ...]


@dataclass(frozen=True)
class Examined:
    """What came of one host: `facts` by the name of the document, `message` why there is not all of it."""

    status: str
    message: str
    facts: Mapping[str, Any]


def look(fleet: Fleet, planner: Planner, view: View) -> Looked:
    """Everything that can be seen without changing a host. Raises InterruptedRunError after Ctrl-C."""
    view.phase(f"Examining {count(len(fleet.hosts), 'host')}")
    with Interrupts() as asked:
        visits = _visited(fleet, view, asked)
        refused = {found.host: found for found in (visit.refusal for visit in visits) if not found.ok}
        outcomes = {one.refusal.host: one.result for one in visits if one.result is not None}
        reached = [host for host in fleet.hosts if host.name not in refused]
        outcomes |= _by_ansible(fleet, [host.name for host in reached if host.name not in outcomes], view, asked)
        if asked.stopping:
            raise InterruptedRunError("interrupted while checking the hosts; nothing was changed on any host")
    findings = [
        access.refusal(found.host, found.kind, found.reason, found.next_step, found.system, found.user)
        for found in refused.values()
    ]
    unreachable = [found.host for found in refused.values() if found.exit_code == UnreachableError.exit_code]
    cases = []
    for host in reached:
        case, troubles, lost = _case(fleet, planner, host, outcomes.get(host.name))
        findings += troubles
        unreachable += [host.name] if lost else []
        cases += [case] if case is not None else []
    findings += [finding for case in cases for finding in examine.examine(case)]
    plans = tuple(case.plan for case in cases if case.plan is not None)
    return Looked((*findings, *examine.fleet(cases)), tuple(unreachable), plans)


def _visited(fleet: Fleet, view: View, asked: Interrupts) -> list[Visit[Examined]]:
    """Every host's examination over a connection of ours, where one can be had."""
    one = threading.Lock()
    purpose: Purpose[Examined] = Purpose(
        work=lambda guest: _examined(guest, one),
        seconds=lambda _: SECONDS + DOCTOR_SECONDS,
        become_password=fleet.access.become_password or "",
        password=fleet.access.connection_password or "",
        through=False,  # what a command costs would be what OpenSSH costs
    )

    def begin(host: Host) -> None:
        view.event(runner_run.HostEvent(host.name, "start", "doctor", TASK))

    with narrowed(Need.SSH):  # `Match exec` of an ssh configuration runs programs
        return visit(fleet.hosts, purpose, lambda: asked.stopping, begin)


def _examined(guest: Guest, one: threading.Lock) -> Examined:
    """What the doctor and the probe see at a host."""
    host = guest.host
    there = Overrides.from_vars(host.name, host.vars).layout

    def asked(operation: Key, args: Mapping[str, Any], as_root: bool) -> Mapping[str, Any]:
        return ask(guest, one, operation, args, OPERATIONS[operation].seconds, as_root)

    def nothing(as_root: bool) -> str:
        return guest.do(NOTHING, as_root).output

    examination = Examination(asked, nothing, "ssh", over_ssh=True, becomes=guest.becomes)
    own = examination.document(there)
    try:
        answer = ask(guest, one, probe.OPERATION, probe.arguments(there), SECONDS)
    except FactsError as error:
        return Examined("failed", str(error), {"phi4_doctor": own})
    return Examined("ok", "", {"phi4_doctor": own, "phi4_facts": probe.document(answer, host.name, there)})


def _by_ansible(fleet: Fleet, hosts: Sequence[str], view: View, asked: Interrupts) -> dict[str, Examined]:
    """The same of the hosts that only Ansible reaches."""
    if not hosts or asked.stopping:
        return {}
    run = fleet.access.run("doctor", hosts, task_timeout=LOOK_SECONDS)
    ended = program.execute(run, view.event, lambda: asked.must_end(critical=False)).hosts
    return {host: Examined(end.status, end.message, end.facts) for host, end in ended.items()}


def _case(
    fleet: Fleet, planner: Planner, host: Host, end: Examined | None
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
        planned = planner.decide(fleet.seen(host, seen))
        return planned.facts, planned.plan

    case = examine.Case(host.name, own, document, overrides=overrides, catalog=planner.catalog)
    case, unusable = opened(case, decided)
    return case, [*troubles, *unusable], False


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
