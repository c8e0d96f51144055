"""Hosts that get an NVIDIA driver first: it is installed, and what the host can run is decided anew afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phi4_edge.commands._rolling import Rolling
from phi4_edge.commands._view import View
from phi4_edge.core.plan import Plan
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Job, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.outcome import HostResult, Outcome
from phi4_edge.rollout.survey import Survey

PLAYBOOK = "driver"
_WELL = frozenset({Outcome.DONE, Outcome.UNCHANGED})


@dataclass(frozen=True)
class Driven:
    """What the drivers changed: the survey with those hosts looked at again, and the hosts that failed."""

    seen: Survey
    failed: tuple[HostResult, ...]
    interrupted: bool


def waiting(plans: Mapping[str, Plan]) -> list[str]:
    """Hosts whose plan installs a driver first."""
    return [host for host, plan in plans.items() if plan.install and plan.install.nvidia_driver]


def install(rolling: Rolling, hosts: Sequence[str], seen: Survey, allow_reboot: bool, view: View) -> Driven:
    """Install the driver on `hosts`, and look at those where that went well again.

    Raises RunnerError when Ansible itself cannot run, and InterruptedRunError for Ctrl-C while looking.
    """
    view.phase(f"Installing the NVIDIA driver on {count(len(hosts), 'host')}")
    fleet, wanted = rolling.fleet, {"nvidia_runtime_allow_reboot": allow_reboot}
    job = Job(PLAYBOOK, wanted, task_timeout=rolling.waving.task_timeout, lock=rolling.lock)
    with Interrupts() as interrupts:
        results = _first_one(rolling, job, hosts, interrupts, view)
    failed = tuple(result for result in results if result.outcome not in _WELL)
    for result in failed:
        view.finished(result.host, str(result.outcome))
    ready = [result.host for result in results if result not in failed]
    if not ready or interrupts.stopping:
        return Driven(seen, failed, interrupts.stopping)
    again = replace(fleet, hosts=tuple(host for host in fleet.hosts if host.name in ready)).survey(view)
    documents = {name: document for name, document in seen.documents.items() if name not in ready}
    documents = {**documents, **again.documents}
    return Driven(Survey(documents, (*seen.problems, *again.problems)), failed, interrupted=False)


def _first_one(
    rolling: Rolling, job: Job, hosts: Sequence[str], interrupts: Interrupts, view: View
) -> list[HostResult]:
    """Every host's result. A driver is tried on one host before the others: a bad one does not meet the fleet."""
    results = [*apply(rolling.executor, job, hosts[:1], interrupts, view.event)]
    rest = hosts[1:]
    if rest and all(result.outcome in _WELL for result in results):
        return [*results, *apply(rolling.executor, job, rest, interrupts, view.event)]
    why = f"the driver was tried on {hosts[0]} first, and that did not go well; nothing was changed"
    return [*results, *(HostResult(host, Outcome.UNTOUCHED, why, "run the same command again") for host in rest)]
