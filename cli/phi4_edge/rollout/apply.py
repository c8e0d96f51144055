"""Runs a playbook on hosts, a batch of `forks` at a time, and says what became of each.

Ctrl-C starts no further batch; hosts that have begun to switch are let through, or rolled back by their own play.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge import runner
from phi4_edge.rollout.access import Access
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.outcome import HostResult, Outcome

# From the role that switches the release until the receipt is written a host must not be left alone, ...
SWITCHING_ROLES = frozenset({"service", "health", "receipt"})
# ... and neither in the middle of packages that are being installed.
CRITICAL_ROLES = SWITCHING_ROLES | {"docker", "nvidia_runtime"}

_ENDS = {
    "failed": (Outcome.FAILED, "mend the cause, then run again; the log of the service: journalctl -u phi4-edge"),
    "unreachable": (Outcome.UNREACHABLE, "see whether the host is up, then run again"),
    "cancelled": (Outcome.INTERRUPTED, "run the same command again"),
}

OnEvent = Callable[[runner.HostEvent], None]
OnResult = Callable[[HostResult], None]


@dataclass
class Track:
    """What is known about the hosts of a batch while it runs."""

    roles: dict[str, str] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def take(self, event: runner.HostEvent) -> None:
        """Records one event."""
        now = time.monotonic()
        self.began.setdefault(event.host, now)
        self.ended[event.host] = now
        if event.role:
            self.roles[event.host] = event.role

    @property
    def critical(self) -> bool:
        """Whether a host of the batch is between switch and commit."""
        return any(role in CRITICAL_ROLES for role in self.roles.values())

    def seconds(self, host: str) -> float:
        """Seconds from the host's first event to its last."""
        return self.ended.get(host, 0.0) - self.began.get(host, 0.0)


@dataclass(frozen=True)
class Job:
    """What is done to hosts: a playbook with its variables. `releases`: the release that each host has afterwards."""

    access: Access
    playbook: str
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    releases: Mapping[str, str] = field(default_factory=dict)


def apply(
    job: Job, hosts: Sequence[str], interrupts: Interrupts, on_event: OnEvent, on_result: OnResult
) -> tuple[HostResult, ...]:
    """Every host has a result afterwards, in the given order; `on_result` hears each as soon as its batch is through.

    Raises RunnerError when Ansible itself cannot run.
    """
    results: list[HostResult] = []
    for first in range(0, len(hosts), job.access.forks):
        batch = hosts[first : first + job.access.forks]
        if interrupts.stopping:
            done = [_untouched(host) for host in batch]
        else:
            done = _apply_batch(job, batch, interrupts, on_event)
        for result in done:
            on_result(result)
        results += done
    return tuple(results)


def _untouched(host: str) -> HostResult:
    return HostResult(
        host, Outcome.UNTOUCHED, "interrupted before its turn; nothing was changed", "run the same command again"
    )


def _apply_batch(job: Job, hosts: Sequence[str], interrupts: Interrupts, on_event: OnEvent) -> list[HostResult]:
    track = Track()

    def hear(event: runner.HostEvent) -> None:
        track.take(event)
        on_event(event)

    run = job.access.run(job.playbook, hosts, job.extra_vars, job.check, job.diff)
    outcome = runner.execute(run, hear, lambda: interrupts.must_end(track.critical))
    return [_result(job, host, outcome.hosts.get(host), track, outcome.cancelled) for host in hosts]


def _result(job: Job, host: str, end: runner.HostOutcome | None, track: Track, cancelled: bool) -> HostResult:
    changed, seconds = end.changed if end else 0, track.seconds(host)
    status = end.status if end else "cancelled" if cancelled else "failed"
    if status == "ok":
        outcome = Outcome.DONE if changed else Outcome.UNCHANGED
        return HostResult(host, outcome, "", "", job.releases.get(host), changed, seconds)
    outcome, step = _ENDS[status]
    reason = end.message if end else "Ansible ran no task on it"
    if outcome is Outcome.INTERRUPTED:
        reason = _where(track.roles.get(host, ""))
    return HostResult(host, outcome, reason, step, None, changed, seconds)


def _where(role: str) -> str:
    """What an interruption in this role leaves behind."""
    if role in SWITCHING_ROLES:
        return f"ended in role {role}: the switch may be half done, the next run finishes or undoes it"
    return f"ended in role {role}: it serves what it served before" if role else "ended before its first task"
