"""`examine`: everything that would be in the way on one host, or on the fleet, with what mends it. Pure.

What the plan says of its host comes from the judge, as the plan's own words do; the checks add what only the doctor
looks at. A check is a function from a case to findings; nothing to say counts as ok.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from phi4_edge.core.doctor import access, engines, plan, system
from phi4_edge.core.doctor.case import CONTROLLER, Case, Finding
from phi4_edge.core.judge import judge
from phi4_edge.core.judge.condition import Level
from phi4_edge.errors import PreflightError, UnreachableError

__all__ = ["CONTROLLER", "FORMAT", "Case", "Finding", "Level", "document", "examine", "exit_code", "fleet"]

FORMAT = "phi4-edge/doctor/1"
# By the name that an ok finding has; a check may give its findings a narrower one.
CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "scripts": access.scripts,
    "python": access.python,
    "login shell": access.login_shell,
    "connection": access.connection,
    "clock": system.clock,
    "dpkg": system.package_lock,
    "dns": system.names,
    "systemd": system.failed_units,
    "memory": system.memory,
    "power": system.power,
    "docker": engines.docker,
    "cgroups": engines.limits,
    "toolkit": engines.specification,
    "plan": plan.fit,
    "service": plan.service,
    "lock": plan.at_work,
}
# Checks that look at nothing where there are no facts, and those that do without the script that runs as root.
FROM_FACTS = frozenset((*judge.CHECKS, "python", "plan", "service", "lock"))
WITHOUT_ROOT = frozenset((*judge.CHECKS, "scripts", "python", "login shell", "connection", "clock", "plan", "service",
                          "lock")) - {"dpkg", "systemd", "docker", "toolkit"}  # fmt: skip
# Checks of preflight that a host which was reached has passed.
PASSED = ("ssh", "host key", "authentication", "sudo")
# A skew that so many hosts share, and no host lacks, is this machine's own.
FEWEST_FOR_OUR_CLOCK = 2


def examine(case: Case) -> tuple[Finding, ...]:
    """Return the findings of one host, worst first; each check that found nothing gives one that is ok."""
    found = [*plan.judged(case), *(finding for check in CHECKS.values() for finding in check(case))]
    named = {finding.check for finding in found}
    looked = [name for name in dict.fromkeys((*judge.CHECKS, *CHECKS)) if _looked(case, name)]
    found += [Finding(case.host, name, Level.OK) for name in (*looked, *PASSED) if name not in named]
    return tuple(sorted(found, key=lambda finding: -finding.level.rank))


def _looked(case: Case, name: str) -> bool:
    """Whether silence of a check says anything: what could not be looked at is not well."""
    if case.facts is None and name in FROM_FACTS:
        return False
    return name in WITHOUT_ROOT or isinstance(case.part("root").get("sources"), Mapping)


def fleet(cases: Sequence[Case]) -> tuple[Finding, ...]:
    """Return what only shows when hosts are compared: one machine under two names, a clock of ours that is wrong."""
    return (*_twins(cases), *_our_clock(cases))


def _twins(cases: Sequence[Case]) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], str] = {}
    for case in cases:
        machine = case.root.text("machine_id")
        if case.facts is None or not machine or not case.facts.boot_id:
            continue
        who = (machine, case.facts.boot_id, case.facts.hostname)
        if who in seen:
            yield case.problem(
                "inventory", f"{seen[who]} and {case.host} are the same machine", "each machine once: two names would "
                "be provisioned at the same time", "remove one of them from the inventory, or correct ansible_host",
            )  # fmt: skip
        seen.setdefault(who, case.host)


def _our_clock(cases: Sequence[Case]) -> Iterator[Finding]:
    bounds = [known for case in cases if (known := system.skew(case.host_document)) is not None]
    if len(bounds) < FEWEST_FOR_OUR_CLOCK:
        return
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    least = low if low > 0 else -high if high < 0 else 0.0
    if low - high > system.SKEW_NOTED or least < system.SKEW_WARNED:
        return
    way = "behind" if low > 0 else "ahead of"
    found = f"this controller's clock is {system.ago(least)} {way} those of all {len(bounds)} hosts"
    fix = "see it: timedatectl; sudo timedatectl set-ntp true on this machine"
    yield Finding(CONTROLLER, "clock", Level.WARNING, found, "the right time here: it is the hosts that agree", fix)


def exit_code(findings: Iterable[Finding], unreachable: Iterable[str]) -> int:
    """Return 5 when a host was unreachable, else 3 when there is a problem, else 0."""
    if any(unreachable):
        return UnreachableError.exit_code
    return PreflightError.exit_code if any(finding.level is Level.PROBLEM for finding in findings) else 0


def document(hosts: Sequence[str], findings: Sequence[Finding], unreachable: Sequence[str]) -> dict[str, Any]:
    """Return the document `phi4-edge/doctor/1` (schema: data/doctor.schema.json); the controller comes first."""
    entries = []
    for host in (CONTROLLER, *hosts):
        own = [finding for finding in findings if finding.host == host]
        own.sort(key=lambda finding: -finding.level.rank)
        worst = max((finding.level for finding in own), key=lambda level: level.rank, default=Level.OK)
        entries.append(
            {
                "host": host,
                "reached": host not in unreachable,
                "level": str(worst),
                "findings": [finding.to_dict() for finding in own],
            }
        )
    return {
        "format": FORMAT,
        "exit_code": exit_code(findings, unreachable),
        "counts": {str(level): sum(finding.level is level for finding in findings) for level in Level},
        "hosts": entries,
    }
