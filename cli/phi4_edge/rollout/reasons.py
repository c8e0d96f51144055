"""What is said of hosts that a rollout watched, took back, or never came to. Pure."""

from __future__ import annotations

from dataclasses import replace

from phi4_edge.core.rollout.machine import Rollout, Stop
from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.errors import AGAIN
from phi4_edge.rollout.interpret import untouched
from phi4_edge.rollout.result import HostResult, Outcome

_MEND = "fix what went wrong on the others, then run again"


def unhealthy(good: HostResult, found: HostResult) -> HostResult:
    """A host that passed the gate, and did not stay well while it was watched."""
    outcome = Outcome.UNREACHABLE if found.outcome is Outcome.UNREACHABLE else Outcome.UNHEALTHY
    reason = f"it passed the gate, but failed while it was watched: {found.reason}"
    return replace(good, outcome=outcome, reason=reason, next_step=found.next_step)


def watched_badly(good: HostResult, found: HostResult) -> HostResult:
    """A host of this rollout that did not stay well, or that another run took before it could be watched."""
    if found.outcome is not Outcome.LOCKED:
        return unhealthy(good, found)
    reason = f"it passed the gate, but another run locked it before it was watched: {found.reason}"
    return replace(good, outcome=Outcome.LOCKED, reason=reason, next_step=found.next_step)


def unhealthy_since(good: HostResult, found: HostResult) -> HostResult:
    """The same of a host that was changed by an earlier run, which knew the release before."""
    step = f"take it back: phi4-edge rollback INVENTORY --limit {good.host}; or fix it, then run again"
    return replace(unhealthy(good, found), next_step=step)


def reverted(host: HostResult, back: HostResult, to: str, why: str) -> HostResult:
    """A host that was to go back to the release `to`, where `back` is how that ended.

    One that became unhealthy stays so, wherever it is now.
    """
    ok = back.outcome in GOOD
    changed, seconds = host.changed + back.changed, host.seconds + back.seconds
    now = replace(host, changed=changed, seconds=seconds, release=to if ok else host.release)
    if host.outcome is Outcome.UNHEALTHY:
        rest = f"the host is back on {to}" if ok else f"and going back to {to} failed: {back.reason}"
        return replace(now, reason=f"{host.reason} ({rest})")
    if ok:
        reason = f"it was good, and is back on {to}, because the rollout was stopped: {why}"
        return replace(now, outcome=Outcome.REVERTED, reason=reason, next_step=_MEND)
    reason = f"it was good; the rollout was stopped ({why}), and going back to {to} did not end well: {back.reason}"
    # It was changed before: whatever became of the way back, it is not untouched.
    outcome = Outcome.INTERRUPTED if back.outcome is Outcome.UNTOUCHED else back.outcome
    return replace(now, outcome=outcome, reason=reason, next_step=back.next_step)


def stayed(host: HostResult, why: str) -> HostResult:
    """A host without a release to go back to stays as it is."""
    if host.outcome is Outcome.UNHEALTHY:
        return replace(
            host, reason=f"{host.reason} (there is no release before to go back to, so it was left as it is)"
        )
    reason = f"it passed its gate and stays, for there is no release before to go back to; the rollout stopped: {why}"
    return replace(host, reason=reason)


def left(host: str, rollout: Rollout) -> HostResult:
    """A host whose turn did not come."""
    if rollout.stop is Stop.LOCKED:
        reason = f"the rollout was stopped: {spent(rollout)}, including hosts that another run has locked"
        reason, step = f"{reason}; nothing was changed on this host", f"{AGAIN}; --skip-locked does not count those"
    elif rollout.stop is Stop.BUDGET:
        reason = f"the rollout was stopped: {spent(rollout)}; nothing was changed on this host"
        step = "fix the cause, then run again; --max-failures allows more"
    else:
        return untouched(host)
    return HostResult(host, Outcome.UNTOUCHED, reason, step)


def spent(rollout: Rollout) -> str:
    """How many hosts are bad, and how many may be."""
    return f"{rollout.bad} of {rollout.total} hosts went wrong, --max-failures allows {rollout.budget}"
