"""From what Ansible tells of a host to what became of it, in words that say what to do next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.remedies import remedy
from phi4_edge.errors import AGAIN
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.run import HostEvent, HostOutcome

# From the role that switches the release until the receipt is written a host must not be left alone, ...
SWITCHING_ROLES = frozenset({"service", "health", "receipt"})
# ... and neither in the middle of packages that are being installed.
CRITICAL_ROLES = SWITCHING_ROLES | {"docker", "nvidia_runtime"}
# Role plan includes the others one by one, and the lock is given back at the very end: neither ends what is critical.
_BETWEEN = frozenset({"plan", "lock"})
# What our roles say of a host beside how its tasks ended.
LOCK, ROLLBACK = "phi4_lock", "phi4_rollback"
# Key of a result with which a host's own work says that all of it is over, while others of its run are at work.
THROUGH = "phi4_through"

_NEXT = {
    Outcome.FAILED: "fix the cause, then run again; the log of the service: journalctl -u phi4-edge",
    Outcome.ROLLED_BACK: "fix the cause, then run again; the log of the service: journalctl -u phi4-edge",
    Outcome.UNREACHABLE: "see whether the host is up, then run again",
    Outcome.TIMED_OUT: "see what it waited for, then run again; --step-timeout gives a step longer",
    Outcome.LOCKED: f"then {AGAIN}",
    Outcome.INTERRUPTED: AGAIN,
}


@dataclass
class Track:
    """What is known about the hosts of a run while it goes on."""

    roles: dict[str, str] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def take(self, event: HostEvent) -> None:
        """Records one event."""
        if event.kind == "detail":
            return
        now = time.monotonic()
        self.began.setdefault(event.host, now)
        self.ended[event.host] = now
        if event.role and not (event.role in _BETWEEN and self.roles.get(event.host) in CRITICAL_ROLES):
            self.roles[event.host] = event.role
        if event.result.get(THROUGH) is True:
            self.roles.pop(event.host, None)
        facts = event.result.get("ansible_facts")
        if isinstance(facts, Mapping) and ROLLBACK in facts:
            self.failures[event.host] = 0
        elif event.kind == "failed":
            self.failures[event.host] = self.failures.get(event.host, 0) + 1

    @property
    def critical(self) -> bool:
        """Whether a host is between switch and commit."""
        return any(role in CRITICAL_ROLES for role in self.roles.values())

    def seconds(self, host: str) -> float:
        """Seconds from the host's first event to its last."""
        return self.ended.get(host, 0.0) - self.began.get(host, 0.0)

    def back_on(self, host: str, facts: Mapping[str, Any]) -> str:
        """The release that the host was brought back to, and that serves again; "" when there is none.

        After the way back its play fails once, with the first reason; a second failure says that going back failed.
        """
        told = facts.get(ROLLBACK)
        if not isinstance(told, Mapping) or told.get("restarted") is not True or self.failures.get(host, 0) > 1:
            return ""
        return str(told.get("to") or "")


def result_of(host: str, end: HostOutcome | None, track: Track, cancelled: bool, release: str | None) -> HostResult:
    """What became of a host that was to have `release`. `end` None: Ansible says nothing of it."""
    changed, seconds = end.changed if end else 0, track.seconds(host)
    status = end.status if end else "cancelled" if cancelled else "failed"
    if end is not None and status == "ok" and _held(end.facts):  # left out, as lock_skip of an inventory wants it
        reason = str(end.facts[LOCK].get("message") or "another run has locked it")
        return HostResult(host, Outcome.LOCKED, reason, _NEXT[Outcome.LOCKED], None, changed, seconds)
    if status == "ok":
        return HostResult(host, Outcome.DONE if changed else Outcome.UNCHANGED, "", "", release, changed, seconds)
    if status == "cancelled" and host not in track.began:
        return untouched(host)
    outcome, serves = _outcome(host, end, track, status)
    reason = end.message if end else "Ansible ran no task on it"
    if outcome is Outcome.INTERRUPTED:
        reason = where(track.roles.get(host, ""))
    return HostResult(host, outcome, reason, _step(outcome, reason), serves, changed, seconds)


def _step(outcome: Outcome, reason: str) -> str:
    """What to do next. Where a host cannot be worked on, that is not in the log of its service."""
    helps = remedy(reason) if outcome in (Outcome.FAILED, Outcome.UNREACHABLE) else ""
    return helps or _NEXT[outcome]


def _outcome(host: str, end: HostOutcome | None, track: Track, status: str) -> tuple[Outcome, str | None]:
    """How a host ended that is not well, and the release that it is known to serve."""
    if status == "unreachable":
        return Outcome.UNREACHABLE, None
    if status == "cancelled":
        return Outcome.INTERRUPTED, None
    facts: Mapping[str, Any] = end.facts if end is not None else {}
    if _held(facts):
        return Outcome.LOCKED, None
    if back := track.back_on(host, facts):
        return Outcome.ROLLED_BACK, back
    return Outcome.TIMED_OUT if end is not None and end.timed_out else Outcome.FAILED, None


def _held(facts: Mapping[str, Any]) -> bool:
    """Whether another run had the host."""
    lock = facts.get(LOCK)
    return isinstance(lock, Mapping) and lock.get("state") == "held"


def untouched(host: str) -> HostResult:
    """A host whose turn did not come because of Ctrl-C."""
    return HostResult(host, Outcome.UNTOUCHED, "interrupted before its turn; nothing was changed", AGAIN)


def where(role: str) -> str:
    """What an interruption in this role leaves behind."""
    if role in SWITCHING_ROLES:
        return f"ended in role {role}: the switch may be half done, the next run finishes or undoes it"
    return f"ended in role {role}: it serves what it served before" if role else "ended before its first task"
