"""Who has each host to itself, asked of the hosts; and taking a lock away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.facts import lock
from phi4_edge.errors import LockedError
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner import run as runner_run
from phi4_edge.runner.executor import Call, Executor

FORMAT = "phi4-edge/locks/1"
# For the question to one host; a board under load takes seconds.
ASK_SECONDS = 60
# Of the holder, in the document's order.
_HOLDER = ("id", "user", "host", "pid", "operation", "version", "started", "age")
_STEPS = {
    "held": "wait for that run, stop it, or release its lock: phi4-edge lock release --force",
    "working": "a step of that run is still at work on the host: wait until it has ended, or use --force",
}


@dataclass(frozen=True)
class HostLock:
    """A host and who has it. `state`: free, released (was taken away now), held, working, ending, stale."""

    host: str
    state: str
    holder: Mapping[str, Any] | None = None
    refused: str = ""
    next_step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The host's entry of the document."""
        return {
            "host": self.host,
            "state": self.state,
            "holder": dict(self.holder) if self.holder else None,
            "refused": self.refused or None,
            "next_step": self.next_step or None,
        }


@dataclass(frozen=True)
class Locks:
    """Every host is in exactly one part: those that answered, those that did not."""

    hosts: tuple[HostLock, ...]
    problems: tuple[HostResult, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """Unreachable before locked: who could not be asked may hold one as well."""
        codes = {5 if problem.outcome is Outcome.UNREACHABLE else 3 for problem in self.problems}
        codes |= {LockedError.exit_code for lock in self.hosts if lock.refused}
        return next((code for code in (5, LockedError.exit_code, 3) if code in codes), 0)

    def to_dict(self) -> dict[str, Any]:
        """The document `phi4-edge/locks/1`."""
        return {
            "format": FORMAT,
            "exit_code": self.exit_code,
            "hosts": [lock.to_dict() for lock in self.hosts],
            "problems": [
                {
                    "host": one.host,
                    "outcome": str(one.outcome),
                    "reason": one.reason,
                    "next_step": one.next_step or None,
                }
                for one in self.problems
            ],
        }


def ask(
    executor: Executor,
    hosts: Sequence[str],
    refused: Iterable[HostResult],
    on_event: Callable[[runner_run.HostEvent], None],
    cancelled: Callable[[], bool],
    release: bool = False,
    force: bool = False,
) -> Locks:
    """Who holds each host now; with `release` the locks of dead runs are gone, with `force` all of them.

    Raises RunnerError when Ansible itself cannot run.
    """
    problems = {result.host: result for result in refused}
    reached = [host for host in hosts if host not in problems]
    found: list[HostLock] = []
    if reached:
        variables = {"lock_do": "release" if release else "show", "lock_force": force}
        ends = executor.execute(Call("lock", variables, task_timeout=ASK_SECONDS), reached, on_event, cancelled).hosts
        for host in reached:
            one = _read(host, ends.get(host))
            if isinstance(one, HostLock):
                found.append(one)
            else:
                problems[host] = one
    return Locks(tuple(found), tuple(problems[host] for host in hosts if host in problems))


def _read(host: str, end: runner_run.HostOutcome | None) -> HostLock | HostResult:
    fact = end.facts.get("phi4_lock") if end is not None else None
    if not isinstance(fact, Mapping) or not isinstance(fact.get("holder"), Mapping):
        unreachable = end is not None and end.status == "unreachable"
        outcome = Outcome.UNREACHABLE if unreachable else Outcome.PREFLIGHT
        step = f"try it: ansible -i INVENTORY {host} -m raw -a true" if unreachable else ""
        return HostResult(host, outcome, (end.message if end is not None else "") or "it did not answer", step)
    told = fact["holder"]
    state = lock.standing(fact)
    if state == lock.FREE:
        return HostLock(host, state)
    holder = {name: told.get(name) for name in _HOLDER}
    refused = str(fact.get("message") or "") if fact.get("refused") is True else ""
    if state == lock.RELEASED:
        return HostLock(host, state, holder)
    step = _STEPS.get(state if state == "held" or not refused else "working", "")
    return HostLock(host, state, holder, refused, step)
