"""Gateways behind a balancer get no requests while they are changed: none is on its way to an engine that ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from phi4_edge.core.plan.decide import Plan
from phi4_edge.errors import InventoryError, RunnerError
from phi4_edge.operations import balance
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.rollout import lock_variables, new_id
from phi4_edge.runner.executor import Call, Executor, Local, OnEvent
from phi4_edge.runner.program import Program
from phi4_edge.runner.run import RunResult

# For answers that run to come to their end.
SECONDS = 120
_LOCK_WAIT = 60
# Switches that stop an engine which serves.
_INTERRUPTING = ("down", "beside")

_WORDS = {"drain": "give it no more requests", "ready": "give it requests again"}

Say = Callable[[str], object]


@dataclass(frozen=True)
class Draining:
    """An executor around another one, for the plays of `playbook`, which stop the engines of the hosts `stopped`.

    `behind`: the gateways of each balancer by name. `say` hears what did not work.

    A balancer that cannot be told is no reason to leave a gateway as it is: what a gateway answers with 503 meanwhile,
    the balancer asks another one.
    """

    around: Executor
    teller: Executor
    behind: Mapping[str, frozenset[str]]
    playbook: str
    stopped: Collection[str]
    say: Say

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        """As of Executor; those that were drained get requests again whatever became of them: health checks know."""
        out = [] if call.check or call.playbook != self.playbook else [host for host in hosts if host in self.stopped]
        drained: list[str] = []
        try:
            for host in out:
                drained += [host] if self._tell("drain", host, cancelled) else []
            return self.around.execute(call, hosts, on_event, cancelled)
        finally:
            for host in drained:
                self._tell("ready", host, lambda: False)

    def _tell(self, do: str, host: str, cancelled: Callable[[], bool]) -> bool:
        """Whether a balancer did it."""
        told = [name for name, gateways in self.behind.items() if host in gateways]
        if not told or cancelled():
            return False
        wish = {"balancer_do": do, "balancer_gateway": host, "balancer_drain_seconds": SECONDS}
        call = Call("balance", {**lock_variables(new_id(), "balance", _LOCK_WAIT), **wish}, task_timeout=2 * SECONDS)
        try:
            done = self.teller.execute(call, told, lambda _event: None, cancelled).hosts
        except RunnerError as error:
            done, why = {}, str(error)
        else:
            why = next((one.message for one in done.values() if one.status != "ok"), "")
        good = [name for name in told if name in done and done[name].status == "ok"]
        if lost := [name for name in told if name not in good]:
            step = "" if do == "drain" else f"; afterwards run: phi4-edge balance INVENTORY --ready {host}"
            self.say(f"{host}: {', '.join(lost)} could not be told to {_WORDS[do]} ({why or 'no answer'}){step}")
        return bool(good)


def stopped(plans: Mapping[str, Plan]) -> frozenset[str]:
    """Hosts with a gateway whose engine these plans stop, by name."""
    return frozenset(
        host for host, plan in plans.items() if plan.gateway is not None and plan.switch.mode in _INTERRUPTING
    )


def around(
    fleet: Fleet, ansible: Program, playbook: str, hosts: Collection[str], say: Say
) -> Callable[[Executor], Executor]:
    """What makes an executor one that drains `hosts` before a play of `playbook`."""
    if not fleet.balancers:
        return lambda beyond: beyond
    teller, known = Local(fleet.access, ansible), behind(fleet)
    return lambda beyond: Draining(beyond, teller, known, playbook, hosts, say)


def behind(fleet: Fleet) -> dict[str, frozenset[str]]:
    """The gateways of each balancer of a fleet, by name; those of a balancer without any are none."""
    found = {}
    for host in fleet.balancers:
        try:
            found[host.name] = frozenset(one.name for one in balance.gateways_of(fleet, host))
        except InventoryError:  # `balance` says it; here it is one that leads to nobody
            found[host.name] = frozenset()
    return found
