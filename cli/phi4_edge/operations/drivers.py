"""Hosts that get an NVIDIA driver first: it is installed, and what the host can run is decided anew afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.errors import AGAIN
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.rollout import Rolling
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.view.view import View

PLAYBOOK = "driver"


@dataclass(frozen=True)
class Driven:
    """What the drivers changed: the survey with those hosts looked at again, and the hosts that failed."""

    seen: Survey
    failed: tuple[HostResult, ...]
    interrupted: bool


def waiting(plans: Mapping[str, Plan]) -> list[str]:
    """Hosts whose plan installs a driver first."""
    return [host for host, plan in plans.items() if plan.install and plan.install.nvidia_driver]


def install(
    rolling: Rolling,
    hosts: Sequence[str],
    seen: Survey,
    allow_reboot: bool,
    view: View,
    before: Mapping[str, Outcome] = MappingProxyType({}),
) -> Driven:
    """Install the driver on `hosts`, and look at those where that went well again.

    `before`: hosts that count against the failure budget already. Raises RunnerError when Ansible itself cannot run,
    and InterruptedRunError for Ctrl-C while looking.
    """
    view.phase(f"Installing the NVIDIA driver on {count(len(hosts), 'host')}")
    fleet, wanted = rolling.fleet, {"nvidia_runtime_allow_reboot": allow_reboot}
    play = Play(PLAYBOOK, wanted, task_timeout=rolling.waving.task_timeout, lock=rolling.lock)
    with Interrupts() as interrupts, rolling.ansible:
        results = _one_first(rolling, play, hosts, before, interrupts, view)
    failed = tuple(result for result in results if result.outcome not in GOOD)
    for result in failed:
        view.finished(result.host, str(result.outcome))
    ready = [result.host for result in results if result not in failed]
    if not ready or interrupts.stopping:
        return Driven(seen, failed, interrupts.stopping)
    again = fleet.only(ready).survey(view, sample=True)
    documents = {name: document for name, document in seen.documents.items() if name not in ready}
    documents = {**documents, **again.documents}
    return Driven(Survey(documents, (*seen.problems, *again.problems)), failed, interrupted=False)


def _one_first(
    rolling: Rolling,
    play: Play,
    hosts: Sequence[str],
    before: Mapping[str, Outcome],
    interrupts: Interrupts,
    view: View,
) -> list[HostResult]:
    """Every host's result. The driver goes to one host at a time until it went well on one, then to all others.

    A bad driver does not meet the fleet; and one host that fails, or is held, decides for the others only where the
    failure budget says so.
    """
    results: list[HostResult] = []
    while len(results) < len(hosts):
        well = any(result.outcome in GOOD for result in results)
        rest = hosts[len(results) :]
        results += apply(rolling.executor, play, rest if well else rest[:1], interrupts, view.event)
        known = {**before, **{result.host: result.outcome for result in results}}
        rest = hosts[len(results) :]
        if rest and (interrupts.stopping or rolling.start((Wave("driver", 0, tuple(rest)),), known).exceeded):
            why = f"the driver was tried on {', '.join(hosts[: len(results)][:5])} first, and that failed"
            step = f"{AGAIN}; --max-failures allows more"
            return [
                *results,
                *(HostResult(host, Outcome.UNTOUCHED, f"{why}; nothing was changed", step) for host in rest),
            ]
    return results
