"""Whether a rollout may begin at all, and what is said of every host when it may not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from phi4_edge.core.rollout_machine import End, Rollout, Stop
from phi4_edge.core.waves import BAD
from phi4_edge.rollout.drive_results import AGAIN
from phi4_edge.rollout.outcome import HostResult, Outcome

_NAMED = 5  # hosts that a command to copy still names


def locked_out(hosts: Iterable[str], holders: Mapping[str, str]) -> dict[str, HostResult]:
    """Results of all `hosts` where another run holds some of them; {} when none is held.

    `holders`: in words, who holds a host and since when, by host.
    """
    if not holders:
        return {}
    names = ", ".join(list(holders)[:5]) + (f" and {len(holders) - 5} more" if len(holders) > 5 else "")
    wait = "wait for that run, or give --lock-wait SECONDS; of a run that is dead: phi4-edge lock release INVENTORY"
    return {
        host: HostResult(host, Outcome.LOCKED, f"found {holders[host]}, needed it free", wait)
        if host in holders
        else HostResult(host, Outcome.UNTOUCHED, f"another run holds {names}; nothing was changed on any host", AGAIN)
        for host in hosts
    }


def too_many_down(rollout: Rollout, limit: str | None = None) -> dict[str, HostResult]:
    """Results of all hosts of the waves where the bad ones before the first wave are already too many; else {}.

    `limit`: as it was given; what is advised reaches no host beyond it.
    """
    action = rollout.action
    if not isinstance(action, End) or action.stop is not Stop.BUDGET:
        return {}
    bad = [host for host, outcome in rollout.before.items() if outcome in BAD]
    without = _without(limit or "all", bad)
    out = f"leave them out (--limit {without})" if len(bad) <= _NAMED else "leave them out with --limit"
    reason = (
        f"the rollout did not begin: {rollout.bad} of {rollout.total} hosts cannot be used, --max-failures allows "
        f"{rollout.budget}; nothing was changed on any host"
    )
    step = f"mend those hosts, or {out}, or allow them: --max-failures {rollout.bad}"
    return {
        host: replace(HostResult(host, Outcome.UNTOUCHED, reason, step), wave=wave.number)
        for wave in rollout.waves
        for host in wave.hosts
    }


def _without(limit: str, hosts: Iterable[str]) -> str:
    """The pattern `limit` without these hosts, for a shell. Ansible takes no mix of its two separators."""
    separator = ":" if ":" in limit and "," not in limit else ","
    return "'" + separator.join([limit, *(f"!{host}" for host in hosts)]).replace("'", "'\\''") + "'"
