"""Runs a playbook once on some hosts, all of them in one Ansible run, and says what became of each.

After the first Ctrl-C hosts between switch and commit are let through, or rolled back by their own play; then the locks
that the run left on hosts are given back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.errors import RunnerError
from phi4_edge.rollout.interpret import Track, result_of, untouched
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult
from phi4_edge.runner import run as runner_run
from phi4_edge.runner.executor import Call, Executor

UNLOCK = "unlock"
# For giving back the locks of all hosts together, and for one host of them. What is not given back by then becomes free
# by itself 30 s later, so nobody waits for a host that is slow, silent, or sends nonsense.
UNLOCK_SECONDS, UNLOCK_HOST_SECONDS = 10.0, 8

OnEvent = Callable[[runner_run.HostEvent], None]


@dataclass(frozen=True)
class Play:
    """What is done to hosts: a playbook with its variables. `releases`: the release that each host has afterwards.

    `lock`: variables of role lock; {} where no lock is to be released by us. `through`: whether hosts that have begun
    are let through after a Ctrl-C; None: only those that are between switch and commit. `task_timeout`: seconds that
    one task may take on one host; 0 sets no limit.
    """

    playbook: str
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    task_timeout: int = 0
    releases: Mapping[str, str] = field(default_factory=dict)
    lock: Mapping[str, Any] = field(default_factory=dict)
    through: bool | None = None

    @property
    def call(self) -> Call:
        """What an executor is asked to do."""
        return Call(self.playbook, {**self.lock, **self.extra_vars}, self.check, self.diff, self.task_timeout)


def apply(
    executor: Executor, play: Play, hosts: Sequence[str], interrupts: Interrupts, on_event: OnEvent
) -> tuple[HostResult, ...]:
    """Every host has a result afterwards, in the given order. Raises RunnerError when Ansible itself cannot run."""
    if not hosts:
        return ()
    if interrupts.stopping and not play.through:
        return tuple(untouched(host) for host in hosts)
    track = Track()

    def hear(event: runner_run.HostEvent) -> None:
        track.take(event)
        on_event(event)

    def ended() -> bool:
        return interrupts.must_end(track.critical if play.through is None else play.through)

    try:
        outcome = executor.execute(play.call, hosts, hear, ended)
    except RunnerError:
        _unlock(executor, play, [host for host in hosts if host in track.began], interrupts)
        raise
    if outcome.cancelled:
        _unlock(executor, play, [host for host in hosts if host in track.began], interrupts)
    return tuple(
        result_of(host, outcome.hosts.get(host), track, outcome.cancelled, play.releases.get(host)) for host in hosts
    )


def _unlock(executor: Executor, play: Play, hosts: Sequence[str], interrupts: Interrupts) -> None:
    """The locks of a cancelled run are given back, so that the next run need not wait until they are stale.

    A second Ctrl-C ends this too, and so does the time for it; then, and where it fails, the locks become stale by
    themselves.
    """
    if not play.lock or not hosts or interrupts.count > 1:
        return
    end = time.monotonic() + UNLOCK_SECONDS
    variables = {**play.lock, "lock_release_seconds": UNLOCK_HOST_SECONDS}
    call = Call(UNLOCK, variables, task_timeout=UNLOCK_HOST_SECONDS)
    try:
        executor.execute(call, hosts, lambda event: None, lambda: interrupts.count > 1 or time.monotonic() > end)
    except RunnerError:
        return
